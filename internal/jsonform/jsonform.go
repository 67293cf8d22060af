package jsonform

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"sync"
	"time"
)

// encoding/json calls a MarshalJSON or MarshalText that has a pointer receiver only where
// the value has an address: behind a pointer, in a slice, or in a struct or an array that
// has one. Elsewhere it passes over the method without a word, and what the method was
// made for is lost, because the decoder, which always has an address, calls the
// counterpart. So a value is encoded from a pointer where that matters; where there can't
// be one, in maps and interfaces, it is refused.

// Form is what is known of all values of a type as JSON.
type Form struct {
	addressed bool // they are to be encoded from a pointer
	searched  bool // they may hold values that no pointer leads to, and are to be searched for them
	Sure      bool // what they are encoded to can be decoded, whatever they hold
	Handed    bool // a method of the user's may get what they are decoded from

	passedOver     bool // at a place without an address the method of a pointer is passed over
	keysPassedOver bool // so are those of the keys of a map
	byItself       bool // their own method says how they are encoded
	byPointer      bool // a method of theirs or of a pointer to them does
}

var forms sync.Map // reflect.Type -> *Form

// Of is what is known of a type; it is found out once.
func Of(t reflect.Type) *Form {
	if form, ok := forms.Load(t); ok {
		return form.(*Form)
	}
	form := &Form{Sure: true, passedOver: passedOver(t), byItself: Marshals(t), byPointer: Marshals(reflect.PointerTo(t))}
	form.keysPassedOver = t.Kind() == reflect.Map && keyPassedOver(t.Key())
	form.look(t, false, make(map[placed]bool))
	forms.Store(t, form)
	return form
}

// placed is a type at a place that has an address if the whole has one, or never has.
type placed struct {
	reflect.Type
	never bool
}

// look takes in what is known of t at a place. looking holds the types that it has looked
// at, or, if true, is still looking at.
func (f *Form) look(t reflect.Type, never bool, looking map[placed]bool) {
	at := placed{t, never}
	if inside, known := looking[at]; known {
		f.Sure = f.Sure && !inside // a type that holds itself may go deeper than decoders do
		return
	}
	looking[at] = true
	defer func() { looking[at] = false }()
	if t == timeType || t == rawMessageType {
		f.Sure = f.Sure && t == timeType
		return
	}
	f.Handed = f.Handed || Marshals(t) || Marshals(reflect.PointerTo(t)) || Unmarshals(t) // into what encodes itself nobody looks further
	if passedOver(t) {
		f.addressed, f.searched = f.addressed || !never, f.searched || never
	}
	f.Sure = f.Sure && !Marshals(t) && !Marshals(reflect.PointerTo(t)) && !Unmarshals(t) // a pointer has its methods itself, nothing that points to it
	if Marshals(t) || !never && Marshals(reflect.PointerTo(t)) {
		return
	}
	switch t.Kind() {
	case reflect.Interface:
		f.Sure, f.searched = false, true
	case reflect.Pointer, reflect.Slice:
		f.look(t.Elem(), false, looking)
	case reflect.Array:
		f.look(t.Elem(), never, looking)
	case reflect.Map:
		f.searched = f.searched || keyPassedOver(t.Key())
		f.Sure = f.Sure && !Unmarshals(t.Key())
		f.Handed = f.Handed || Unmarshals(t.Key())
		f.look(t.Elem(), true, looking)
	case reflect.Struct:
		for field := range fields(t) {
			if field.Anonymous && field.Type.Kind() == reflect.Pointer {
				f.Sure = false // of an unexported type it can't be decoded
			}
			f.look(field.Type, never, looking)
		}
	}
}

type textMarshaler interface{ MarshalText() ([]byte, error) }

var (
	timeType            = reflect.TypeFor[time.Time]()
	rawMessageType      = reflect.TypeFor[json.RawMessage]()
	marshalerType       = reflect.TypeFor[json.Marshaler]()
	textMarshalerType   = reflect.TypeFor[textMarshaler]()
	unmarshalerType     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshalerType = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
)

// Marshals reports whether values of t say how they are encoded.
func Marshals(t reflect.Type) bool {
	return t.Implements(marshalerType) || t.Implements(textMarshalerType)
}

// Unmarshals reports whether values of t say how they are decoded.
func Unmarshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshalerType) || p.Implements(textUnmarshalerType)
}

// passedOver reports whether values of t are encoded without the counterpart of the
// method that decodes them, where they have no address.
func passedOver(t reflect.Type) bool {
	if k := t.Kind(); k == reflect.Pointer || k == reflect.Interface || t.Implements(marshalerType) {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(marshalerType) && p.Implements(unmarshalerType) ||
		p.Implements(textMarshalerType) && p.Implements(textUnmarshalerType) && !t.Implements(textMarshalerType)
}

// keyPassedOver is passedOver for the keys of maps: of those that are strings no method
// is called, whatever its receiver.
func keyPassedOver(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(textMarshalerType) && p.Implements(textUnmarshalerType) && (t.Kind() == reflect.String || !t.Implements(textMarshalerType))
}

// fields yields the fields of a struct that are encoded, or whose fields are.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			field := t.Field(i)
			embedded := field.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if field.IsExported() && field.Tag.Get("json") != "-" || field.Anonymous && embedded.Kind() == reflect.Struct {
				if !yield(field) {
					return
				}
			}
		}
	}
}

// Marshal is json.Marshal, but what would be encoded without the method that says how
// is encoded with it, or refused.
func Marshal(v any) ([]byte, error) {
	if v == nil {
		return json.Marshal(nil)
	}
	t := reflect.TypeOf(v)
	form := Of(t)
	if form.addressed {
		p := reflect.New(t)
		p.Elem().Set(reflect.ValueOf(v))
		v = p.Interface()
	}
	data, err := json.Marshal(v)
	if err != nil || !form.searched {
		return data, err
	}
	if lost := findLost(reflect.ValueOf(v), false); lost != nil {
		return nil, lost
	}
	return data, nil
}

// lostError says which value would not come back.
type lostError struct {
	where string
	what  reflect.Type
	why   string
}

func (e *lostError) Error() string {
	return fmt.Sprintf("the %s at %q would not come back: %s", e.what, e.where, e.why)
}

func (e *lostError) in(where string) *lostError {
	e.where = where + e.where
	return e
}

// findLost returns what would not come back of a value that json.Marshal has encoded.
// never: the value is at a place that has no address.
func findLost(v reflect.Value, never bool) *lostError {
	t := v.Type()
	form := Of(t)
	switch {
	case never && form.passedOver:
		return &lostError{what: t, why: "its MarshalJSON or MarshalText has a pointer receiver and is not called for values in maps and interfaces: put a pointer there, or give the method a value receiver"}
	case form.byItself || !never && form.byPointer || !form.searched && !(never && form.addressed):
		return nil
	}
	switch t.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			return findLostIn(v.Interface())
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return findLost(v.Elem(), false)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if lost := findLost(v.Index(i), never && t.Kind() == reflect.Array); lost != nil {
				return lost.in(fmt.Sprintf("[%d]", i))
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if form.keysPassedOver && !keyComesBack(i.Key()) {
				return &lostError{what: t.Key(), where: fmt.Sprintf("[%q]", fmt.Sprint(i.Key())), why: "its MarshalText is not called for keys of maps that are strings, nor with a pointer receiver: use a slice, or keys of another type"}
			}
			if lost := findLost(i.Value(), true); lost != nil {
				return lost.in(fmt.Sprintf("[%q]", fmt.Sprint(i.Key())))
			}
		}
	case reflect.Struct:
		for field := range fields(t) {
			if lost := findLost(v.FieldByIndex(field.Index), never); lost != nil {
				return lost.in("." + field.Name)
			}
		}
	}
	return nil
}

// findLostIn is findLost for what is in an interface; of most it needs no reflection.
func findLostIn(x any) *lostError {
	switch x := x.(type) {
	case nil, string, bool, float64, int, int64:
		return nil
	case map[string]any:
		for key, value := range x {
			if lost := findLostIn(value); lost != nil {
				return lost.in(fmt.Sprintf("[%q]", key))
			}
		}
		return nil
	case []any:
		for i, value := range x {
			if lost := findLostIn(value); lost != nil {
				return lost.in(fmt.Sprintf("[%d]", i))
			}
		}
		return nil
	}
	return findLost(reflect.ValueOf(x), true)
}

// keyComesBack reports whether the MarshalText of a key, which is not called, would say
// what the key is encoded to.
func keyComesBack(key reflect.Value) bool {
	p := reflect.New(key.Type())
	p.Elem().Set(key)
	text, err := p.Interface().(textMarshaler).MarshalText()
	plain := string(text)
	switch {
	case key.Kind() == reflect.String:
		plain = key.String()
	case key.CanInt():
		plain = strconv.FormatInt(key.Int(), 10)
	case key.CanUint():
		plain = strconv.FormatUint(key.Uint(), 10)
	}
	return err == nil && string(text) == plain
}
