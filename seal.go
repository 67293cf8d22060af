package durable

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Sealer encrypts what carries user data before it reaches the store: inputs,
// results, states, the message, data and stack of failures, callback payloads.
// Both methods append to dst and return it; plain and sealed are theirs to change. Seal
// may be randomized; Open must refuse what was sealed for another Place. Both must be
// safe for concurrent use, must not call the engine, and must not end their goroutine.
// They may take their time, to ask for a key for example: only the execution waits
// whose data it is, and who asks for that.
//
// What happens in an execution is sealed on its way to the store. When Seal fails,
// it is not recorded, nor is anything behind it: the execution is replayed from what
// is recorded, a little later, and does again what came after that. The handler may
// have seen what could not be sealed; nothing that depends on it has left the
// process. When Open fails, the execution is held. The text of their errors is
// logged, so it must not hold what was sealed.
//
// When Open fails for want of a key, another process may have it: a sealer that is
// Fingerprinted has such executions taken up by one that does.
//
// Package durableseal has one: AES-256-GCM, with rotation of keys.
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
	err := e.eachSealed(rec, inc, e.opts.Sealer.Seal)
	if err == nil {
		rec.Flags |= checkpoint.FlagSealed
	}
	return err
}

// sealAppend seals what an owner appends: its records, what it tells its caller, and why
// it is held.
func (e *Engine) sealAppend(a *checkpoint.Append, inc checkpoint.Incarnation) error {
	for i := range a.Records {
		if err := e.sealRecord(&a.Records[i], inc); err != nil {
			return err
		}
	}
	for i := range a.Deliver {
		d := &a.Deliver[i]
		if d.Record.Type == checkpoint.CancelRequested {
			continue // a text of the engine's own
		}
		if err := e.sealRecord(&d.Record, d.Incarnation); err != nil {
			return err
		}
	}
	if a.Release != nil && a.Release.Hold != nil {
		e.sealHold(a.Release.Hold, inc)
	}
	return nil
}

// ofSealer is an error of sealRecord or openRecord as it may be handled where an execution
// is locked: it has no methods of the user's any more. Others stay as they are.
func ofSealer(err error) error {
	if !fault.Is(err, errSealer) {
		return err
	}
	text := "an error without a text"
	fault.Apart(func() { text = err.Error() })
	return &sealerError{text}
}

// sealerError is what a sealer's error says.
type sealerError struct{ text string }

func (e *sealerError) Error() string { return e.text }
func (e *sealerError) Unwrap() error { return errSealer }

// openRecord opens the user data of a sealed rec in place.
func (e *Engine) openRecord(rec *checkpoint.Record, inc checkpoint.Incarnation) error {
	if rec.Flags&checkpoint.FlagSealed == 0 {
		return nil
	}
	if e.opts.Sealer == nil {
		return errNoSealer
	}
	err := e.eachSealed(rec, inc, e.opts.Sealer.Open)
	if err == nil {
		rec.Flags &^= checkpoint.FlagSealed
	}
	return err
}

// eachSealed calls f for each field of rec with user data, and changes all of
// them or none. A panic of f is an error: a sealer is the user's code. What it
// panicked with is left out, since errors of sealers are logged.
func (e *Engine) eachSealed(rec *checkpoint.Record, inc checkpoint.Incarnation, f func(dst, src []byte, p Place) ([]byte, error)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic with a %T", errSealer, p)
		}
	}()
	var changed [3][]byte
	for i, field := range []struct {
		value []byte
		kind  string
	}{{rec.Payload, payloadKind(rec.Type)}, {rec.Batch, "batch"}, {rec.Failure, "failure"}} {
		if len(field.value) == 0 {
			changed[i] = field.value
			continue
		}
		place := Place{Incarnation: inc, OperationID: rec.OperationID, Kind: field.kind}
		// What the sealer gets is its own; what it returns is not ours, unless it stands
		// where we said. So nothing it does later changes a record.
		dst := make([]byte, 0, len(field.value)+sealRoom)
		made, err := f(dst, bytes.Clone(field.value), place)
		if err != nil {
			return fmt.Errorf("%w: %w", errSealer, err)
		}
		if len(made) == 0 || &made[0] != &dst[:1][0] {
			made = bytes.Clone(made)
		}
		changed[i] = made
	}
	rec.Payload, rec.Batch, rec.Failure = changed[0], changed[1], changed[2]
	return nil
}

// sealRoom is how much longer what is sealed may be before Seal has to allocate.
const sealRoom = 128

func payloadKind(t checkpoint.EventType) string {
	switch t {
	case checkpoint.ExecutionStarted, checkpoint.ChainedInvokeStarted:
		return "input"
	default:
		return "result"
	}
}

var errSealer = errors.New("durable: Options.Sealer")

var errNoSealer = errors.New("durable: the record is sealed and Options.Sealer is not set: open the store with the sealer that it was written with")
