package invocation

import (
	"container/heap"
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// dueTime is when something about an operation is due.
type dueTime struct {
	at   int64
	kind dueKind
	o    *history.Operation
}

type dueKind uint8

const (
	dueWake      dueKind = iota // a wait, a retry or a poll
	dueTimeout                  // the operation's timeout
	dueHeartbeat                // a callback's heartbeat
	dueDeadline                 // the execution's
)

// dueTimes is a heap, earliest first. Entries that do not matter any more stay
// until they are popped; see valid.
type dueTimes []dueTime

func (d dueTimes) Len() int           { return len(d) }
func (d dueTimes) Less(i, j int) bool { return d[i].at < d[j].at }
func (d dueTimes) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dueTimes) Push(v any)        { *d = append(*d, v.(dueTime)) }
func (d *dueTimes) Pop() any {
	old := *d
	v := old[len(old)-1]
	*d = old[:len(old)-1]
	return v
}

func (d *dueTimes) add(t dueTime) { heap.Push(d, t) }

func (d dueTime) valid() bool {
	o := d.o
	switch {
	case d.kind == dueDeadline:
		return true
	case o.Settled() || o.Dead():
		return false
	case d.kind == dueWake:
		return o.WakeAt == d.at && (o.Status == history.Pending || o.Type == history.Wait)
	case d.kind == dueTimeout:
		return o.CancelSeq == 0
	}
	return true
}

// addDue enters the due times of o. x.mu is held.
func (x *Invocation) addDue(o *history.Operation) {
	if o.WakeAt != 0 && (o.Status == history.Pending || o.Type == history.Wait) {
		x.due.add(dueTime{o.WakeAt, dueWake, o})
	}
	if o.TimeoutAt != 0 {
		x.due.add(dueTime{o.TimeoutAt, dueTimeout, o})
	}
	if o.Heartbeat != 0 {
		x.due.add(dueTime{history.After(o.StartedAt, o.Heartbeat), dueHeartbeat, o})
	}
	x.armTimer()
}

// nextDue is the earliest due time, 0 if there is none. x.mu is held.
func (x *Invocation) nextDue(heartbeats bool) int64 {
	for len(x.due) > 0 && !x.due[0].valid() {
		heap.Pop(&x.due)
	}
	if len(x.due) == 0 {
		return 0
	}
	if heartbeats || x.due[0].kind != dueHeartbeat {
		return x.due[0].at
	}
	var next int64
	for _, d := range x.due {
		if d.kind != dueHeartbeat && d.valid() && (next == 0 || d.at < next) {
			next = d.at
		}
	}
	return next
}

// armTimer asks for an alarm for what is due next. x.mu is held.
func (x *Invocation) armTimer() {
	if !x.phase.lets(letEvents) || x.firing || x.replay != nil {
		return
	}
	if next := x.nextDue(true); next != 0 {
		x.host.Alarm(next)
	}
}

// Due handles what is due, in the order of the due times.
func (x *Invocation) Due() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.phase.lets(letEvents) || x.firing {
		return
	}
	now := x.host.Now()
	for {
		d, ok := x.popDue(now)
		if !ok {
			break
		}
		x.host.Woken(d.at, now)
		if x.handleDue(d) {
			continue
		}
		// What is due later waits until this has its place in the journal.
		x.firing = true
		x.outsideWork(func() {
			x.handleOutside(d)
			x.mu.Lock()
			x.firing = false
			x.mu.Unlock()
			x.Due()
		})
		return
	}
	x.armTimer()
	x.weigh()
}

// popDue takes the next due time that has passed. x.mu is held.
func (x *Invocation) popDue(now int64) (dueTime, bool) {
	if next := x.nextDue(true); next == 0 || next > now {
		return dueTime{}, false
	}
	return heap.Pop(&x.due).(dueTime), true
}

// handleDue handles what is due and needs nobody else; false if it needs the
// host, by handleOutside. x.mu is held.
func (x *Invocation) handleDue(d dueTime) bool {
	o := d.o
	switch {
	case d.kind == dueWake && o.Type == history.Wait:
		x.settle(o, &checkpoint.Record{Type: checkpoint.WaitSucceeded, OperationID: o.ID}, nil)
	case d.kind == dueWake:
		o.Status = history.Ready
		x.wakeAll(o)
	case d.kind == dueTimeout && x.commits(o):
		// Its outcome has its place in the journal already.
	case d.kind == dueTimeout && o.Type == history.Step:
		x.timeOut(o, checkpoint.StepFailed)
	case d.kind == dueTimeout && o.Type == history.Invoke:
		x.journal.Deliver(CancelDelivery(o.Target, "the invoke timed out"))
		x.timeOut(o, checkpoint.ChainedInvokeTimedOut)
	default:
		return false
	}
	return true
}

// handleOutside handles what is due and needs the host. x.mu is not held.
func (x *Invocation) handleOutside(d dueTime) {
	switch {
	case d.kind == dueDeadline:
		x.timeOutExecution()
	case d.o.Type == history.Context:
		x.cancelScope(d.o, "Timeout", "", 0)
		x.drain()
	default:
		x.expireCallback(d)
		x.drain()
	}
}

// timeOutExecution ends the execution at its deadline. x.mu is not held.
func (x *Invocation) timeOutExecution() {
	err := x.host.Expire(x.context())
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err == nil:
		x.closeNow(fault.ErrTimeout)
	case errors.Is(err, checkpoint.ErrNotFound): // somebody ended and deleted it meanwhile
		x.closeNow(fault.ErrStopped)
	default:
		x.lostUnlessEnded(err)
	}
}

// timeOut records that a step or an invoke took too long, and ends the context
// of its body. x.mu is held.
func (x *Invocation) timeOut(o *history.Operation, t checkpoint.EventType) {
	failure := fault.Own("Timeout", "timed out after "+durationOf(o.Timeout).String())
	x.settle(o, &checkpoint.Record{Type: t, OperationID: o.ID, Timeout: o.Timeout, TimeoutAt: o.TimeoutAt}, failure)
	if o.Cancel != nil {
		o.Cancel(fault.ErrTimeout)
	}
}

// expireCallback lets the host decide between a callback's timeout and an
// outcome from outside: the first one is the outcome. What was decided comes
// back through the inbox. x.mu is not held.
func (x *Invocation) expireCallback(d dueTime) {
	rec := checkpoint.Record{Type: checkpoint.CallbackTimedOut, TimeoutAt: d.at}
	failure := fault.Own("Timeout", "no outcome came for "+durationOf(d.o.Timeout).String())
	if d.kind == dueHeartbeat {
		rec.HeartbeatTimeout = d.o.Heartbeat
		failure = fault.Own("HeartbeatTimeout", "no heartbeat came for "+durationOf(d.o.Heartbeat).String())
	}
	x.deliverToSelf(d.o, rec, failure)
}

// deliverToSelf offers an outcome of an own callback to the host. It returns
// false if the invocation is lost over it. x.mu is not held.
func (x *Invocation) deliverToSelf(o *history.Operation, rec checkpoint.Record, failure *fault.Failure) bool {
	rec.SubType, rec.OperationID, rec.Failure = checkpoint.Callback, o.ID, fault.Encode(failure)
	err := x.host.Offer(x.context(), &rec)
	if err == nil || errors.Is(err, checkpoint.ErrCallbackClosed) {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if early, ok := errors.AsType[*checkpoint.NotDueError](err); ok { // there was a heartbeat
		next := dueTime{early.Due.UnixNano(), dueHeartbeat, o}
		if next.at == o.TimeoutAt {
			next.kind = dueTimeout
		}
		x.due.add(next)
		x.armTimer()
		return true
	}
	x.lostUnlessEnded(err)
	return false
}

// CancelDelivery asks an execution that was invoked to end.
func CancelDelivery(id, reason string) checkpoint.Delivery {
	return checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested, Payload: []byte(reason)}}
}

func durationOf(ns int64) time.Duration { return time.Duration(ns) }
