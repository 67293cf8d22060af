package checkpoint

import (
	"encoding/binary"
	"slices"
)

// Row is what the embedded stores keep of an execution beside its journal and
// its inbox. Started and Ended of the summary are not part of it: they are the
// first and the last record of the journal.
type Row struct {
	Summary
	Digest       []byte // of the Creation
	CallerNumber uint64 // of the execution of Caller; 0: none
	Lost         bool   // the last owner did not release it
	Invoked      bool   // it has invoked executions
	Callbacks    bool   // it has had callbacks
	Heartbeats   bool   // it has had callbacks with a heartbeat timeout

	// Unfit are builds that have held it, since when another one has gone on with it:
	// they leave it to others, see Store.Claim.
	Unfit []string
}

const (
	rowVersion = 0x41

	keyRowNumber      = 1 << 1
	keyRowID          = 2<<1 | 1
	keyRowIncarnation = 3<<1 | 1
	keyRowFunction    = 4<<1 | 1
	keyRowStatus      = 5 << 1
	keyRowStartedAt   = 6 << 1
	keyRowEndedAt     = 7 << 1 // distance from StartedAt
	keyRowDeadline    = 8 << 1 // distance from StartedAt
	keyRowWakeAt      = 9 << 1 // distance from StartedAt
	keyRowCallerID    = 10<<1 | 1
	keyRowCallerInc   = 11<<1 | 1
	keyRowCallerOp    = 12<<1 | 1
	keyRowEpoch       = 13 << 1
	keyRowFlags       = 14 << 1
	keyRowTail        = 15 << 1
	keyRowLastEvent   = 16 << 1
	keyRowInboxSeen   = 17 << 1
	keyRowInboxTail   = 18 << 1
	keyRowHeldBuild   = 19<<1 | 1 // once for each build
	keyRowHeld        = 20<<1 | 1
	keyRowDigest      = 21<<1 | 1
	keyRowCallerNum   = 22 << 1
	keyRowUnfit       = 23<<1 | 1 // once for each build
)

// Bits of a row's flags.
const (
	rowOwned = 1 << iota
	rowCancelled
	rowLost
	rowCaller
	rowInvoked
	rowCallbacks
	rowHeartbeats
)

// AppendRow appends the binary form of r to dst.
func AppendRow(dst []byte, r *Row) []byte {
	dst, start := openFrame(dst, rowVersion)
	dst = appendUint(dst, keyRowNumber, r.Number)
	dst = appendBytes(dst, keyRowID, r.ID)
	if !r.Incarnation.IsZero() {
		dst = appendBytes(dst, keyRowIncarnation, r.Incarnation[:])
	}
	dst = appendBytes(dst, keyRowFunction, r.Function)
	dst = appendUint(dst, keyRowStatus, uint64(r.Status))
	dst = appendInt(dst, keyRowStartedAt, r.StartedAt)
	dst = appendDelta(dst, keyRowEndedAt, r.EndedAt, r.StartedAt)
	dst = appendDelta(dst, keyRowDeadline, r.Deadline, r.StartedAt)
	dst = appendDelta(dst, keyRowWakeAt, r.WakeAt, r.StartedAt)
	var flags uint64
	if c := r.Caller; c != nil {
		flags |= rowCaller
		dst = appendBytes(dst, keyRowCallerID, c.ID)
		dst = appendBytes(dst, keyRowCallerInc, c.Incarnation[:])
		dst = appendBytes(dst, keyRowCallerOp, c.OperationID)
	}
	dst = appendUint(dst, keyRowEpoch, r.Epoch)
	flags |= bitIf(r.Owned, rowOwned) | bitIf(r.Cancelled, rowCancelled) | bitIf(r.Lost, rowLost) |
		bitIf(r.Invoked, rowInvoked) | bitIf(r.Callbacks, rowCallbacks) | bitIf(r.Heartbeats, rowHeartbeats)
	dst = appendUint(dst, keyRowFlags, flags)
	dst = appendUint(dst, keyRowTail, r.Tail)
	dst = appendUint(dst, keyRowLastEvent, r.LastEvent)
	dst = appendUint(dst, keyRowInboxSeen, r.InboxSeen)
	dst = appendUint(dst, keyRowInboxTail, r.InboxTail)
	for _, build := range r.HeldBuilds {
		dst = append(binary.AppendUvarint(append(dst, keyRowHeldBuild), uint64(len(build))), build...)
	}
	dst = appendBytes(dst, keyRowHeld, r.Held)
	dst = appendBytes(dst, keyRowDigest, r.Digest)
	dst = appendUint(dst, keyRowCallerNum, r.CallerNumber)
	for _, build := range r.Unfit {
		dst = append(binary.AppendUvarint(append(dst, keyRowUnfit), uint64(len(build))), build...)
	}
	return closeFrame(dst, start)
}

// DecodeRow reads the row in b, which holds nothing else. Nothing of the row is
// part of b. Any other error than nil is a *CorruptError.
func DecodeRow(b []byte) (*Row, error) {
	const what = "execution"
	body, rest, err := cutFrame(b, rowVersion, what)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, &CorruptError{Where: what, What: "damaged: there are bytes behind it"}
	}
	r := new(Row)
	fits := true
	incarnation := func(i *Incarnation, v []byte) {
		fits = fits && len(v) == len(i)
		copy(i[:], v)
	}
	var caller Caller
	var flags, endedAt, deadline, wakeAt uint64
	var hasEndedAt, hasDeadline, hasWakeAt bool
	for len(body) > 0 {
		var key, n uint64
		var v []byte
		if key, n, v, body, err = cutField(body, what); err != nil {
			return nil, err
		}
		switch key {
		case keyRowNumber:
			r.Number = n
		case keyRowID:
			r.ID = string(v)
		case keyRowIncarnation:
			incarnation(&r.Incarnation, v)
		case keyRowFunction:
			r.Function = string(v)
		case keyRowStatus:
			r.Status = Status(narrow[uint8](n, &fits))
		case keyRowStartedAt:
			r.StartedAt = unzigzag(n)
		case keyRowEndedAt:
			endedAt, hasEndedAt = n, true
		case keyRowDeadline:
			deadline, hasDeadline = n, true
		case keyRowWakeAt:
			wakeAt, hasWakeAt = n, true
		case keyRowCallerID:
			caller.ID = string(v)
		case keyRowCallerInc:
			incarnation(&caller.Incarnation, v)
		case keyRowCallerOp:
			caller.OperationID = string(v)
		case keyRowEpoch:
			r.Epoch = n
		case keyRowFlags:
			flags = n
		case keyRowTail:
			r.Tail = n
		case keyRowLastEvent:
			r.LastEvent = n
		case keyRowInboxSeen:
			r.InboxSeen = n
		case keyRowInboxTail:
			r.InboxTail = n
		case keyRowHeldBuild:
			r.HeldBuilds = append(r.HeldBuilds, string(v))
		case keyRowHeld:
			r.Held = slices.Clone(v)
		case keyRowDigest:
			r.Digest = slices.Clone(v)
		case keyRowCallerNum:
			r.CallerNumber = n
		case keyRowUnfit:
			r.Unfit = append(r.Unfit, string(v))
		}
	}
	if !fits {
		return nil, &CorruptError{Where: what, What: "damaged: a field has a size it can't have"}
	}
	if flags&rowCaller != 0 {
		r.Caller = &caller
	}
	r.Owned, r.Cancelled, r.Lost = flags&rowOwned != 0, flags&rowCancelled != 0, flags&rowLost != 0
	r.Invoked, r.Callbacks, r.Heartbeats = flags&rowInvoked != 0, flags&rowCallbacks != 0, flags&rowHeartbeats != 0
	if hasEndedAt {
		r.EndedAt = r.StartedAt + unzigzag(endedAt)
	}
	if hasDeadline {
		r.Deadline = r.StartedAt + unzigzag(deadline)
	}
	if hasWakeAt {
		r.WakeAt = r.StartedAt + unzigzag(wakeAt)
	}
	return r, nil
}

// RowSelected checks the row in b, as DecodeRow does, and reports whether q selects it,
// apart from Before and Limit, and its status. It allocates nothing.
func RowSelected(b []byte, q *Query) (status Status, selected bool, err error) {
	const what = "execution"
	body, rest, err := cutFrame(b, rowVersion, what)
	if err != nil {
		return 0, false, err
	}
	if len(rest) > 0 {
		return 0, false, &CorruptError{Where: what, What: "damaged: there are bytes behind it"}
	}
	var id, function []byte
	var startedAt int64
	for len(body) > 0 {
		var key, n uint64
		var v []byte
		if key, n, v, body, err = cutField(body, what); err != nil {
			return 0, false, err
		}
		switch key {
		case keyRowID:
			id = v
		case keyRowFunction:
			function = v
		case keyRowStatus:
			status = Status(n)
		case keyRowStartedAt:
			startedAt = unzigzag(n)
		}
		if key > keyRowStartedAt { // fields are in order
			break
		}
	}
	selected = (q.Function == "" || string(function) == q.Function) &&
		(q.Status == 0 || status == q.Status) &&
		(q.StartedAfter == 0 || startedAt > q.StartedAfter) &&
		(q.StartedBefore == 0 || startedAt < q.StartedBefore) &&
		len(id) >= len(q.IDPrefix) && string(id[:len(q.IDPrefix)]) == q.IDPrefix
	return status, selected, nil
}

// RowNumber checks the row in b, as DecodeRow does, and returns its number alone. It
// allocates nothing.
func RowNumber(b []byte) (uint64, error) {
	const what = "row"
	body, rest, err := cutFrame(b, rowVersion, what)
	if err != nil {
		return 0, err
	}
	if len(rest) > 0 {
		return 0, &CorruptError{Where: what, What: "damaged: something is behind it"}
	}
	key, number, _, _, err := cutField(body, what)
	if err == nil && key != keyRowNumber {
		err = &CorruptError{Where: what, What: "damaged: it has no number"}
	}
	return number, err
}

func bitIf(set bool, bit uint64) uint64 {
	if set {
		return bit
	}
	return 0
}
