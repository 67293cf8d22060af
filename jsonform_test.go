package durable_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// money says how it is encoded with methods of pointers, as math/big.Int does.
type money struct{ cents int }

func (m *money) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"Cents":%d}`, m.cents), nil }
func (m *money) UnmarshalJSON(b []byte) error {
	var w struct{ Cents int }
	err := json.Unmarshal(b, &w)
	m.cents = w.Cents
	return err
}

// level says so as a text.
type level struct{ n int }

func (l *level) MarshalText() ([]byte, error) { return []byte(strings.Repeat("+", l.n)), nil }
func (l *level) UnmarshalText(b []byte) error { l.n = len(b); return nil }

// hexed is a string that is another one as a text.
type hexed string

func (h *hexed) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString([]byte(*h))), nil }
func (h *hexed) UnmarshalText(b []byte) error {
	plain, err := hex.DecodeString(string(b))
	*h = hexed(plain)
	return err
}

// color is a string that is checked as a text, and stays what it is.
type color string

func (c color) MarshalText() ([]byte, error) { return []byte(c), nil }
func (c *color) UnmarshalText(b []byte) error {
	if *c = color(b); *c == "" {
		return errors.New("no color")
	}
	return nil
}

// shown is encoded in another way for people who print pointers to it.
type shown struct{ N int }

func (s *shown) MarshalJSON() ([]byte, error) { return []byte(`"shown"`), nil }

type (
	amounts  struct{ Total money }
	embedded struct{ money }
	priced   struct {
		Name string
		amounts
		Parts [2]money
		More  []amounts
		By    map[string]*money
		Left  map[string]money
		Level level
	}
	chain struct {
		Value money
		Next  *chain
	}
	holder  struct{ V any }
	payment interface{ Sum() int }
	paid    interface {
		payment
		json.Marshaler
	}
	receipt struct{ By payment }
)

func (m *money) Sum() int { return m.cents }

// valued are the places where a value is encoded, and must come back.
func valued[T any](v T) map[string]func(ctx *durable.Context) (T, error) {
	return map[string]func(ctx *durable.Context) (T, error){
		"Step": func(ctx *durable.Context) (T, error) {
			return durable.Step(ctx, "s", func(context.Context) (T, error) { return v, nil })
		},
		"Child": func(ctx *durable.Context) (T, error) {
			return durable.RunInChildContext(ctx, "c", func(*durable.Context) (T, error) { return v, nil })
		},
		"Item": func(ctx *durable.Context) (none T, _ error) {
			b, err := durable.Map(ctx, "m", []int{1}, func(*durable.Context, int, int) (T, error) { return v, nil })
			if err != nil {
				return none, err
			}
			return b.Values()[0], nil
		},
		"Batch": func(ctx *durable.Context) (none T, _ error) {
			b, err := durable.Map(ctx, "m", []int{1}, func(*durable.Context, int, int) (T, error) { return v, nil }, durable.WithBatchCodec(durable.JSON))
			if err != nil {
				return none, err
			}
			return b.Values()[0], nil
		},
		"InitialState": func(ctx *durable.Context) (T, error) {
			return durable.WaitForCondition(ctx, "c", v, func(_ context.Context, s T) (T, error) { return s, nil }, func(T, int) durable.Poll { return durable.PollDone() })
		},
		"State": func(ctx *durable.Context) (none T, _ error) {
			return durable.WaitForCondition(ctx, "c", none, func(context.Context, T) (T, error) { return v, nil }, func(T, int) durable.Poll { return durable.PollDone() })
		},
		"Input":  func(ctx *durable.Context) (T, error) { return durable.Invoke(ctx, "i", echoOf[T](), v) },
		"Result": func(ctx *durable.Context) (T, error) { return durable.InvokeByName[T](ctx, "i", "returns", 0) },
		"Plain":  func(ctx *durable.Context) (T, error) { return durable.InvokeByName[T](ctx, "i", "plain", 0) },
	}
}

func echoOf[T any]() *durable.Function[T, T] {
	return durable.Define("echo", func(_ *durable.Context, v T) (T, error) { return v, nil })
}

// everywhere looks at v after it was recorded at each place, and was given to a start and
// taken from a result.
func everywhere[T any](t *testing.T, name string, v T, check func(t *testing.T, got T, err error)) {
	t.Helper()
	functions := []durable.Definition{echoOf[T](),
		durable.Define("returns", func(*durable.Context, int) (T, error) { return v, nil }),
		durable.DefinePlain("plain", func(context.Context, int) (T, error) { return v, nil })}
	for place, end := range valued(v) {
		t.Run(name+"/"+place, func(t *testing.T) {
			trial[T]{functions: functions, op: end, check: check, varied: true}.run(t)
		})
	}
	t.Run(name+"/Start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e, err := durable.New(memstore.New(), &durable.Options{Functions: functions})
			require.NoError(t, err)
			defer e.Close()
			got, err := echoOf[T]().Run(t.Context(), e, v)
			check(t, got, err)
			got, err = durable.Define[int, T]("returns", nil).Run(t.Context(), e, 0)
			check(t, got, err)
			if err != nil {
				for info, err := range e.Executions(t.Context(), durable.Query{Status: durable.ExecutionSucceeded}) {
					require.NoError(t, err)
					t.Fatalf("%s has succeeded, but its result can't be read", info.ID)
				}
			}
		})
	})
}

// TestMethodsOfPointers: values that say with methods of pointers how they are encoded
// come back, or are refused.
func TestMethodsOfPointers(t *testing.T) {
	t.Parallel()
	comeBack(t, "Value", money{5})
	comeBack(t, "Pointer", &money{5})
	comeBack(t, "Field", amounts{money{5}})
	comeBack(t, "Embedded", embedded{money{5}})
	comeBack(t, "Array", [2]money{{1}, {2}})
	comeBack(t, "Slice", []money{{1}, {2}})
	comeBack(t, "MapOfPointers", map[string]*money{"a": {1}})
	comeBack(t, "MapOfSlices", map[string][]money{"a": {{1}}})
	comeBack(t, "EmptyMap", map[string]money{})
	comeBack(t, "Text", level{3})
	comeBack(t, "TextInAField", struct{ L level }{level{3}})
	comeBack(t, "KeysThatStayWhatTheyAre", map[color]int{"red": 1})
	comeBack(t, "EncodedOnlyInAMap", map[string]shown{"a": {3}})
	t.Run("EncodedOnly", func(t *testing.T) { // nothing is lost: it is encoded as ever
		data, err := durable.JSON.Encode(shown{3})
		require.NoError(t, err)
		require.Equal(t, `{"N":3}`, string(data))
	})
	comeBack(t, "Recursive", chain{money{1}, &chain{money{2}, nil}})
	comeBack(t, "All", priced{"cup", amounts{money{1}}, [2]money{{2}, {3}}, []amounts{{money{4}}}, map[string]*money{"a": {5}}, nil, level{2}})
	everywhere(t, "BigInt", *big.NewInt(7), func(t *testing.T, got big.Int, err error) {
		require.NoError(t, err)
		require.Equal(t, "7", got.String())
	})
	everywhere(t, "BigFloat", *big.NewFloat(1.5), func(t *testing.T, got big.Float, err error) {
		require.NoError(t, err)
		require.Equal(t, "1.5", got.String())
	})

	refused(t, "Map", map[string]money{"a": {5}}, "money", `["a"]`)
	refused(t, "FieldInAMap", map[string]amounts{"a": {money{5}}}, "money", `["a"].Total`)
	refused(t, "ArrayInAMap", map[int][2]money{7: {{1}, {2}}}, "money", `["7"][0]`)
	refused(t, "MapInAField", priced{Left: map[string]money{"a": {5}}}, "money", `.Left["a"]`)
	refused(t, "MapOfBigInts", map[string]big.Rat{"a": *big.NewRat(1, 2)}, "big.Rat", `["a"]`)
	refused(t, "Interface", holder{money{5}}, "money", ".V")
	refused(t, "InterfaceInASlice", []any{1, "a", level{5}}, "level", "[2]")
	refused(t, "DeepInInterfaces", map[string]any{"a": []any{map[string]any{"b": amounts{money{5}}}}}, "money", `["a"][0]["b"].Total`)
	refused(t, "Keys", map[hexed]int{"red": 1}, "hexed", "red")
}

func comeBack[T any](t *testing.T, name string, v T) {
	t.Helper()
	everywhere(t, name, v, func(t *testing.T, got T, err error) {
		require.NoError(t, err)
		require.Equal(t, v, got)
	})
}

func refused[T any](t *testing.T, name string, v T, says ...string) {
	t.Helper()
	everywhere(t, name, v, func(t *testing.T, got T, err error) {
		require.ErrorIs(t, err, durable.ErrCodec)
		for _, s := range says {
			require.ErrorContains(t, err, strings.ReplaceAll(s, `"`, `\"`))
		}
	})
}

// TestValuesThatCantBeDecoded: what can be encoded and not decoded fails where it is made.
func TestValuesThatCantBeDecoded(t *testing.T) {
	t.Parallel()
	refused(t, "Interface", receipt{&money{5}})
	refused(t, "InterfaceItself", payment(&money{5}))
	refused(t, "InterfaceThatIsEncoded", paid(&money{5}))
	refused(t, "PointerThatIsEncodedOnly", &shown{3})
	refused(t, "PointersThatAreEncodedOnly", []*shown{{3}})
	refused(t, "UnexportedEmbeddedPointer", struct {
		N int
		*amounts
	}{1, &amounts{}})
	refused(t, "Deep", json.RawMessage(strings.Repeat("[", 10_001)+strings.Repeat("]", 10_001)))
	var n time.Duration = 1
	comeBack(t, "NoInterface", struct {
		A map[string][]time.Duration
		B *time.Time
	}{map[string][]time.Duration{"a": {n}}, nil})
}
