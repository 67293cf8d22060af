package history

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// CancelledBy returns the context whose cancel reached o first, or nil. It is the first
// by the journal, so that another cancel, which comes later, changes nothing.
func (o *Operation) CancelledBy() (by *Operation) {
	for ; o != nil; o = o.Up {
		if o.CancelSeq != 0 && (by == nil || o.CancelSeq < by.CancelSeq) {
			by = o
		}
		if o.Flags&checkpoint.FlagShielded != 0 {
			break
		}
	}
	return by
}

// ReachedBy reports whether a cancel of context reaches o.
func (o *Operation) ReachedBy(context *Operation) bool {
	for ; o != nil && o != context; o = o.Up {
		if o.Flags&checkpoint.FlagShielded != 0 {
			return false
		}
	}
	return o != nil
}

// EndedByCancel reports whether o failed because a cancel reached it.
func (o *Operation) EndedByCancel() bool {
	by := o.CancelledBy()
	return by != nil && o.EndSeq > by.CancelSeq && o.Failure != nil && (o.Failure.Type == "Canceled" || o.Failure.Type == "Timeout")
}

// Cancelled is the failure of what the cancel of o reaches.
func (o *Operation) Cancelled() *fault.Failure { return CancelFailure(o.CancelCause, o.CancelReason) }

// CancelFailure is the failure of what a cancel reaches.
func CancelFailure(cause, reason string) *fault.Failure {
	switch {
	case cause == "Timeout":
		return fault.Own("Timeout", "a timeout around it passed")
	case reason != "":
		return fault.Own("Canceled", "canceled: "+reason)
	default:
		return fault.Own("Canceled", "canceled")
	}
}

// Closing reports whether a callback was offered its cancel already.
func (o *Operation) Closing() bool { return o.CancelCause != "" }

// Looks are how far the code of a context has looked at its standard context.
type Looks struct {
	Place uint32 // 2 p in the operation at position p, 2 p + 1 behind it
	Count uint32 // of the looks there that saw no cancel
	Shown bool   // the next one sees it
}
