package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// verifyQueues reads the names of the queues.
func (v *verifier) verifyQueues() {
	for s := v.stream(queueTable); s.ok; s.next() {
		name, ok := parseQueueKey(s.key)
		if !ok || len(s.value) != 4 {
			v.bad(queueTable, s.key, nil, "it can't be read", nil)
			continue
		}
		number := binary.BigEndian.Uint32(s.value)
		if other, twice := v.names[number]; twice {
			v.bad(queueTable, s.key, nil, fmt.Sprintf("queue %d is that of %q too", number, other), nil)
		}
		v.queues[name], v.names[number] = number, name
	}
}

// verifyIndexed checks that a row is where the indexes should have it.
func (v *verifier) verifyIndexed(row *checkpoint.Row, beats beats) {
	want := func(t table, key []byte, what string) (value []byte) {
		value, found, sound := v.get(t, key)
		if sound && !found {
			v.bad(t, key, row, what, nil)
		}
		return value
	}
	id := []byte(row.ID)
	if b := want(idTable, id, "the ID of an execution is missing"); b != nil && !bytes.Equal(b, numberKey(row.Number)) {
		v.bad(idTable, id, row, fmt.Sprintf("it leads to %x, not to execution number %d", b, row.Number), nil)
	}
	place, _ := ledger.PlaceOf(row, beats)
	switch place.Kind {
	case ledger.Owned:
		want(ownedTable, numberKey(row.Number), "the execution has an owner, but is not in the index of those")
	case ledger.Ended:
		want(endedTable, endedKey(place.At, row.Number), "the execution has ended, but is not in the index of those")
	case ledger.Queued:
		if queue, ok := v.queues[place.Queue]; ok {
			want(dueTable, dueKey(queue, place.At, row.Number), "the execution waits, but will not be woken: its due time is not in the index")
		} else {
			v.bad(queueTable, queueKey(place.Queue), row, "the execution waits, but will not be woken: its queue is missing", nil)
		}
	}
	if row.CallerNumber != 0 && row.Status == checkpoint.Running {
		want(childTable, pairKey(row.CallerNumber, row.Number), "the execution was invoked, but its caller does not know it")
	}
	if (row.Caller != nil) != (row.CallerNumber != 0) {
		v.bad(executionTable, numberKey(row.Number), row, fmt.Sprintf("its caller is number %d, which does not fit the rest of the row", row.CallerNumber), nil)
	}
}

// beats is the earliest heartbeat due time of an execution.
type beats int64

func (b beats) FirstBeat(uint64) (int64, error) { return int64(b), nil }

func (v *verifier) verifyIDs() {
	for s := v.stream(idTable); s.ok; s.next() {
		if len(s.value) != 8 {
			v.bad(idTable, s.key, nil, "it has no number", nil)
			continue
		}
		number := binary.BigEndian.Uint64(s.value)
		if row, sound := v.row(number); sound && (row == nil || row.ID != string(s.key)) {
			v.bad(idTable, s.key, row, fmt.Sprintf("execution number %d is missing, or another one", number), nil)
		}
	}
}

func (v *verifier) verifyDue() {
	for s := v.stream(dueTable); s.ok; s.next() {
		if len(s.key) != 20 {
			v.bad(dueTable, s.key, nil, "the key has a wrong size", nil)
			continue
		}
		queue, ok := v.names[binary.BigEndian.Uint32(s.key)]
		if !ok {
			v.bad(dueTable, s.key, nil, "its queue is missing", nil)
			continue
		}
		at := timeOfBits(binary.BigEndian.Uint64(s.key[4:]))
		v.verifyPlace(dueTable, s.key, binary.BigEndian.Uint64(s.key[12:]), ledger.Place{Kind: ledger.Queued, Queue: queue, At: at})
	}
}

// verifyPlaces checks the index of executions with an owner, or of those that have ended.
func (v *verifier) verifyPlaces(t table) {
	size, place := 8, ledger.Place{Kind: ledger.Owned}
	if t == endedTable {
		size = 16
	}
	for s := v.stream(t); s.ok; s.next() {
		if len(s.key) != size {
			v.bad(t, s.key, nil, "the key has a wrong size", nil)
			continue
		}
		if t == endedTable {
			place = ledger.Place{Kind: ledger.Ended, At: timeOfBits(binary.BigEndian.Uint64(s.key))}
		}
		v.verifyPlace(t, s.key, binary.BigEndian.Uint64(s.key[size-8:]), place)
	}
}

// verifyPlace checks that an execution stands where an index has it.
func (v *verifier) verifyPlace(t table, key []byte, number uint64, place ledger.Place) {
	row, sound := v.row(number)
	switch {
	case !sound:
	case row == nil:
		v.problem(Problem{Bucket: tableNames[t], Key: key, Number: number, What: "the execution is missing"})
	default:
		if is, _ := ledger.PlaceOf(row, v.firstBeat(row)); is != place {
			v.bad(t, key, row, "the execution does not belong there", nil)
		}
	}
}

// firstBeat looks up the earliest heartbeat of an execution.
func (v *verifier) firstBeat(row *checkpoint.Row) beats {
	if !row.Heartbeats || row.Status != checkpoint.Running {
		return 0
	}
	return beats(v.earliest[row.Number])
}

func (v *verifier) verifyChildren() {
	for s := v.stream(childTable); s.ok; s.next() {
		if len(s.key) != 16 {
			v.bad(childTable, s.key, nil, "the key has a wrong size", nil)
			continue
		}
		parent, child := binary.BigEndian.Uint64(s.key), binary.BigEndian.Uint64(s.key[8:])
		row, sound := v.row(child)
		switch {
		case !sound:
		case row == nil:
			v.problem(Problem{Bucket: tableNames[childTable], Key: s.key, Number: child, What: "the invoked execution is missing"})
		case row.CallerNumber != parent || row.Status != checkpoint.Running:
			v.bad(childTable, s.key, row, fmt.Sprintf("execution number %d did not invoke it, or it has ended", parent), nil)
		}
		if caller, _ := v.row(parent); caller != nil && !caller.Invoked {
			v.bad(childTable, s.key, caller, "the execution has invoked another one, but its row does not say so", nil)
		}
	}
}
