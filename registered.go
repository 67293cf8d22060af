package durable

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/jsonform"
)

// errorRegistry records errors and rebuilds them, with what Options.Errors says.
type errorRegistry struct {
	limit     int          // bytes of a failure's texts and data together
	log       *slog.Logger // nil: nothing is logged
	sentinels []sentinel   // made by errors.New and the like
	examples  []sentinel   // others, which are examples of their type too
	types     []*errorType
	named     map[string]*errorType // by their name with the path of its package
	short     map[string]*errorType // and without, as they were recorded once
}

// sentinel is a registered error that errors.Is finds again by itself: all of them are
// that can be told from each other in a record, by their text.
type sentinel struct {
	name string
	err  error
}

// errorType is the type of a registered error.
type errorType struct {
	reflect.Type
	path   string                // of its package
	causes []reflect.StructField // of type error or []error: recorded as errors of their own
}

func (t *errorType) name() string { return t.path + " " + t.String() }

// structOf is the struct that a type is, or points to; nil: it is something else.
func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func newErrorType(t reflect.Type) *errorType {
	et := &errorType{Type: t, path: t.PkgPath()}
	if t.Kind() == reflect.Pointer {
		et.path = t.Elem().PkgPath()
	}
	if s := structOf(t); s != nil && !jsonform.Marshals(reflect.PointerTo(s)) {
		for _, field := range reflect.VisibleFields(s) {
			if isCause(field) && !throughPointer(s, field.Index) {
				et.causes = append(et.causes, field)
			}
		}
	}
	return et
}

var errorInterface = reflect.TypeFor[error]()

func isCause(field reflect.StructField) bool {
	return field.IsExported() && field.Tag.Get("json") != "-" && (field.Type == errorInterface || field.Type == reflect.TypeFor[[]error]())
}

// throughPointer reports whether a field of s is one of a struct that is embedded by a
// pointer.
func throughPointer(s reflect.Type, index []int) bool {
	for i := range index[:len(index)-1] {
		if s.FieldByIndex(index[:i+1]).Type.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

// newErrorRegistry makes sentinels, and types of those that errors.New and fmt.Errorf did
// not make, of examples.
func newErrorRegistry(examples []error) (*errorRegistry, error) {
	r := &errorRegistry{named: make(map[string]*errorType), short: make(map[string]*errorType)}
	var problems []error
	for i, err := range examples {
		if err == nil {
			problems = append(problems, fmt.Errorf("durable: Options.Errors[%d] is nil", i))
			continue
		}
		if problem := r.add(err); problem != nil {
			problems = append(problems, fmt.Errorf("durable: Options.Errors: %w", problem))
		}
	}
	return r, errors.Join(problems...)
}

// names are those of all that is registered, in an order of their own.
func (r *errorRegistry) names() (names []string) {
	for _, s := range slices.Concat(r.sentinels, r.examples) {
		names = append(names, s.name)
	}
	names = slices.AppendSeq(names, maps.Keys(r.named))
	slices.Sort(names)
	return names
}

func (r *errorRegistry) add(example error) error {
	switch example.(type) {
	case *Failure, *OpError: // they are always found
		return nil
	}
	if !plainError(example) {
		t := newErrorType(reflect.TypeOf(example))
		if problem := t.survivesJSON(example); problem != nil {
			return fmt.Errorf("%s does not survive JSON: %w", t, problem)
		}
		for _, t := range []*errorType{t, t.other()} {
			if problem := r.addType(t); problem != nil {
				return problem
			}
		}
	}
	return r.addSentinel(example)
}

// other is the type of pointers to values of t, or of what t points to, if that is an
// error too, else nil: who returns the one, and has registered the other, means the same.
func (t *errorType) other() *errorType {
	if t.Kind() != reflect.Pointer {
		return newErrorType(reflect.PointerTo(t.Type))
	}
	if t.Elem().Implements(errorInterface) {
		return newErrorType(t.Elem())
	}
	return nil
}

func (r *errorRegistry) addType(t *errorType) error {
	if t == nil {
		return nil
	}
	if known := r.named[t.name()]; known != nil {
		if known.Type != t.Type {
			return fmt.Errorf("two types are called %s in package %s: a record can't tell them apart, give one another name", t, t.path)
		}
		return nil
	}
	r.types = append(r.types, t)
	r.named[t.name()], r.short[t.String()] = t, t
	return nil
}

func (r *errorRegistry) addSentinel(err error) error {
	name, ok := sentinelName(err)
	if !ok {
		return nil
	}
	list, problem := &r.sentinels, "two sentinels have the text %q: a record can't tell them apart, give one another text"
	if !plainError(err) {
		list, problem = &r.examples, "two examples of one type have the text %q: a record can't tell which of them an error is, give one another text, or leave one out"
	}
	for _, known := range *list {
		if known.name == name {
			if same(known.err, err) {
				return nil
			}
			return fmt.Errorf(problem, err.Error())
		}
	}
	*list = append(*list, sentinel{name, err})
	return nil
}

// sentinelName is what a registered error is recorded by. There is none if it has no text,
// as an example may not.
func sentinelName(err error) (name string, ok bool) {
	fault.Apart(func() { name = err.Error(); ok = true })
	switch {
	case !ok || plainError(err):
	case reflect.TypeOf(err).Kind() == reflect.Pointer:
		name = newErrorType(reflect.TypeOf(err)).name() + " " + name
	default: // which is equal to another one that has the same in it
		data, problem := jsonform.Marshal(err)
		name, ok = newErrorType(reflect.TypeOf(err)).name()+" "+string(data), problem == nil
	}
	return name, ok
}

// same reports whether two errors are one by ==.
func same(a, b error) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && (reflect.TypeOf(a).Kind() == reflect.Pointer && a == b ||
		reflect.TypeOf(a).Kind() != reflect.Pointer && reflect.DeepEqual(a, b))
}

// survivesJSON returns why errors of type t can't be rebuilt, nil if they can, as far as
// their type and one of them tell.
func (t *errorType) survivesJSON(example error) error {
	if err := t.hidden(t.Type, "its field ", true, make(map[looked]bool)); err != nil {
		return err
	}
	data, _, err := t.encode(example)
	if err != nil {
		return err
	}
	back := reflect.New(t.Type)
	if err := json.Unmarshal(data, back.Interface()); err != nil {
		return err
	}
	if want, _ := t.withoutCauses(example); !reflect.DeepEqual(back.Elem().Interface(), want.Interface()) {
		return fmt.Errorf("%s comes back as something else: export its fields or give it MarshalJSON and UnmarshalJSON", data)
	}
	return nil
}

// looked is a type that was looked at, as the error's own or somewhere in it.
type looked struct {
	reflect.Type
	own bool
}

// hidden returns what JSON leaves out, or can't decode, of a type inside of t. own: it is
// the struct of t, whose causes are recorded apart.
func (t *errorType) hidden(in reflect.Type, where string, own bool, seen map[looked]bool) error {
	at := looked{in, own}
	if seen[at] || jsonform.Marshals(reflect.PointerTo(in)) || jsonform.Unmarshals(in) { // by its own rules
		return nil
	}
	seen[at] = true
	switch in.Kind() {
	case reflect.Pointer:
		return t.hidden(in.Elem(), where, own, seen)
	case reflect.Slice, reflect.Array, reflect.Map:
		return t.hidden(in.Elem(), where, false, seen)
	case reflect.Struct:
		for i := range in.NumField() {
			field := in.Field(i)
			embedded := field.Anonymous && field.Type.Kind() == reflect.Struct
			switch {
			case field.Name == "_" || field.Type.Size() == 0 || field.IsExported() && field.Tag.Get("json") == "-":
			case own && isCause(field):
			case !field.IsExported() && !embedded:
				return fmt.Errorf("%s%s is not exported and would be lost: export its fields or give it MarshalJSON and UnmarshalJSON", where, field.Name)
			case field.Type.Kind() == reflect.Interface && field.Type.NumMethod() > 0:
				return fmt.Errorf("%s%s is an interface, %s, which can't be decoded: register an error of your own that holds what handlers look at, or give it MarshalJSON and UnmarshalJSON", where, field.Name, field.Type)
			default:
				if err := t.hidden(field.Type, where+field.Name+".", own && embedded, seen); err != nil {
					return err
				}
			}
		}
	case reflect.Interface:
		if in.NumMethod() > 0 {
			return fmt.Errorf("it holds interfaces, %s, in %s, which can't be decoded: hold errors in fields of type error or []error of the type itself, or give it MarshalJSON and UnmarshalJSON", in, cmp.Or(strings.Trim(strings.TrimPrefix(where, "its field "), "."), "itself"))
		}
	}
	return nil
}

// withoutCauses is a copy of err, which is a t, whose causes are nil, and what they were.
func (t *errorType) withoutCauses(err error) (reflect.Value, map[string][]error) {
	v := reflect.ValueOf(err)
	if len(t.causes) == 0 || t.Kind() == reflect.Pointer && v.IsNil() {
		return v, nil
	}
	p := reflect.New(structOf(t.Type))
	p.Elem().Set(reflect.Indirect(v))
	causes := make(map[string][]error)
	for _, field := range t.causes {
		switch cause := p.Elem().FieldByIndex(field.Index); {
		case cause.IsNil():
			continue
		case cause.Kind() == reflect.Slice:
			causes[field.Name] = cause.Interface().([]error)
			cause.SetZero()
		default:
			causes[field.Name] = []error{cause.Interface().(error)}
			cause.SetZero()
		}
	}
	if t.Kind() == reflect.Pointer {
		return p, causes
	}
	return p.Elem(), causes
}

// encode is err, which is a t, as JSON, without its causes.
func (t *errorType) encode(err error) ([]byte, map[string][]error, error) {
	v, causes := t.withoutCauses(err)
	data, problem := jsonform.Marshal(v.Interface())
	return data, causes, problem
}

// find returns what errors.AsType finds of a type in err.
func (t *errorType) find(err error) (error, bool) {
	target := reflect.New(t.Type)
	if !errors.As(err, target.Interface()) {
		return nil, false
	}
	found, ok := target.Elem().Interface().(error)
	return found, ok
}

// errorNotes are what is known while one error is recorded.
type errorNotes struct {
	r     *errorRegistry
	typed int          // errors of registered types that were recorded
	lost  []*errorType // of which one could not be
}

// maxTyped bounds how many errors of registered types are recorded of one error, those of
// its causes and of their causes included; those that it matches itself come first.
const maxTyped = 50

// match records what of Options.Errors err matches.
func (n *errorNotes) match(f *fault.Failure, err error) {
	for _, list := range [][]sentinel{n.r.sentinels, n.r.examples} {
		for _, s := range list {
			if errors.Is(err, s.err) {
				f.AddSentinel(s.name)
			}
		}
	}
	var causes []map[string][]error // of f.Typed
	for _, t := range n.r.types {
		if e, ok := t.find(err); ok {
			if c, ok := n.addType(f, t, e); ok {
				causes = append(causes, c)
			}
		}
	}
	for i, c := range causes {
		n.addCauses(&f.Typed[i], c)
	}
}

// addType records e, which is a t, and returns its causes, which are to be recorded.
func (n *errorNotes) addType(f *fault.Failure, t *errorType, e error) (causes map[string][]error, ok bool) {
	if n.typed++; n.typed > maxTyped {
		return nil, false
	}
	data, causes, err := t.encode(e)
	rec := fault.Typed{Type: t.String(), Of: t.path, JSON: data}
	if err == nil && jsonform.Embeddable(data) {
		_, ok = n.r.rebuildTyped(&rec)
	}
	if !ok {
		n.lost = append(n.lost, t)
		return nil, false
	}
	f.Typed = append(f.Typed, rec)
	return causes, true
}

func (n *errorNotes) addCauses(rec *fault.Typed, causes map[string][]error) {
	if len(causes) == 0 {
		return
	}
	rec.Causes = make(map[string][]*fault.Failure)
	for _, name := range slices.Sorted(maps.Keys(causes)) {
		for _, cause := range causes[name] {
			rec.Causes[name] = append(rec.Causes[name], n.cause(cause))
		}
	}
}

// cause records an error that another one holds: a registered one as itself.
func (n *errorNotes) cause(err error) *fault.Failure {
	if err == nil {
		return nil
	}
	return guard(err, func() *fault.Failure {
		f := &fault.Failure{Type: typeName(err), Message: err.Error(), Itself: true}
		for _, list := range [][]sentinel{n.r.sentinels, n.r.examples} {
			for _, s := range list {
				if same(s.err, err) {
					f.AddSentinel(s.name)
					return f
				}
			}
		}
		if t := n.r.named[newErrorType(reflect.TypeOf(err)).name()]; t != nil {
			if causes, ok := n.addType(f, t, err); ok {
				n.addCauses(&f.Typed[0], causes)
				return f
			}
		}
		return n.record(err)
	})
}

// rebuildMatches returns what of Options.Errors is recorded in rec.
func (r *errorRegistry) rebuildMatches(rec *fault.Failure) (matches []error) {
	for _, s := range r.sentinels {
		if rec.HasSentinel(s.name) {
			matches = append(matches, s.err)
		}
	}
	for i := range rec.Typed {
		if err, ok := r.rebuildTyped(&rec.Typed[i]); ok {
			matches = append(matches, err)
		}
	}
	for _, s := range r.examples { // behind what was returned, which errors.AsType is to find
		if rec.HasSentinel(s.name) {
			matches = append(matches, s.err)
		}
	}
	return matches
}

// rebuildTyped rebuilds an error of a registered type; false: its type is not registered
// any more, or has changed.
func (r *errorRegistry) rebuildTyped(rec *fault.Typed) (rebuilt error, ok bool) {
	t := r.short[rec.Type]
	if rec.Of != "" {
		t = r.named[rec.Of+" "+rec.Type]
	}
	if t == nil {
		return nil, false
	}
	v := reflect.New(t.Type)
	decoded := false
	fault.Apart(func() { decoded = json.Unmarshal(bytes.Clone(rec.JSON), v.Interface()) == nil }) // its methods are the user's code
	if !decoded {
		return nil, false
	}
	s := reflect.Indirect(v.Elem())
	for _, field := range t.causes {
		list := rec.Causes[field.Name]
		if len(list) == 0 || !s.IsValid() {
			continue
		}
		causes := make([]error, len(list))
		for i, cause := range list {
			causes[i] = r.rebuildCause(cause)
		}
		if field.Type == errorInterface {
			s.FieldByIndex(field.Index).Set(reflect.ValueOf(&causes[0]).Elem())
		} else {
			s.FieldByIndex(field.Index).Set(reflect.ValueOf(causes))
		}
	}
	rebuilt, ok = v.Elem().Interface().(error)
	return rebuilt, ok
}

func (r *errorRegistry) rebuildCause(rec *fault.Failure) error {
	if rec == nil {
		return nil
	}
	f := r.rebuild(rec)
	if rec.Itself && len(f.matches) > 0 {
		return f.matches[0]
	}
	return f
}
