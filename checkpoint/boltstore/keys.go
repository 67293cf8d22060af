package boltstore

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// table is a bucket of the file. All numbers in keys are big endian, so that
// what belongs to one execution lies together, in order.
type table int

const (
	metaTable      table = iota // name -> value, see the meta… keys
	idTable                     // ID -> number
	executionTable              // number -> row
	journalTable                // number, first sequence number -> records
	inboxTable                  // number, sequence number -> record
	callbackTable               // number, operation ID -> callback
	beatTable                   // number, time, operation ID -> nothing
	childTable                  // number of the caller, number -> nothing
	queueTable                  // function and builds -> number of the queue
	dueTable                    // number of the queue, time, number -> nothing
	ownedTable                  // number -> nothing
	endedTable                  // time, number -> nothing
	trashTable                  // number of a deleted execution with a journal -> nothing
	tables
)

var tableNames = [tables]string{
	"meta", "ids", "executions", "journal", "inbox", "callbacks", "beats", "children",
	"queues", "due", "owned", "ended", "trash",
}

// Keys of the meta table.
var (
	metaFormat = []byte("format") // 4 bytes
	metaSecret = []byte("secret")
	metaNumber = []byte("number") // last number given to an execution, 8 bytes
	metaLog    = []byte("log")    // see logMark
	metaSum    = []byte("sum")    // see sumOf; files of older releases may have none
)

// The format says how the tables are read, and that of a file in use that its log
// is needed too. A file with a higher one is not opened.
const (
	formatFirst = 1 // no log, and no bound values; still read
	formatLog   = 2 // the log must be there
	formatWhole = 3 // everything is in the file
)

// sumOf is the checksum of what the meta table holds.
func sumOf(get func(key []byte) []byte) []byte {
	var sum uint32
	for _, key := range [][]byte{metaFormat, metaLog, metaNumber, metaSecret} {
		sum = crc32.Update(sum, castagnoli, get(key))
	}
	return binary.BigEndian.AppendUint32(nil, sum)
}

// boundSize is how much bind puts in front of a value.
const boundSize = 5

// bound is the first byte of a value that says under which key it was put. No
// record begins with it.
const bound = 0x02

// bind puts in front of a value what tells it from that of another key: records do
// not say whose they are, and bbolt does not notice when a key is damaged.
func bind(dst, key []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, bound), crc32.Checksum(key, castagnoli))
}

// unbind returns a value as it was before bind. One of another key it leaves as it
// is, so that nobody can decode it. Values of formatFirst are not bound.
func unbind(key, value []byte) []byte {
	if len(value) >= boundSize && value[0] == bound && binary.BigEndian.Uint32(value[1:]) == crc32.Checksum(key, castagnoli) {
		return value[boundSize:]
	}
	return value
}

func numberKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

func pairKey(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), a), b)
}

func operationKey(number uint64, operationID string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(operationID)), number), operationID...)
}

func beatKey(number uint64, at int64, operationID string) []byte {
	return append(pairKey(number, timeBits(at)), operationID...)
}

func dueKey(queue uint32, at int64, number uint64) []byte {
	k := binary.BigEndian.AppendUint32(make([]byte, 0, 20), queue)
	k = binary.BigEndian.AppendUint64(k, timeBits(at))
	return binary.BigEndian.AppendUint64(k, number)
}

func endedKey(at int64, number uint64) []byte { return pairKey(timeBits(at), number) }

// timeBits orders times as unsigned numbers.
func timeBits(at int64) uint64     { return uint64(at) ^ 1<<63 }
func timeOfBits(bits uint64) int64 { return int64(bits ^ 1<<63) }

// queueKey is a function, its length in front, and builds.
func queueKey(q ledger.Queue) []byte {
	k := binary.AppendUvarint(nil, uint64(len(q.Function)))
	return append(append(k, q.Function...), q.Builds...)
}

func parseQueueKey(k []byte) (q ledger.Queue, ok bool) {
	n, size := binary.Uvarint(k)
	if size <= 0 || n > uint64(len(k)-size) {
		return q, false
	}
	k = k[size:]
	return ledger.Queue{Function: string(k[:n]), Builds: string(k[n:])}, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// callbackSize is that of the form of a callback: a flag, three times, a checksum.
const callbackSize = 1 + 3*8 + 4

func appendCallback(dst []byte, c ledger.Callback) []byte {
	start := len(dst)
	var flag byte
	if c.Closed {
		flag = 1
	}
	dst = append(dst, flag)
	for _, n := range []int64{c.TimeoutAt, c.HeartbeatTimeout, c.HeartbeatAt} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// logMark is what the file says of its log: see docs/write-ahead-log.md.
type logMark struct {
	id      uint64
	applied uint64 // the last batch that is in the file
	base    uint64 // applied when the log was opened last
}

func (m logMark) encode() []byte {
	var b []byte
	for _, n := range []uint64{m.id, m.applied, m.base} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseLogMark(b []byte) (m logMark, ok bool) {
	if len(b) != 28 || crc32.Checksum(b[:24], castagnoli) != binary.BigEndian.Uint32(b[24:]) {
		return m, false
	}
	m.id, m.applied, m.base = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	return m, true
}

func parseCallback(b []byte) (c ledger.Callback, ok bool) {
	if len(b) != callbackSize || crc32.Checksum(b[:callbackSize-4], castagnoli) != binary.BigEndian.Uint32(b[callbackSize-4:]) {
		return c, false
	}
	c.Closed = b[0] != 0
	c.TimeoutAt = int64(binary.BigEndian.Uint64(b[1:]))
	c.HeartbeatTimeout = int64(binary.BigEndian.Uint64(b[9:]))
	c.HeartbeatAt = int64(binary.BigEndian.Uint64(b[17:]))
	return c, true
}
