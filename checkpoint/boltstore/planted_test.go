package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/btree"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// Numbers of the executions of a round of mix.
const (
	ownedNumber, waitingNumber, nowhereNumber, succeededNumber = 1, 2, 3, 5
	callsNumber, parentNumber, childNumber, goneNumber         = 9, 10, 11, 13
)

// planted is a kind of damage, and what Verify says of it.
type planted struct {
	name   string
	plant  func(x *planting)
	bucket table
	says   string
}

// planting changes a file.
type planting struct {
	t  *testing.T
	tx *bolt.Tx
}

func (x *planting) in(t table) *bolt.Bucket { return x.tx.Bucket([]byte(tableNames[t])) }
func (x *planting) get(t table, key []byte) []byte {
	v := x.in(t).Get(key)
	require.NotNil(x.t, v)
	return bytes.Clone(v)
}
func (x *planting) put(t table, key, value []byte) { require.NoError(x.t, x.in(t).Put(key, value)) }
func (x *planting) delete(t table, key []byte) {
	require.NotNil(x.t, x.in(t).Get(key), "there is nothing to be deleted")
	require.NoError(x.t, x.in(t).Delete(key))
}

// first is the first key of a table with a prefix.
func (x *planting) first(t table, prefix []byte) []byte {
	k, _ := x.in(t).Cursor().Seek(prefix)
	require.True(x.t, bytes.HasPrefix(k, prefix))
	return bytes.Clone(k)
}

func (x *planting) row(number uint64, change func(*checkpoint.Row)) {
	row, err := checkpoint.DecodeRow(x.get(executionTable, numberKey(number)))
	require.NoError(x.t, err)
	change(row)
	x.put(executionTable, numberKey(number), checkpoint.AppendRow(nil, row))
}

// records changes the records in the value of a journal that begins with seq.
func (x *planting) records(number, seq uint64, change func([]checkpoint.Record) []checkpoint.Record) {
	key := pairKey(number, seq)
	var records []checkpoint.Record
	for b := unbind(key, x.get(journalTable, key)); len(b) > 0; {
		r, rest, err := checkpoint.DecodeRecord(b)
		require.NoError(x.t, err)
		records, b = append(records, r), rest
	}
	x.put(journalTable, key, append(bind(nil, key), encode(change(records))...))
}

func (x *planting) record(number uint64, i int, change func(*checkpoint.Record)) {
	x.records(number, 1, func(r []checkpoint.Record) []checkpoint.Record {
		change(&r[i])
		return r
	})
}

// cut removes record i of a journal's first value.
func (x *planting) cut(number uint64, i int) {
	x.records(number, 1, func(r []checkpoint.Record) []checkpoint.Record { return append(r[:i], r[i+1:]...) })
}

func (x *planting) callback(operation string, change func(*ledger.Callback)) {
	key := operationKey(callsNumber, operation)
	c, ok := parseCallback(x.get(callbackTable, key))
	require.True(x.t, ok)
	change(&c)
	x.put(callbackTable, key, appendCallback(nil, c))
}

func flipped(b []byte, i int) []byte {
	b[i] ^= 1
	return b
}

var everyPlanted = []planted{
	{"meta: an odd key", func(x *planting) { x.put(metaTable, []byte("odd"), nil) }, metaTable, "nobody knows this key"},
	{"meta: the secret", func(x *planting) { x.put(metaTable, metaSecret, flipped(x.get(metaTable, metaSecret), 7)) }, metaTable, "another checksum"},
	{"meta: no secret", func(x *planting) { x.delete(metaTable, metaSecret) }, metaTable, "it is missing"},
	{"meta: no number", func(x *planting) { x.delete(metaTable, metaNumber) }, metaTable, "it is missing"},
	{"meta: the number", func(x *planting) { x.put(metaTable, metaNumber, numberKey(2)) }, metaTable, "the last number given"},
	{"meta: the log's mark", func(x *planting) { x.put(metaTable, metaLog, flipped(x.get(metaTable, metaLog), 9)) }, metaTable, "it can't be read"},
	{"meta: format 1 with a log", func(x *planting) { x.put(metaTable, metaFormat, []byte{0, 0, 0, 1}) }, metaTable, "have no log"},
	{"meta: an unknown format", func(x *planting) { x.put(metaTable, metaFormat, []byte{0, 0, 0, 9}) }, metaTable, "the format is 9"},

	{"a bucket is missing", func(x *planting) { require.NoError(x.t, x.tx.DeleteBucket([]byte("children"))) }, childTable, "the bucket is missing"},
	{"a row can't be read", func(x *planting) {
		x.put(executionTable, numberKey(1), flipped(x.get(executionTable, numberKey(1)), 20))
	}, executionTable, "the row can't be read"},
	{"a row of another execution", func(x *planting) { x.put(executionTable, numberKey(1), x.get(executionTable, numberKey(2))) }, executionTable, "it holds execution number 2"},
	{"a row is missing", func(x *planting) { x.delete(executionTable, numberKey(ownedNumber)) }, journalTable, "the execution of these records is missing"},
	{"a row's key", func(x *planting) { x.put(executionTable, []byte("odd"), nil) }, executionTable, "wrong size"},
	{"a row's tail", func(x *planting) { x.row(2, func(r *checkpoint.Row) { r.Tail++ }) }, executionTable, "the journal ends with record 5, it ends with 4"},
	{"a row's last event", func(x *planting) { x.row(2, func(r *checkpoint.Row) { r.LastEvent++ }) }, executionTable, "the history ends with event"},
	{"a row's status", func(x *planting) { x.row(succeededNumber, func(r *checkpoint.Row) { r.Status = checkpoint.Failed }) }, executionTable, "the row says FAILED, the journal ends with ExecutionSucceeded"},
	{"an ended row that runs", func(x *planting) {
		x.row(succeededNumber, func(r *checkpoint.Row) { r.Status = checkpoint.Running })
	}, executionTable, "the row says RUNNING"},
	{"a row's function", func(x *planting) { x.row(1, func(r *checkpoint.Row) { r.Function = "g" }) }, journalTable, "not that of its row"},
	{"a row's number in the inbox", func(x *planting) { x.row(1, func(r *checkpoint.Row) { r.InboxSeen = 7 }) }, executionTable, "a number that can't be"},
	{"a row's caller", func(x *planting) { x.row(childNumber, func(r *checkpoint.Row) { r.Caller = nil }) }, executionTable, "its caller is number 10"},

	{"journal: a bit", func(x *planting) {
		x.put(journalTable, pairKey(1, 1), flipped(x.get(journalTable, pairKey(1, 1)), 30))
	}, journalTable, "record 1 can't be read"},
	{"journal: another's", func(x *planting) { x.put(journalTable, pairKey(1, 1), x.get(journalTable, pairKey(2, 1))) }, journalTable, "put under another key"},
	{"journal: nothing in it", func(x *planting) { x.put(journalTable, pairKey(1, 1), bind(nil, pairKey(1, 1))) }, journalTable, "it holds no record"},
	{"journal: the first record", func(x *planting) { x.cut(1, 0) }, journalTable, "it begins with record 2"},
	{"journal: a gap", func(x *planting) { x.cut(1, 1) }, journalTable, "record 3 comes behind record 1"},
	{"journal: the last record", func(x *planting) { x.cut(1, 3) }, executionTable, "the journal ends with record 4, it ends with 3"},
	{"journal: all of it", func(x *planting) { x.delete(journalTable, pairKey(1, 1)) }, executionTable, "the journal ends with record 4, it ends with 0"},
	{"journal: a record twice", func(x *planting) { x.record(1, 2, func(r *checkpoint.Record) { r.Seq-- }) }, journalTable, "record 2 comes behind record 2"},
	{"journal: an event's number", func(x *planting) { x.record(1, 2, func(r *checkpoint.Record) { r.EventID++ }) }, journalTable, "record 3 is event 5, the one before it was event 3"},
	{"journal: it goes on behind the end", func(x *planting) {
		x.record(succeededNumber, 3, func(r *checkpoint.Record) { r.Type = checkpoint.ExecutionStopped })
	}, journalTable, "behind the end of the execution"},
	{"journal: of nobody", func(x *planting) { x.put(journalTable, pairKey(goneNumber, 1), nil) }, journalTable, "the execution of these records is missing"},
	{"journal: an odd key", func(x *planting) { x.put(journalTable, []byte("odd"), nil) }, journalTable, "wrong size"},

	{"inbox: a bit", func(x *planting) {
		k := x.first(inboxTable, numberKey(callsNumber))
		x.put(inboxTable, k, flipped(x.get(inboxTable, k), 12))
	}, inboxTable, "the entry can't be read"},
	{"inbox: an entry is missing", func(x *planting) { x.delete(inboxTable, pairKey(callsNumber, 2)) }, executionTable, "the inbox holds 0 entries, the row says 1"},
	{"inbox: an old entry", func(x *planting) { x.inbox(callsNumber, 1) }, inboxTable, "the inbox holds entries 2 to 2"},
	{"inbox: of one that has ended", func(x *planting) { x.inbox(succeededNumber, 1) }, inboxTable, "has ended, but its inbox"},
	{"inbox: of nobody", func(x *planting) { x.inbox(goneNumber, 1) }, inboxTable, "the execution is missing"},

	{"callbacks: a bit", func(x *planting) {
		k := operationKey(callsNumber, "1")
		x.put(callbackTable, k, flipped(x.get(callbackTable, k), 3))
	}, callbackTable, "the callback can't be read"},
	{"callbacks: missing", func(x *planting) { x.delete(callbackTable, operationKey(callsNumber, "2")) }, callbackTable, "the callback is missing"},
	{"callbacks: never started", func(x *planting) {
		x.put(callbackTable, operationKey(callsNumber, "7"), appendCallback(nil, ledger.Callback{}))
	}, callbackTable, "did not start this callback"},
	{"callbacks: open again", func(x *planting) { x.callback("2", func(c *ledger.Callback) { c.Closed = false }) }, callbackTable, "has an outcome, but is open"},
	{"callbacks: open again with an outcome in the inbox", func(x *planting) { x.callback("3", func(c *ledger.Callback) { c.Closed = false }) }, callbackTable, "has an outcome, but is open"},
	{"callbacks: the timeout", func(x *planting) { x.callback("1", func(c *ledger.Callback) { c.TimeoutAt++ }) }, callbackTable, "not those of the journal"},
	{"callbacks: a heartbeat of a closed one", func(x *planting) { x.callback("2", func(c *ledger.Callback) { c.HeartbeatAt = 5 }) }, callbackTable, "waits for heartbeats, but has none"},
	{"callbacks: the row does not know", func(x *planting) { x.row(callsNumber, func(r *checkpoint.Row) { r.Callbacks = false }) }, callbackTable, "there are no callbacks"},
	{"callbacks: of one that has ended", func(x *planting) {
		x.put(callbackTable, operationKey(succeededNumber, "1"), appendCallback(nil, ledger.Callback{}))
	}, callbackTable, "has ended, but its callback"},
	{"callbacks: of nobody", func(x *planting) {
		x.put(callbackTable, operationKey(goneNumber, "1"), appendCallback(nil, ledger.Callback{}))
	}, callbackTable, "the execution is missing"},
	{"heartbeats: missing", func(x *planting) { x.delete(beatTable, x.first(beatTable, numberKey(callsNumber))) }, beatTable, "a heartbeat that is not in the index"},
	{"heartbeats: at another time", func(x *planting) { x.put(beatTable, beatKey(callsNumber, 5, "1"), nil) }, beatTable, "does not wait for a heartbeat then"},
	{"heartbeats: of nobody", func(x *planting) { x.put(beatTable, beatKey(goneNumber, 5, "1"), nil) }, beatTable, "the execution is missing"},

	{"ids: missing", func(x *planting) { x.delete(idTable, []byte("owned-0")) }, idTable, "the ID of an execution is missing"},
	{"ids: another number", func(x *planting) { x.put(idTable, []byte("owned-0"), numberKey(2)) }, idTable, "not to execution number 1"},
	{"ids: of nobody", func(x *planting) { x.put(idTable, []byte("nobody"), numberKey(goneNumber)) }, idTable, "execution number 13 is missing"},
	{"ids: no number", func(x *planting) { x.put(idTable, []byte("owned-0"), []byte("odd")) }, idTable, "it has no number"},
	{"queues: missing", func(x *planting) { x.delete(queueTable, queueKey(ledger.Queue{Function: "f"})) }, queueTable, "its queue is missing"},
	{"queues: one number for two", func(x *planting) {
		x.put(queueTable, queueKey(ledger.Queue{Function: "g"}), x.get(queueTable, queueKey(ledger.Queue{Function: "f"})))
	}, queueTable, "too"},
	{"queues: no number", func(x *planting) { x.put(queueTable, queueKey(ledger.Queue{Function: "g"}), nil) }, queueTable, "it can't be read"},
	{"due: missing", func(x *planting) { x.delete(dueTable, x.due(waitingNumber)) }, dueTable, "will not be woken"},
	{"due: at another time", func(x *planting) { x.put(dueTable, dueKey(1, 5, waitingNumber), nil) }, dueTable, "does not belong there"},
	{"due: one that waits for nothing", func(x *planting) { x.put(dueTable, dueKey(1, 5, nowhereNumber), nil) }, dueTable, "does not belong there"},
	{"due: nobody", func(x *planting) { x.put(dueTable, dueKey(1, 5, goneNumber), nil) }, dueTable, "the execution is missing"},
	{"due: in no queue", func(x *planting) { x.put(dueTable, dueKey(77, 5, 1), nil) }, dueTable, "its queue is missing"},
	{"due: an odd key", func(x *planting) { x.put(dueTable, []byte("odd"), nil) }, dueTable, "wrong size"},
	{"owned: missing", func(x *planting) { x.delete(ownedTable, numberKey(ownedNumber)) }, ownedTable, "not in the index"},
	{"owned: one that waits", func(x *planting) { x.put(ownedTable, numberKey(waitingNumber), nil) }, ownedTable, "does not belong there"},
	{"owned: an odd key", func(x *planting) { x.put(ownedTable, []byte("odd"), nil) }, ownedTable, "wrong size"},
	{"ended: missing", func(x *planting) {
		x.row(succeededNumber, func(r *checkpoint.Row) { x.delete(endedTable, endedKey(r.EndedAt, r.Number)) })
	}, endedTable, "not in the index"},
	{"ended: one that waits", func(x *planting) { x.put(endedTable, endedKey(5, waitingNumber), nil) }, endedTable, "does not belong there"},
	{"children: missing", func(x *planting) { x.delete(childTable, pairKey(parentNumber, childNumber)) }, childTable, "its caller does not know it"},
	{"children: of another", func(x *planting) { x.put(childTable, pairKey(1, waitingNumber), nil) }, childTable, "did not invoke it"},
	{"children: nobody", func(x *planting) { x.put(childTable, pairKey(parentNumber, goneNumber), nil) }, childTable, "the invoked execution is missing"},
	{"children: the row does not know", func(x *planting) { x.row(parentNumber, func(r *checkpoint.Row) { r.Invoked = false }) }, childTable, "its row does not say so"},
	{"trash: of one that is there", func(x *planting) { x.put(trashTable, numberKey(succeededNumber), nil) }, trashTable, "would be deleted"},
}

func (x *planting) due(number uint64) (key []byte) {
	require.NoError(x.t, x.in(dueTable).ForEach(func(k, _ []byte) error {
		if binary.BigEndian.Uint64(k[12:]) == number {
			key = bytes.Clone(k)
		}
		return nil
	}))
	return key
}

func (x *planting) inbox(number, seq uint64) {
	key := pairKey(number, seq)
	x.put(inboxTable, key, checkpoint.AppendRecord(bind(nil, key), &checkpoint.Record{Seq: seq, Type: checkpoint.CancelRequested}))
}

// mixed makes a store and closes it.
func mixed(t *testing.T, rounds int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.mix(t, rounds)
	require.NoError(t, s.Close())
	return path
}

// TestVerifyFindsWhatWasPlanted plants each kind of damage in a good file.
func TestVerifyFindsWhatWasPlanted(t *testing.T) {
	good := mixed(t, 1)
	for _, p := range everyPlanted {
		t.Run(p.name, func(t *testing.T) {
			path := copyOf(t, good)
			edit(t, path, func(tx *bolt.Tx) error {
				p.plant(&planting{t, tx})
				return nil
			})
			found, _ := problems(t, path)
			for _, f := range found {
				if f.Bucket == tableNames[p.bucket] && strings.Contains(f.String(), p.says) {
					require.Contains(t, f.String(), path)
					return
				}
			}
			t.Errorf("%q in %s was not found, but: %v", p.says, tableNames[p.bucket], found)
		})
	}
	t.Logf("%d kinds of damage planted, all of them named", len(everyPlanted))
}

// The place of a problem is as exact as it can be.
func TestAProblemNamesItsPlace(t *testing.T) {
	path := mixed(t, 1)
	edit(t, path, func(tx *bolt.Tx) error {
		(&planting{t, tx}).callback("1", func(c *ledger.Callback) { c.TimeoutAt++ })
		return nil
	})
	found, _ := problems(t, path)
	require.Len(t, found, 1)
	require.Equal(t, Problem{
		File: path, Bucket: "callbacks", Key: operationKey(callsNumber, "1"), Number: callsNumber,
		Execution: "calls-0", Operation: "1", What: "the timeouts of the callback are not those of the journal",
	}, found[0])
	require.Equal(t, path+": callbacks 000000000000000931: execution calls-0, operation 1: the timeouts of the callback are not those of the journal", found[0].String())
}

// plantedPages are kinds of damage below the buckets. Each is told the file and its state.
var plantedPages = map[string]struct {
	plant func(b []byte, m btree.Meta)
	says  string
}{
	"a meta page":             {func(b []byte, m btree.Meta) { b[16+60] ^= 1 }, "number 0 of two is damaged"},
	"a page of another kind":  {func(b []byte, m btree.Meta) { b[m.Root*4096+8] = 0x10 }, "no page of a tree"},
	"a page's number":         {func(b []byte, m btree.Meta) { b[m.Root*4096]++ }, "it says that it is page"},
	"a page's entries":        {func(b []byte, m btree.Meta) { b[m.Root*4096+10]++ }, "entry"},
	"a page's continuation":   {func(b []byte, m btree.Meta) { b[m.Root*4096+12]++ }, "pages"},
	"the keys' order":         {func(b []byte, m btree.Meta) { copy(b, bytes.ReplaceAll(b, []byte("ended"), []byte("xnded"))) }, "not in order"},
	"the list of free pages":  {func(b []byte, m btree.Meta) { b[m.Freelist*4096+8] = 2 }, "the list of free pages"},
	"a free page that isn't":  {func(b []byte, m btree.Meta) { b[m.Freelist*4096+16] = byte(m.Root) }, "the list of free pages"},
	"a page that is nobody's": {func(b []byte, m btree.Meta) { b[m.Freelist*4096+10]-- }, "belongs to nothing"},
	"an entry that is a bucket": {func(b []byte, m btree.Meta) {
		for at := 2 * 4096; at < len(b); at += 4096 { // all leaves but the root
			if b[at+8] == 2 && at != int(m.Root*4096) {
				b[at+16] |= 1
			}
		}
	}, "marked as a bucket"},
	"pages in a circle": {func(b []byte, m btree.Meta) {
		for at := 2 * 4096; at < len(b); at += 4096 { // all branches lead to themselves
			if b[at+8] == 1 {
				copy(b[at+16+8:at+16+16], b[at:at+8])
			}
		}
	}, "belongs to two places"},
	"the end of the file": {func(b []byte, m btree.Meta) {}, "truncated"},
}

func TestVerifyFindsWhatWasPlantedInPages(t *testing.T) {
	good := mixed(t, 20)
	for name, p := range plantedPages {
		t.Run(name, func(t *testing.T) {
			path := copyOf(t, good)
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			m, _, _ := newestMeta(f, os.Getpagesize())
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			p.plant(b, m)
			if name == "the end of the file" {
				b = b[:(m.Pages-1)*4096]
			}
			require.NoError(t, os.WriteFile(path, b, 0o600))
			found, _ := problems(t, path)
			require.Contains(t, fmt.Sprint(found), p.says)
		})
	}
	t.Logf("%d kinds of damage planted in pages, all of them named", len(plantedPages))
}

func TestVerifyFindsWhatWasPlantedInTheLog(t *testing.T) {
	s := openTemp(t)
	s.mix(t, 1)
	require.NoError(t, s.awaitApplied(t.Context()))
	s.mixMore(t)
	killed := filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, killed)
	segment := filepath.Join(killed+logSuffix, "1")
	for name, c := range map[string]struct {
		plant func(t *testing.T, path string)
		says  string
	}{
		"no log": {func(t *testing.T, path string) { require.NoError(t, os.RemoveAll(path+logSuffix)) }, "the log is missing"},
		"a batch": {func(t *testing.T, path string) {
			name := filepath.Join(path+logSuffix, "1")
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			for at := 0; at < 200*4096; at += 4096 { // all headers but the last ones
				b[at+50] ^= 1
			}
			require.NoError(t, os.WriteFile(name, b, 0o600))
		}, "is damaged: the log goes on behind it"},
		"a short segment": {func(t *testing.T, path string) {
			require.NoError(t, os.Truncate(filepath.Join(path+logSuffix, "1"), 4096))
		}, "truncated"},
		"an old log": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error {
				x := &planting{t, tx}
				m, ok := parseLogMark(x.get(metaTable, metaLog))
				require.True(t, ok)
				m.applied += 1000
				x.put(metaTable, metaLog, m.encode())
				x.put(metaTable, metaSum, sumOf(x.in(metaTable).Get))
				return nil
			})
		}, "the log is older than the file"},
		"a log beside a whole file": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error {
				x := &planting{t, tx}
				x.put(metaTable, metaFormat, []byte{0, 0, 0, formatWhole})
				x.put(metaTable, metaSum, sumOf(x.in(metaTable).Get))
				return nil
			})
		}, "not of the same moment"},
	} {
		t.Run(name, func(t *testing.T) {
			path := copyOf(t, killed)
			c.plant(t, path)
			found, _ := problems(t, path)
			require.Contains(t, fmt.Sprint(found), c.says)
			require.Contains(t, found[0].File, path)
		})
	}
	_, err := os.Stat(segment)
	require.NotErrorIs(t, err, fs.ErrNotExist)
}
