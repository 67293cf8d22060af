package durable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/durable-go/durable/internal/jsonform"
)

// Codec turns values into bytes and back. Its name is recorded with each
// payload; a payload whose codec is not the one asked for is not decoded.
// Encode and Decode must be deterministic and safe for concurrent use.
//
// The bytes that Encode returns and Decode gets belong to the codec, which may keep,
// change and use them again: what is recorded is a copy. So it is with the bytes that
// methods of values get, UnmarshalJSON for example.
type Codec interface {
	Name() string
	Encode(v any) ([]byte, error)
	Decode(data []byte, v any) error
}

// JSON is the default codec: encoding/json under the name "json". An empty
// payload decodes as null. A MarshalJSON or MarshalText with a pointer receiver is
// called for values, too; in maps and interfaces, where encoding/json would pass over it
// and what it is made for would be lost, encoding is refused.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }
func (jsonCodec) Encode(v any) ([]byte, error) {
	if data := encodeScalar(v); data != nil {
		return data, nil
	}
	return jsonform.Marshal(v)
}
func (jsonCodec) Decode(data []byte, v any) error {
	if len(data) == 0 {
		data = []byte("null")
	}
	if decodeScalar(data, v) {
		return nil
	}
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer && jsonform.Of(t.Elem()).Handed {
		data = bytes.Clone(data) // an UnmarshalJSON may keep it, or change it
	}
	return json.Unmarshal(data, v)
}

// encodeScalar encodes what needs no reflection, as json.Marshal would; nil: it needs.
func encodeScalar(v any) []byte {
	switch v := v.(type) {
	case int:
		return strconv.AppendInt(nil, int64(v), 10)
	case int64:
		return strconv.AppendInt(nil, v, 10)
	case bool:
		return strconv.AppendBool(nil, v)
	case None:
		return []byte("{}")
	case string:
		for i := range len(v) {
			if c := v[i]; c < ' ' || c >= utf8.RuneSelf || strings.IndexByte("\"\\<>&\x7f", c) >= 0 {
				return nil
			}
		}
		data := make([]byte, 0, len(v)+2)
		return append(append(append(data, '"'), v...), '"')
	}
	return nil
}

// decodeScalar decodes what needs no parser, as most results of steps do. It does
// nothing and returns false where it is not sure.
func decodeScalar(data []byte, v any) bool {
	switch v := v.(type) {
	case *int:
		n, ok := decodeInt(data)
		if ok && int64(int(n)) == n {
			*v = int(n)
			return true
		}
	case *int64:
		n, ok := decodeInt(data)
		if ok {
			*v = n
		}
		return ok
	case *string:
		last := len(data) - 1
		if last < 1 || data[0] != '"' || data[last] != '"' {
			return false
		}
		text := data[1:last]
		for _, c := range text {
			if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
				return false
			}
		}
		*v = string(text)
		return true
	case *None:
		return string(data) == "{}"
	}
	return false
}

// decodeInt decodes a whole number of up to 18 digits.
func decodeInt(data []byte) (n int64, ok bool) {
	digits := data
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(data) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(digits) < len(data) {
		n = -n
	}
	return n, true
}

// namedCodec is a codec of the user's. Its name was asked for once, when it was given: a
// name is needed where an execution is locked. What it makes, and what it gets, is copied,
// so that nothing it does with them later changes a record.
type namedCodec struct {
	Codec
	name string
}

func (c namedCodec) Name() string { return c.name }

func (c namedCodec) Encode(v any) ([]byte, error) {
	data, err := c.Codec.Encode(v)
	return bytes.Clone(data), err
}

func (c namedCodec) Decode(data []byte, v any) error { return c.Codec.Decode(bytes.Clone(data), v) }

func knownByName(c Codec) Codec {
	if c == nil || c == JSON {
		return c
	}
	return namedCodec{c, c.Name()}
}

// checkCodec reports a codec that panics when it is asked for its name.
func checkCodec(c Codec) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("durable: Options.Codec: Name of a %T: panic: %v", c, p)
		}
	}()
	knownByName(c)
	return nil
}

// encodeWith encodes v, recovering panics of the codec, and checks the size.
func (vs *values) encodeWith(c Codec, v any) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w %q: encode %T: panic: %v", ErrCodec, c.Name(), v, p)
		}
	}()
	data, err = c.Encode(v)
	if err != nil {
		return nil, fmt.Errorf("%w %q: encode %T: %w", ErrCodec, c.Name(), v, err)
	}
	if len(data) > vs.limit {
		return nil, fmt.Errorf("%w: the encoded value is %s, the limit is %s: store it elsewhere and return a reference, or raise Options.MaxPayload",
			ErrPayloadTooLarge, formatBytes(len(data)), formatBytes(vs.limit))
	}
	return data, nil
}

// encoded is what a body made: its encoded result, and the value that this decodes to.
type encoded struct {
	payload []byte
	value   decoding // nil: it is not at hand
}

// decoded is the value of an operation, and what it was decoded from: a value that was
// just encoded is decoded at once, and not a second time when it is returned.
type decoded[O any] struct {
	value O
	from  []byte // nil: nothing
}

func newDecoded[O any]() decoding { return new(decoded[O]) }

// encode encodes a value that a replay will decode as an O, and makes sure that it
// can: a value that does not come back must fail now, not then.
func (d *decoded[O]) encode(vs *values, c Codec, v O) (data []byte, err error) {
	if c == nil {
		c = vs.codec
	}
	if data, err = vs.encodeWith(c, v); err != nil {
		return nil, err
	}
	if err = decodeWith(c, data, d.target()); err == nil {
		d.from = data
	}
	return data, err
}

// encodeReadable encodes a value that somebody decodes as an O later, and makes sure that
// it can be.
func encodeReadable[O any](vs *values, v O) ([]byte, error) {
	c := vs.codec
	data, err := vs.encodeWith(c, v)
	if err == nil && !(c == JSON && jsonform.Of(reflect.TypeFor[O]()).Sure) {
		err = decodeWith(c, data, new(O))
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// encodeInput encodes an input of a function. Where another process has the function, it
// may be that only that one can decode it.
func encodeInput[I any](vs *values, function string, in I) ([]byte, error) {
	if vs.engine == nil || !vs.engine.has(function) {
		return vs.encodeWith(vs.codec, in)
	}
	return encodeReadable(vs, in)
}

// target is where to decode to.
func (d *decoded[O]) target() any {
	*d = decoded[O]{}
	return &d.value
}

// holds reports whether the value is that of payload: the very same bytes.
func (d *decoded[O]) holds(payload []byte) bool {
	return len(payload) > 0 && len(payload) == len(d.from) && &payload[0] == &d.from[0]
}

// decoding is a *decoded.
type decoding interface {
	target() any
	holds(payload []byte) bool
}

// decodeWith decodes data into the pointer v, recovering panics of the codec.
func decodeWith(c Codec, data []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w %q: decode into %T: panic: %v", ErrCodec, c.Name(), v, p)
		}
	}()
	if err := c.Decode(data, v); err != nil {
		return fmt.Errorf("%w %q: decode into %T: %w: if the type changed, make the new one read the old form, or give the operation a codec that does",
			ErrCodec, c.Name(), v, err)
	}
	return nil
}

func formatBytes(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
