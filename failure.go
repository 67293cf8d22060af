package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
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
	record  *failureRecord
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

// failureRecord is the stored form of a Failure.
type failureRecord struct {
	Type     string          `json:"type"`
	Message  string          `json:"message"`
	Data     json.RawMessage `json:"data,omitempty"`
	Stack    string          `json:"stack,omitempty"`
	Is       []string        `json:"is,omitempty"`       // names of the engine's sentinels
	Sentinel string          `json:"sentinel,omitempty"` // the first of Options.Errors, by its text
	Also     []string        `json:"also,omitempty"`     // the others
	Typed    []typedRecord   `json:"typed,omitempty"`    // registered example types
	Itself   bool            `json:"itself,omitempty"`   // of a cause: it is the one error that it matches
}

// typedRecord is the stored form of an error of a registered type.
type typedRecord struct {
	Type   string                      `json:"type"`
	Of     string                      `json:"of,omitempty"` // the path of its package; "" in old records
	JSON   json.RawMessage             `json:"json"`
	Causes map[string][]*failureRecord `json:"causes,omitempty"` // what is in its fields that are errors
}

func (t *typedRecord) size() int {
	size := len(t.JSON)
	for _, causes := range t.Causes {
		for _, cause := range causes {
			size += cause.size()
		}
	}
	return size
}

func (f *failureRecord) size() int {
	if f == nil {
		return 0
	}
	size := len(f.Message) + len(f.Data) + len(f.Stack)
	for i := range f.Typed {
		size += f.Typed[i].size()
	}
	return size
}

func (f *failureRecord) addSentinel(name string) {
	switch {
	case f.hasSentinel(name):
	case f.Sentinel == "" && name != "":
		f.Sentinel = name
	default:
		f.Also = append(f.Also, name)
	}
}

func (f *failureRecord) hasSentinel(name string) bool {
	return name != "" && f.Sentinel == name || slices.Contains(f.Also, name)
}

// ownSentinels are the engine's own, by the name under which they are recorded.
// A Failure of the engine has the name as its Type.
var ownSentinels = []struct {
	name string
	err  error
}{
	{"Timeout", ErrTimeout},
	{"HeartbeatTimeout", ErrHeartbeatTimeout},
	{"Canceled", ErrCanceled},
	{"Stopped", ErrStopped},
	{"Interrupted", ErrInterrupted},
	{"Panic", ErrPanic},
	{"CallbackFailed", ErrCallbackFailed},
	{"FailureToleranceExceeded", ErrFailureToleranceExceeded},
	{"MinSuccessfulNotReached", ErrMinSuccessfulNotReached},
	{"PayloadTooLarge", ErrPayloadTooLarge},
	{"Codec", ErrCodec},
	{"NonDeterministic", ErrNonDeterministic},
	{"ConcurrentUse", ErrConcurrentUse},
	{"FunctionNotFound", ErrFunctionNotFound},
	{"InvalidID", ErrInvalidID},
}

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
func (r *errorRegistry) record(err error) (f *failureRecord) {
	if known, ok := err.(*reason); ok {
		return known.record
	}
	n := &errorNotes{r: r}
	apart(func() { f = guard(err, func() *failureRecord { return n.record(err) }) })
	if f == nil {
		f = &failureRecord{Type: "error", Message: fmt.Sprintf("a method of the error %T called runtime.Goexit", err)}
	}
	for _, t := range n.lost {
		r.log.Warn("durable: an error of a type of Options.Errors can't be encoded and decoded as JSON: errors.AsType does not find it", "type", t.String())
	}
	f.shorten(r.limit)
	// As it will be read: what JSON changes (bytes that are no UTF-8, Data that
	// is no JSON) is changed on the first run too.
	if stored, err := decodeFailure(encodeFailure(f)); err == nil {
		f = stored
	}
	return f
}

// guard returns what record makes of err, or what it panicked of.
func guard(err error, record func() *failureRecord) (f *failureRecord) {
	defer func() {
		if p := recover(); p != nil {
			f = &failureRecord{Type: "Panic", Message: fmt.Sprintf("panic in a method of the error %T: %v", err, p), Stack: string(debug.Stack()), Is: []string{"Panic"}}
		}
	}()
	return record()
}

func (n *errorNotes) record(err error) (f *failureRecord) {
	err = unmarked(err)
	direct := directFailure(err)
	if direct != nil && direct.record != nil {
		return direct.record.changed(direct)
	}
	misuse := err // an *OpError that nothing is recorded of says what was misused
	for {
		op, ok := misuse.(*OpError)
		if !ok {
			break
		}
		misuse = op.Err
	}
	f = &failureRecord{Type: typeName(misuse), Message: err.Error()}
	if direct != nil {
		f.Type, f.Message, f.Data, f.Stack = direct.Type, direct.Message, direct.Data, direct.Stack
	}
	for _, own := range ownSentinels {
		if errors.Is(err, own.err) {
			f.Is = append(f.Is, own.name)
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
	f.Data = embedded(f.Data)
	n.match(f, err)
	return f
}

// changed is a copy of f, which failure was rebuilt from, with what was changed in that,
// or in a copy of it, since.
func (f *failureRecord) changed(failure *Failure) *failureRecord {
	g := *f
	g.Type, g.Message, g.Data, g.Stack = failure.Type, failure.Message, embedded(failure.Data), failure.Stack
	return &g
}

// shorten keeps the failure within limit bytes: an error that wraps a whole
// response must not become a record of that size.
func (f *failureRecord) shorten(limit int) {
	if f.size() <= limit {
		return
	}
	f.Message, f.Stack = cut(f.Message, limit/2), cut(f.Stack, limit/8)
	if len(f.Data) > limit/8 {
		f.Data = nil
	}
	f.Typed = slices.DeleteFunc(slices.Clone(f.Typed), func(t typedRecord) bool { return t.size() > limit/8 })
}

// cut shortens s to about n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:max(n-3, 0)], "") + "…"
}

// recordAny is record for an error that may be nil.
func (r *errorRegistry) recordAny(err error) *failureRecord {
	if err == nil {
		return nil
	}
	return r.record(err)
}

// rebuild makes a Failure of its stored form.
func (r *errorRegistry) rebuild(rec *failureRecord) *Failure {
	f := &Failure{Type: rec.Type, Message: rec.Message, Data: slices.Clone(rec.Data), Stack: rec.Stack, record: rec}
	for _, own := range ownSentinels {
		if slices.Contains(rec.Is, own.name) {
			f.matches = append(f.matches, own.err)
		}
	}
	f.matches = append(f.matches, r.rebuildMatches(rec)...)
	return f
}

// ownFailure is a failure of the engine's making.
func ownFailure(name, message string) *failureRecord {
	return &failureRecord{Type: name, Message: message, Is: []string{name}}
}

// loggedType is the type for a log. A Type may come from outside, with a callback's
// failure, and be any text: only what reads like the name of a type is logged.
func (f *failureRecord) loggedType() string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.*[]", r))
	}
	if len(f.Type) > 64 || strings.ContainsFunc(f.Type, odd) {
		return "error"
	}
	return f.Type
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

// isError is errors.Is for the user's errors, whose methods may do anything.
func isError(err, target error) (is bool) {
	if err != nil {
		apart(func() { is = errors.Is(err, target) })
	}
	return is
}

// apart calls f, which calls methods of the user's errors, on a goroutine of its
// own, and waits for it: f may panic, and may call runtime.Goexit. Errors are rare
// enough for that.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		f()
	}()
	<-done
}

// maxErrorDepth is how many errors may be wrapped one in another.
const maxErrorDepth = 10_000

// finite is err, or, if err wraps itself, an error that says so: errors.Is would
// look through it for ever, or until the stack is full, which ends the process.
func finite(err error) error {
	deep := false
	if err != nil {
		apart(func() { deep = deeper(err, maxErrorDepth) })
	}
	if !deep {
		return err
	}
	return Permanent(fmt.Errorf("an error of type %T wraps itself, or more than %d others one in another: it can't be recorded, and is not looked into", err, maxErrorDepth))
}

// deeper reports whether more than limit errors are wrapped one in another.
func deeper(err error, limit int) bool {
	for ; err != nil; limit-- {
		if limit == 0 {
			return true
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(e.Unwrap(), func(inner error) bool { return deeper(inner, limit-1) })
		default:
			return false
		}
	}
	return false
}

func encodeFailure(f *failureRecord) []byte {
	if f == nil {
		return nil
	}
	g := *f
	g.Data = embedded(f.Data)
	data, _ := json.Marshal(&g)
	return data
}

func decodeFailure(data []byte) (*failureRecord, error) {
	if len(data) == 0 {
		return nil, nil
	}
	f := new(failureRecord)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("durable: recorded failure: %w", err)
	}
	f.Data = embedded(f.Data)
	return f, nil
}
