package jsonform_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/jsonform"
)

// money says how it is encoded with methods of pointers, as math/big.Int does.
type money struct{ cents int }

func (m *money) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"cents":%d}`, m.cents), nil }
func (m *money) UnmarshalJSON(b []byte) error {
	var w struct{ Cents int }
	err := json.Unmarshal(b, &w)
	m.cents = w.Cents
	return err
}

// level says so as a text.
type level struct{ n int }

func (l *level) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "level %d", l.n), nil }
func (l *level) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "level %d", &l.n)
	return err
}

// shown is encoded in another way for people, and not decoded.
type shown struct{ N int }

func (s *shown) MarshalJSON() ([]byte, error) { return []byte(`"shown"`), nil }

// hexed is a string that is another one as a text; color is itself.
type (
	hexed string
	color string
	digit int
)

func (h hexed) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString([]byte(h))), nil }
func (h *hexed) UnmarshalText(b []byte) error {
	plain, err := hex.DecodeString(string(b))
	*h = hexed(plain)
	return err
}

func (c *color) MarshalText() ([]byte, error) {
	if *c == "" {
		return nil, errors.New("no color")
	}
	return []byte(*c), nil
}
func (c *color) UnmarshalText(b []byte) error { *c = color(b); return nil }

func (d *digit) MarshalText() ([]byte, error) { return []byte{'0' + byte(*d)}, nil }
func (d *digit) UnmarshalText(b []byte) error { *d = digit(b[0] - '0'); return nil }

type (
	amount struct {
		Total money
		N     int
	}
	inside  struct{ amount }
	ignored struct {
		Total money `json:"-"`
		left  money
	}
	chain struct {
		Value money
		Next  *chain
	}
	anything struct{ V any }
	tree     struct{ Children []tree }
	pointed  struct{ *amount }
	plain    struct{ N int }
)

// counted says itself how it is encoded, and what is in it does not matter.
type counted struct{ M map[string]money }

func (c counted) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%d", len(c.M)), nil }

// TestMarshal checks that a value is encoded with the methods that say how, or refused.
func TestMarshal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		v    any
		want string
	}{
		"Nil":                    {nil, `null`},
		"Plain":                  {map[string]any{"a": []any{1, "x", nil, true, 2.5, int64(3)}}, `{"a":[1,"x",null,true,2.5,3]}`},
		"Itself":                 {money{5}, `{"cents":5}`},
		"APointer":               {&money{5}, `{"cents":5}`},
		"NoPointer":              {(*money)(nil), `null`},
		"InAStruct":              {amount{money{5}, 1}, `{"Total":{"cents":5},"N":1}`},
		"InAnEmbeddedStruct":     {inside{amount{money{5}, 1}}, `{"Total":{"cents":5},"N":1}`},
		"InAnArray":              {[2]money{{1}, {2}}, `[{"cents":1},{"cents":2}]`},
		"InASlice":               {[]amount{{money{5}, 1}}, `[{"Total":{"cents":5},"N":1}]`},
		"AsAText":                {level{3}, `"level 3"`},
		"NotEncoded":             {ignored{money{1}, money{2}}, `{}`},
		"InALongChain":           {chain{money{1}, &chain{money{2}, nil}}, `{"Value":{"cents":1},"Next":{"Value":{"cents":2},"Next":null}}`},
		"EncodedOnly":            {map[string]shown{"a": {1}}, `{"a":{"N":1}}`},
		"ByPointerInAMap":        {map[string]*money{"a": {1}}, `{"a":{"cents":1}}`},
		"ByPointerInAnInterface": {anything{&money{1}}, `{"V":{"cents":1}}`},
		"SliceInAMap":            {map[string][]money{"a": {{1}}}, `{"a":[{"cents":1}]}`},
		"SliceDeepInAnInterface": {anything{map[string][]money{"a": {{1}}}}, `{"V":{"a":[{"cents":1}]}}`},
		"ByItself":               {anything{counted{map[string]money{"a": {1}}}}, `{"V":1}`},
		"EmptyMap":               {map[string]money{}, `{}`},
		"KeysThatComeBack":       {map[color]int{"red": 1}, `{"red":1}`},
		"KeysThatAreDigits":      {map[digit]int{7: 1}, `{"7":1}`},
		"BigNumbers":             {struct{ N big.Int }{*big.NewInt(7)}, `{"N":7}`},
		"Times":                  {map[string]time.Time{"a": time.Unix(0, 0).UTC()}, `{"a":"1970-01-01T00:00:00Z"}`},
	} {
		data, err := jsonform.Marshal(c.v)
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(data), name)
	}
	for name, c := range map[string]struct {
		v    any
		says string // where, and what
	}{
		"InAMap":           {map[string]money{"a": {1}}, `the jsonform_test.money at "[\"a\"]" would not come back`},
		"InAnInterface":    {anything{money{1}}, `at ".V"`},
		"InNestedAny":      {map[string]any{"a": []any{1, map[string]any{"b": money{1}}}}, `at "[\"a\"][1][\"b\"]"`},
		"InAStructInAMap":  {map[int]amount{3: {money{1}, 1}}, `at "[\"3\"].Total"`},
		"InAnArrayInAMap":  {map[int][2]money{3: {}}, `at "[\"3\"][0]"`},
		"AsATextInAMap":    {map[string]level{"a": {1}}, `jsonform_test.level at`},
		"BehindAPointer":   {&anything{map[string]level{"a": {1}}}, `at ".V[\"a\"]"`},
		"InASlice":         {[]anything{{1}, {money{1}}}, `at "[1].V"`},
		"AKeyThatIsNotIt":  {map[hexed]int{"a": 1}, `the jsonform_test.hexed at "[\"a\"]" would not come back: its MarshalText is not called for keys`},
		"AKeyThatIsBad":    {map[color]int{"": 1}, `jsonform_test.color at`},
		"ADigitThatIsNone": {map[digit]int{12: 1}, `jsonform_test.digit at`},
	} {
		data, err := jsonform.Marshal(c.v)
		require.ErrorContains(t, err, c.says, name)
		require.Nil(t, data, name)
	}
	_, err := jsonform.Marshal(make(chan int))
	require.ErrorContains(t, err, "unsupported type", "that is encoding/json's to say")
	require.Equal(t, 5, func() int { m := money{5}; _, _ = jsonform.Marshal(m); return m.cents }())
}

// TestOf checks what is known of the values of a type without having one.
func TestOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v      any
		sure   bool // what they are encoded to can be decoded
		handed bool // a method of the user's may get bytes
	}{
		{0, true, false},
		{"", true, false},
		{[]map[string]*float64{}, true, false},
		{struct{ A, B int }{}, true, false},
		{time.Time{}, true, false},
		{[]time.Time{}, true, false},
		{json.RawMessage{}, false, false}, // it may hold anything
		{anything{}, false, false},
		{tree{}, false, false}, // it may be deeper than what decoders read
		{chain{}, false, true},
		{pointed{}, false, true},
		{plain{}, true, false},
		{struct{ plain }{}, true, false},
		{struct{ *plain }{}, false, false}, // that can't be decoded
		{money{}, false, true},
		{&money{}, false, true},
		{&shown{}, false, true},
		{map[string]*money{}, false, true},
		{struct{ V json.Marshaler }{}, false, true},
		{map[string]money{}, false, true},
		{shown{}, false, true},
		{map[color]int{}, false, true},
		{map[hexed]int{}, false, true},
		{[]level{}, false, true},
		{ignored{}, true, false},
	} {
		form := jsonform.Of(reflect.TypeOf(c.v))
		require.Equal(t, c.sure, form.Sure, "%T", c.v)
		require.Equal(t, c.handed, form.Handed, "%T", c.v)
		require.Same(t, form, jsonform.Of(reflect.TypeOf(c.v)), "it is found out once")
	}
}
