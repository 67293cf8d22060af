package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// belongings goes through a table whose keys begin with the number of an execution,
// beside the executions.
type belongings struct {
	*stream
	t     table
	v     *verifier
	short int              // the shortest key there is
	stray func(key []byte) // of an execution that is not there
}

func (v *verifier) belongings(t table, short int, stray func(key []byte)) *belongings {
	return &belongings{v.stream(t), t, v, short, stray}
}

// of calls f for what belongs to an execution, and stray for what belongs to ones
// before it that are not there.
func (b *belongings) of(number uint64, f func(key, value []byte)) {
	for ; b.ok; b.next() {
		if len(b.key) < b.short {
			b.v.bad(b.t, b.key, nil, "the key has a wrong size", nil)
			continue
		}
		switch n := binary.BigEndian.Uint64(b.key); {
		case n > number:
			return
		case n < number:
			b.stray(b.key)
		default:
			f(b.key, b.value)
		}
	}
}

// verifyExecutions looks at each execution with all that belongs to it.
func (v *verifier) verifyExecutions() {
	v.earliest = make(map[uint64]int64)
	stray := func(t table) func(key []byte) {
		return func(key []byte) {
			v.problem(Problem{Bucket: tableNames[t], Key: key, Number: binary.BigEndian.Uint64(key), What: "the execution is missing"})
		}
	}
	journal := v.belongings(journalTable, 16, v.strayJournal())
	inbox := v.belongings(inboxTable, 16, stray(inboxTable))
	callbacks := v.belongings(callbackTable, 9, stray(callbackTable))
	beating := v.belongings(beatTable, 17, stray(beatTable))
	var last uint64
	v.rows(func(number uint64, row *checkpoint.Row) {
		last = number
		v.done.Executions++
		x := &examined{v: v, number: number, row: row}
		journal.of(number, x.values)
		if v.logged != nil && v.logged.executions[number] != nil {
			for _, c := range v.logged.executions[number].values {
				x.values(pairKey(number, c.first), c.data)
			}
		}
		inbox.of(number, x.inboxEntry)
		callbacks.of(number, x.callback)
		beating.of(number, x.beat)
		if row != nil && v.err == nil {
			x.finish()
		}
	})
	const all = 1<<64 - 1
	for _, b := range []*belongings{journal, inbox, callbacks, beating} {
		b.of(all, func(key, _ []byte) { b.stray(key) })
	}
	if last > v.number {
		v.bad(metaTable, metaNumber, nil, fmt.Sprintf("the last number given to an execution was %d, but there is number %d", v.number, last), nil)
	}
}

// strayJournal reports records of executions that are not there, once each, unless the
// execution was deleted and they wait for their removal.
func (v *verifier) strayJournal() func(key []byte) {
	trash := make(map[uint64]bool)
	for s := v.stream(trashTable); s.ok; s.next() {
		if len(s.key) != 8 {
			v.bad(trashTable, s.key, nil, "the key has a wrong size", nil)
			continue
		}
		number := binary.BigEndian.Uint64(s.key)
		if row, _ := v.row(number); row != nil {
			v.bad(trashTable, s.key, row, "the journal of an execution that is there would be deleted", nil)
		}
		trash[number] = true
	}
	var reported uint64
	return func(key []byte) {
		number := binary.BigEndian.Uint64(key)
		if trash[number] || number == reported {
			return
		}
		if v.logged != nil {
			if x := v.logged.executions[number]; x != nil && x.removed {
				return
			}
		}
		reported = number
		v.problem(Problem{Bucket: tableNames[journalTable], Key: key, Number: number, What: "the execution of these records is missing"})
	}
}

// examined is an execution that is being looked at. row is nil if it is damaged: then
// what belongs to it is only read.
type examined struct {
	v      *verifier
	number uint64
	row    *checkpoint.Row

	seq       uint64 // of the last record
	lost      bool   // records behind seq can't be read
	lastEvent uint64
	last      checkpoint.Record
	opened    map[string]opened // callbacks, by operation ID
	seen      map[string]bool   // those that have an entry
	entries   uint64            // of the inbox
	beats     map[string]bool   // keys that callbacks ask for
	first     int64             // beat
}

// opened is what the journal and the inbox say of a callback.
type opened struct {
	timeoutAt, heartbeat int64
	closed               bool
}

// bad is a problem with an entry of the execution.
func (x *examined) bad(t table, key []byte, operation, what string, err error) {
	p := Problem{Bucket: tableNames[t], Key: bytes.Clone(key), Number: x.number, Operation: operation, What: what, Err: err}
	if x.row != nil {
		p.Execution = x.row.ID
	}
	x.v.problem(p)
}

// values is called for each value of the journal.
func (x *examined) values(key, value []byte) {
	b := unbind(key, value)
	if len(key) != 16 || len(b) == len(value) && len(value) > 0 && value[0] == bound {
		x.bad(journalTable, key, "", "the value was put under another key", nil)
		x.lost = true
		return
	}
	x.records(key, b)
}

// records looks at records that lie together.
func (x *examined) records(key, b []byte) {
	first := binary.BigEndian.Uint64(key[8:])
	if len(b) == 0 {
		x.bad(journalTable, key, "", "it holds no record", nil)
	}
	for len(b) > 0 {
		r, rest, err := checkpoint.DecodeRecord(b)
		if err != nil {
			x.bad(journalTable, key, "", fmt.Sprintf("record %d can't be read", max(x.seq+1, first)), err)
			x.lost = true
			return
		}
		b = rest
		x.v.done.Records++
		if first != 0 && r.Seq != first {
			x.bad(journalTable, key, r.OperationID, fmt.Sprintf("it begins with record %d", r.Seq), nil)
		}
		first = 0
		x.record(key, &r)
	}
}

func (x *examined) record(key []byte, r *checkpoint.Record) {
	bad := func(format string, args ...any) {
		x.bad(journalTable, key, r.OperationID, fmt.Sprintf(format, args...), nil)
	}
	whole := !x.lost
	if r.Seq != x.seq+1 && (whole || r.Seq <= x.seq) {
		bad("record %d comes behind record %d", r.Seq, x.seq)
		whole = false
	}
	if x.seq = r.Seq; x.row != nil && x.last.Seq != 0 && final(x.last.Type) != 0 {
		bad("record %d comes behind the end of the execution", r.Seq)
	}
	x.lost = false
	if r.EventID > 0 && r.Events > 0 {
		if r.EventID != x.lastEvent+1 && whole {
			bad("record %d is event %d, the one before it was event %d", r.Seq, r.EventID, x.lastEvent)
		}
		x.lastEvent = r.EventID + uint64(r.Events) - 1
	}
	if row := x.row; row != nil && r.Seq == 1 && (r.Function != row.Function || r.Time != row.StartedAt || r.TimeoutAt != row.Deadline) {
		bad("the start of the execution is not that of its row")
	}
	x.callbackRecord(r)
	x.last = checkpoint.Record{Seq: r.Seq, Type: r.Type, Time: r.Time} // not the bytes
}

// callbackRecord notes what a record, of the journal or the inbox, makes of a callback.
func (x *examined) callbackRecord(r *checkpoint.Record) {
	switch r.Type {
	case checkpoint.CallbackStarted:
		if x.opened == nil {
			x.opened = make(map[string]opened)
		}
		x.opened[r.OperationID] = opened{r.TimeoutAt, r.HeartbeatTimeout, false}
	case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
		if o, ok := x.opened[r.OperationID]; ok {
			o.closed = true
			x.opened[r.OperationID] = o
		}
	}
}

// final is the status that a record ends an execution with, 0 if it does not.
func final(t checkpoint.EventType) checkpoint.Status {
	switch t {
	case checkpoint.ExecutionSucceeded:
		return checkpoint.Succeeded
	case checkpoint.ExecutionFailed:
		return checkpoint.Failed
	case checkpoint.ExecutionTimedOut:
		return checkpoint.TimedOut
	case checkpoint.ExecutionStopped:
		return checkpoint.Stopped
	}
	return 0
}

func (x *examined) inboxEntry(key, value []byte) {
	r, rest, err := checkpoint.DecodeRecord(unbind(key, value))
	seq := uint64(0)
	if len(key) == 16 {
		seq = binary.BigEndian.Uint64(key[8:])
	}
	switch row := x.row; {
	case err != nil || len(rest) > 0 || r.Seq != seq:
		x.bad(inboxTable, key, "", "the entry can't be read", err)
	case row == nil:
	case row.Status != checkpoint.Running:
		x.bad(inboxTable, key, r.OperationID, "the execution has ended, but its inbox holds something", nil)
	case seq <= row.InboxSeen || seq > row.InboxTail:
		x.bad(inboxTable, key, r.OperationID, fmt.Sprintf("the inbox holds entries %d to %d", row.InboxSeen+1, row.InboxTail), nil)
	default:
		x.callbackRecord(&r)
	}
	x.entries++
}

func (x *examined) callback(key, value []byte) {
	operation := string(key[8:])
	bad := func(what string) { x.bad(callbackTable, key, operation, what, nil) }
	if x.seen == nil {
		x.seen = make(map[string]bool)
	}
	x.seen[operation] = true
	c, ok := parseCallback(value)
	if !ok {
		bad("the callback can't be read")
		return
	}
	if x.row == nil {
		return
	}
	o, started := x.opened[operation]
	switch {
	case x.row.Status != checkpoint.Running:
		bad("the execution has ended, but its callback is there")
	case !x.row.Callbacks:
		bad("the row says that there are no callbacks")
	case !started && !c.Closed && !x.lost:
		bad("the journal did not start this callback")
	case started && (c.TimeoutAt != o.timeoutAt || c.HeartbeatTimeout != o.heartbeat):
		bad("the timeouts of the callback are not those of the journal")
	case started && o.closed && !c.Closed:
		bad("the callback has an outcome, but is open")
	case c.HeartbeatAt != 0 && (c.Closed || c.HeartbeatTimeout == 0 || !x.row.Heartbeats):
		bad("the callback waits for heartbeats, but has none")
	}
	if c.HeartbeatAt != 0 {
		if x.beats == nil {
			x.beats = make(map[string]bool)
		}
		x.beats[string(beatKey(x.number, c.HeartbeatAt, operation))] = true
	}
}

func (x *examined) beat(key, _ []byte) {
	if at := timeOfBits(binary.BigEndian.Uint64(key[8:])); x.first == 0 || at < x.first {
		x.first = at
		x.v.earliest[x.number] = at
	}
	if x.row != nil && !x.beats[string(key)] {
		x.bad(beatTable, key, string(key[16:]), "the callback does not wait for a heartbeat then", nil)
	}
	delete(x.beats, string(key))
}

// finish compares the row with all the rest.
func (x *examined) finish() {
	row, key := x.row, numberKey(x.number)
	bad := func(format string, args ...any) { x.bad(executionTable, key, "", fmt.Sprintf(format, args...), nil) }
	status := final(x.last.Type)
	switch {
	case x.lost:
	case x.seq != row.Tail:
		bad("the row says that the journal ends with record %d, it ends with %d", row.Tail, x.seq)
	case x.lastEvent != row.LastEvent:
		bad("the row says that the history ends with event %d, it ends with %d", row.LastEvent, x.lastEvent)
	case row.Status == checkpoint.Running && status != 0:
		bad("the row says %s, the journal ends with %s", row.Status, x.last.Type)
	case row.Status != checkpoint.Running && (status != row.Status || x.last.Time > row.EndedAt): // it may have been created ended
		bad("the row says %s, the journal ends with %s, or at another time", row.Status, x.last.Type)
	}
	if row.Status < checkpoint.Running || row.Status > checkpoint.Stopped || row.InboxSeen > row.InboxTail || row.Tail == 0 {
		bad("the row holds a number that can't be")
	}
	if want := row.InboxTail - row.InboxSeen; row.Status == checkpoint.Running && x.entries < want {
		bad("the inbox holds %d entries, the row says %d", x.entries, want)
	}
	if row.Status == checkpoint.Running && !x.lost {
		for operation := range x.opened {
			if !x.seen[operation] {
				x.bad(callbackTable, operationKey(x.number, operation), operation, "the callback is missing", nil)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(x.beats)) {
		x.bad(beatTable, []byte(key), key[16:], "the callback waits for a heartbeat that is not in the index", nil)
	}
	x.v.verifyIndexed(row, beats(x.first))
}
