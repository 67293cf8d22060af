package fault_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/fault"
)

// TestEncode checks what is recorded of a failure, which later versions read.
func TestEncode(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	quotedDeep, err := json.Marshal(deep)
	require.NoError(t, err)
	cause := &fault.Failure{Type: "*net.OpError", Message: "refused", Itself: true}
	for name, c := range map[string]struct {
		failure  *fault.Failure
		recorded string
	}{
		"None":       {nil, ``},
		"Least":      {&fault.Failure{}, `{"type":"","message":""}`},
		"OfAMessage": {&fault.Failure{Type: "*errors.errorString", Message: "declined"}, `{"type":"*errors.errorString","message":"declined"}`},
		"OurOwn":     {fault.Own("Timeout", "timed out after 1m0s"), `{"type":"Timeout","message":"timed out after 1m0s","is":["Timeout"]}`},
		"Data":       {&fault.Failure{Type: "Refused", Data: json.RawMessage(`{"code":7}`)}, `{"type":"Refused","message":"","data":{"code":7}}`},
		"DataThatIsNoJSON": {&fault.Failure{Type: "Refused", Data: json.RawMessage(`{code`)},
			`{"type":"Refused","message":"","data":"{code"}`},
		"DataThatIsTooDeep": {&fault.Failure{Type: "Refused", Data: json.RawMessage(deep)},
			`{"type":"Refused","message":"","data":` + string(quotedDeep) + `}`},
		"Panic":           {&fault.Failure{Type: "Panic", Message: "boom", Stack: "goroutine 1", Is: []string{"Panic"}}, `{"type":"Panic","message":"boom","stack":"goroutine 1","is":["Panic"]}`},
		"RegisteredError": {&fault.Failure{Type: "T", Message: "m", Sentinel: "a", Also: []string{"b", ""}}, `{"type":"T","message":"m","sentinel":"a","also":["b",""]}`},
		"RegisteredType": {&fault.Failure{Type: "T", Message: "m", Typed: []fault.Typed{{Type: "*shop.Error", Of: "example.com/shop", JSON: json.RawMessage(`{"A":1}`), Causes: map[string][]*fault.Failure{"Err": {cause}}}}},
			`{"type":"T","message":"m","typed":[{"type":"*shop.Error","of":"example.com/shop","json":{"A":1},"causes":{"Err":[{"type":"*net.OpError","message":"refused","itself":true}]}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := fault.Encode(c.failure)
			require.Equal(t, c.recorded, string(data))
			back, err := fault.Decode(data)
			require.NoError(t, err)
			if c.failure == nil {
				require.Nil(t, data)
				require.Nil(t, back)
				return
			}
			require.Equal(t, c.recorded, string(fault.Encode(back)), "what was read is recorded as it was")
			if json.Valid(c.failure.Data) && len(c.failure.Data) < len(deep) || c.failure.Data == nil {
				require.Equal(t, c.failure, back)
			}
		})
	}
}

// TestDecode checks that what earlier versions recorded can be read, and what a later one may.
func TestDecode(t *testing.T) {
	t.Parallel()
	for recorded, want := range map[string]*fault.Failure{
		// From before the path of its package was recorded with a type.
		`{"type":"T","message":"m","typed":[{"type":"*shop.Error","json":{"A":1}}]}`: {Type: "T", Message: "m", Typed: []fault.Typed{{Type: "*shop.Error", JSON: json.RawMessage(`{"A":1}`)}}},
		// From before there could be several registered errors.
		`{"type":"T","message":"m","sentinel":"a"}`: {Type: "T", Message: "m", Sentinel: "a"},
		`{}`: {},
		// Of a later version.
		`{"type":"T","message":"m","more":{"x":1}}`: {Type: "T", Message: "m"},
	} {
		got, err := fault.Decode([]byte(recorded))
		require.NoError(t, err, recorded)
		require.Equal(t, want, got, recorded)
	}
	// A file may be read that can be nested deeper than what is made of it.
	deep := strings.Repeat("[", 9_900) + strings.Repeat("]", 9_900)
	f, err := fault.Decode([]byte(`{"type":"T","data":` + deep + `}`))
	require.NoError(t, err)
	var text string
	require.NoError(t, json.Unmarshal(f.Data, &text))
	require.Equal(t, deep, text)

	for _, none := range [][]byte{nil, {}} {
		f, err := fault.Decode(none)
		require.NoError(t, err)
		require.Nil(t, f)
	}
	for _, bad := range []string{`{`, `1`, `{"type":1}`, `{"typed":{}}`} {
		_, err := fault.Decode([]byte(bad))
		require.ErrorContains(t, err, "recorded failure", bad)
	}
}

// TestEncodeChangesNothing: a failure is not its own any more once it is recorded.
func TestEncodeChangesNothing(t *testing.T) {
	t.Parallel()
	f := &fault.Failure{Type: "T", Data: json.RawMessage(`{code`)}
	fault.Encode(f)
	require.Equal(t, `{code`, string(f.Data))
}

func TestOwn(t *testing.T) {
	t.Parallel()
	require.Equal(t, &fault.Failure{Type: "Canceled", Message: "canceled: enough", Is: []string{"Canceled"}}, fault.Own("Canceled", "canceled: enough"))
}

// TestSentinels checks how those of Options.Errors that it matches are kept: the first one as
// ever, the others beside it.
func TestSentinels(t *testing.T) {
	t.Parallel()
	var f fault.Failure
	require.False(t, f.HasSentinel("a"))
	require.False(t, f.HasSentinel(""), "none is not one without a text")
	f.AddSentinel("a")
	f.AddSentinel("b")
	f.AddSentinel("a")
	f.AddSentinel("b")
	require.Equal(t, fault.Failure{Sentinel: "a", Also: []string{"b"}}, f)
	for name, has := range map[string]bool{"a": true, "b": true, "c": false, "": false} {
		require.Equal(t, has, f.HasSentinel(name), name)
	}

	// An error's text may be empty.
	var empty fault.Failure
	empty.AddSentinel("")
	empty.AddSentinel("")
	require.Equal(t, fault.Failure{Also: []string{""}}, empty)
	require.True(t, empty.HasSentinel(""))
	empty.AddSentinel("a")
	require.Equal(t, fault.Failure{Sentinel: "a", Also: []string{""}}, empty)
}

// TestShorten checks that a failure stays within a limit, and what it gives up for that.
func TestShorten(t *testing.T) {
	t.Parallel()
	const limit = 800
	text := func(n int) string { return strings.Repeat("x", n) }
	raw := func(n int) json.RawMessage { return json.RawMessage(`"` + text(n-2) + `"`) }
	for name, c := range map[string]struct {
		in, want fault.Failure
	}{
		"AsItIs": {fault.Failure{Type: text(2000), Message: text(400), Data: raw(300), Stack: text(100)},
			fault.Failure{Type: text(2000), Message: text(400), Data: raw(300), Stack: text(100)}},
		"OneByteMore": {fault.Failure{Message: text(400), Data: raw(300), Stack: text(101)},
			fault.Failure{Message: text(400), Stack: text(97) + "…"}},
		"TheMessageToHalf":      {fault.Failure{Message: text(801)}, fault.Failure{Message: text(397) + "…"}},
		"TheStackToAnEighth":    {fault.Failure{Stack: text(801)}, fault.Failure{Stack: text(97) + "…"}},
		"DataOfAnEighthStays":   {fault.Failure{Message: text(801), Data: raw(100)}, fault.Failure{Message: text(397) + "…", Data: raw(100)}},
		"DataOfMoreDoesNot":     {fault.Failure{Message: text(801), Data: raw(101)}, fault.Failure{Message: text(397) + "…"}},
		"ATypeOfAnEighthStays":  {fault.Failure{Message: text(801), Typed: []fault.Typed{{JSON: raw(100)}}}, fault.Failure{Message: text(397) + "…", Typed: []fault.Typed{{JSON: raw(100)}}}},
		"ATypeOfMoreDoesNot":    {fault.Failure{Message: text(801), Typed: []fault.Typed{{Type: "a", JSON: raw(101)}, {Type: "b", JSON: raw(10)}}}, fault.Failure{Message: text(397) + "…", Typed: []fault.Typed{{Type: "b", JSON: raw(10)}}}},
		"ItsCausesCountWithIt":  {fault.Failure{Message: text(795), Typed: []fault.Typed{{Type: "a", JSON: raw(50), Causes: map[string][]*fault.Failure{"Err": {{Message: text(30)}, nil, {Stack: text(30)}}}}}}, fault.Failure{Message: text(397) + "…", Typed: []fault.Typed{}}},
		"CausesOfCausesCount":   {fault.Failure{Message: text(795), Typed: []fault.Typed{{Causes: map[string][]*fault.Failure{"Err": {{Typed: []fault.Typed{{JSON: raw(101)}}}}}}}}, fault.Failure{Message: text(397) + "…", Typed: []fault.Typed{}}},
		"TypesOfAQuarterInAll":  {fault.Failure{Typed: []fault.Typed{{Type: "a", JSON: raw(100)}, {Type: "b", JSON: raw(50)}, {Type: "c", JSON: raw(51)}, {Type: "d", JSON: raw(50)}, {Type: "e", JSON: raw(800)}}}, fault.Failure{Typed: []fault.Typed{{Type: "a", JSON: raw(100)}, {Type: "b", JSON: raw(50)}, {Type: "d", JSON: raw(50)}}}},
		"RunesAreNotCutInParts": {fault.Failure{Message: strings.Repeat("ü", 401)}, fault.Failure{Message: strings.Repeat("ü", 198) + "…"}},
	} {
		got := c.in
		got.Shorten(limit)
		require.Equal(t, c.want, got, name)
		require.True(t, utf8.ValidString(got.Message), name)
	}
	// Those who have the failure keep their types.
	kept := []fault.Typed{{Type: "a", JSON: raw(101)}, {Type: "b", JSON: raw(10)}}
	f := fault.Failure{Message: text(801), Typed: kept}
	f.Shorten(limit)
	require.Equal(t, "a", kept[0].Type)
	// A limit that is smaller than the mark of what was cut off.
	f = fault.Failure{Message: "too long"}
	f.Shorten(3)
	require.Equal(t, "…", f.Message)
}

// TestLoggedType: a type may be any text, as of a callback that was failed from outside.
func TestLoggedType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"":                                  "",
		"Timeout":                           "Timeout",
		"*errors.errorString":               "*errors.errorString",
		"shop.Error[int]":                   "shop.Error[int]",
		"Runtime.ExitError":                 "Runtime.ExitError",
		"my_err9":                           "my_err9",
		strings.Repeat("T", 64):             strings.Repeat("T", 64),
		strings.Repeat("T", 65):             "error",
		"a type":                            "error",
		"4111-1111":                         "error",
		"card 4111-1111":                    "error",
		"a\nlevel=ERROR":                    "error",
		"Größe":                             "error",
		"github.com/shop/errors.Error[int]": "error",
		"x@example.com":                     "error",
	} {
		require.Equal(t, want, (&fault.Failure{Type: typ}).LoggedType(), "%q", typ)
	}
}
