package durable

import (
	"errors"

	"github.com/durable-go/durable/checkpoint"
)

// Sealer encrypts what carries user data before it reaches the store: inputs,
// results, states, the message, data and stack of failures, callback payloads.
// Both methods append to dst and return it. Seal may be randomized; Open must
// refuse what was sealed for another Place. Both must be safe for concurrent use.
type Sealer interface {
	Seal(dst, plain []byte, place Place) ([]byte, error)
	Open(dst, sealed []byte, place Place) ([]byte, error)
}

// Place is where a sealed value stands. A sealer binds the value to it, so that
// one can't be moved to another place unnoticed.
type Place struct {
	Incarnation [16]byte // of the execution
	OperationID string   // "": the execution itself
	Kind        string   // "input", "result", "batch" or "failure"
}

// sealRecord seals the user data of rec in place.
func (e *Engine) sealRecord(rec *checkpoint.Record, inc checkpoint.Incarnation) error {
	if e.opts.Sealer == nil {
		return nil
	}
	return e.eachSealed(rec, inc, func(b []byte, p Place) ([]byte, error) {
		rec.Flags |= checkpoint.FlagSealed
		return e.opts.Sealer.Seal(nil, b, p)
	})
}

// openRecord opens the user data of a sealed rec in place.
func (e *Engine) openRecord(rec *checkpoint.Record, inc checkpoint.Incarnation) error {
	if rec.Flags&checkpoint.FlagSealed == 0 {
		return nil
	}
	if e.opts.Sealer == nil {
		return errNoSealer
	}
	err := e.eachSealed(rec, inc, func(b []byte, p Place) ([]byte, error) {
		return e.opts.Sealer.Open(nil, b, p)
	})
	rec.Flags &^= checkpoint.FlagSealed
	return err
}

func (e *Engine) eachSealed(rec *checkpoint.Record, inc checkpoint.Incarnation, f func([]byte, Place) ([]byte, error)) (err error) {
	place := Place{Incarnation: inc, OperationID: rec.OperationID}
	if len(rec.Payload) > 0 {
		place.Kind = payloadKind(rec.Type)
		if rec.Payload, err = f(rec.Payload, place); err != nil {
			return err
		}
	}
	if len(rec.Batch) > 0 {
		place.Kind = "batch"
		if rec.Batch, err = f(rec.Batch, place); err != nil {
			return err
		}
	}
	if len(rec.Failure) > 0 {
		place.Kind = "failure"
		if rec.Failure, err = f(rec.Failure, place); err != nil {
			return err
		}
	}
	return nil
}

func payloadKind(t checkpoint.EventType) string {
	switch t {
	case checkpoint.ExecutionStarted, checkpoint.ChainedInvokeStarted:
		return "input"
	default:
		return "result"
	}
}

var errNoSealer = errors.New("durable: the record is sealed and Options.Sealer is not set: open the store with the sealer that it was written with")
