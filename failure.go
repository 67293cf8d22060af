package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/jsonform"
)

// Failure is an error as it is recorded, and the one to give to
// Engine.FailCallback. The engine rebuilds it from the record on the first run
// as on replay, so both see the same.
//
// Type is the Go type name of the error that the user's code returned ("error"
// for those of errors.New and fmt.Errorf), exactly what FailCallback was given,
// or one of the engine's: Timeout, HeartbeatTimeout, Interrupted, Panic,
// Canceled, Stopped, Codec, PayloadTooLarge, NonDeterministic,
// FailureToleranceExceeded, MinSuccessfulNotReached, FunctionNotFound. When the
// error came out of another operation, Type, Data and, if it was returned as it
// is, Message are those of the innermost failure. A Failure may be changed, or copied
// and changed, and returned: that is recorded, and it matches what it matched.
type Failure struct {
	Type    string          `json:"type"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
	Stack   string          `json:"stack,omitempty"`

	matches []error // sentinels and rebuilt typed errors
	record  *fault.Failure
}

func (f *Failure) Error() string {
	switch {
	case f.Message == "":
		return f.Type
	default:
		return f.Message
	}
}

// Unwrap returns the sentinels and the registered errors (Options.Errors) that
// the recorded error matched.
func (f *Failure) Unwrap() []error { return f.matches }

// plainError reports whether err was made by errors.New, errors.Join or fmt.Errorf.
func plainError(err error) bool {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "errors" || t.PkgPath() == "fmt"
}

// record makes the stored form of an error that the user's code, or the engine,
// returned. It always returns one, whatever the error's methods do.
func (r *errorRegistry) record(err error) (f *fault.Failure) {
	if known, ok := err.(*invocation.Reason); ok {
		return known.Record
	}
	n := &errorNotes{r: r}
	fault.Apart(func() { f = guard(err, func() *fault.Failure { return n.record(err) }) })
	if f == nil {
		f = &fault.Failure{Type: "error", Message: fmt.Sprintf("a method of the error %T called runtime.Goexit", err)}
	}
	for _, t := range n.lost {
		r.log.Warn("durable: an error of a type of Options.Errors can't be encoded and decoded as JSON: errors.AsType does not find it", "type", t.String())
	}
	f.Shorten(r.limit)
	// As it will be read: what JSON changes (bytes that are no UTF-8, Data that
	// is no JSON) is changed on the first run too.
	if stored, err := fault.Decode(fault.Encode(f)); err == nil {
		f = stored
	}
	return f
}

// guard returns what record makes of err, or what it panicked of.
func guard(err error, record func() *fault.Failure) (f *fault.Failure) {
	defer func() {
		if p := recover(); p != nil {
			f = &fault.Failure{Type: "Panic", Message: fmt.Sprintf("panic in a method of the error %T: %v", err, p), Stack: string(debug.Stack()), Is: []string{"Panic"}}
		}
	}()
	return record()
}

func (n *errorNotes) record(err error) (f *fault.Failure) {
	err = unmarked(err)
	direct := directFailure(err)
	if direct != nil && direct.record != nil {
		return changed(direct.record, direct)
	}
	misuse := err // an *OpError that nothing is recorded of says what was misused
	for {
		op, ok := misuse.(*OpError)
		if !ok {
			break
		}
		misuse = op.Err
	}
	f = &fault.Failure{Type: typeName(misuse), Message: err.Error()}
	if direct != nil {
		f.Type, f.Message, f.Data, f.Stack = direct.Type, direct.Message, direct.Data, direct.Stack
	}
	for _, own := range fault.Sentinels {
		if errors.Is(err, own.Err) {
			f.Is = append(f.Is, own.Name)
		}
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		f.Type, f.Stack = "Panic", string(p.stack)
	} else if _, ok := misuse.(*NonDeterministicError); ok {
		f.Type = "NonDeterministic"
	} else if inner, ok := errors.AsType[*Failure](err); ok {
		f.Data, f.Stack = inner.Data, inner.Stack
		if plainError(err) {
			f.Type = inner.Type
		}
	} else if plainError(misuse) && len(f.Is) > 0 {
		f.Type = f.Is[0]
	}
	f.Data = jsonform.Embedded(f.Data)
	n.match(f, err)
	return f
}

// changed is a copy of f, which failure was rebuilt from, with what was changed in that,
// or in a copy of it, since.
func changed(f *fault.Failure, failure *Failure) *fault.Failure {
	g := *f
	g.Type, g.Message, g.Data, g.Stack = failure.Type, failure.Message, jsonform.Embedded(failure.Data), failure.Stack
	return &g
}

// recordAny is record for an error that may be nil.
func (r *errorRegistry) recordAny(err error) *fault.Failure {
	if err == nil {
		return nil
	}
	return r.record(err)
}

// rebuild makes a Failure of its stored form.
func (r *errorRegistry) rebuild(rec *fault.Failure) *Failure {
	f := &Failure{Type: rec.Type, Message: rec.Message, Data: slices.Clone(rec.Data), Stack: rec.Stack, record: rec}
	for _, own := range fault.Sentinels {
		if slices.Contains(rec.Is, own.Name) {
			f.matches = append(f.matches, own.Err)
		}
	}
	f.matches = append(f.matches, r.rebuildMatches(rec)...)
	return f
}

// directFailure returns the failure of an operation's error that was returned
// as it is, nil if err is anything else.
func directFailure(err error) *Failure {
	for {
		switch e := err.(type) {
		case *OpError:
			err = e.Err
		case *Failure:
			return e
		default:
			return nil
		}
	}
}

func typeName(err error) string {
	if plainError(err) {
		return "error"
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" {
		return "error"
	}
	return t.Name()
}

// finite is err, or, if err wraps itself, an error that says so: errors.Is would
// look through it for ever, or until the stack is full, which ends the process.
func finite(err error) error {
	deep := false
	if err != nil {
		fault.Apart(func() { deep = fault.Deeper(err, fault.MaxDepth) })
	}
	if !deep {
		return err
	}
	return Permanent(fmt.Errorf("an error of type %T wraps itself, or more than %d others one in another: it can't be recorded, and is not looked into", err, fault.MaxDepth))
}
