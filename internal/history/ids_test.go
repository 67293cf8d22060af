package history_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

func TestCompareIDs(t *testing.T) {
	t.Parallel()
	inOrder := []string{"", "1", "1-1", "1-1-1", "1-2", "1-10", "2", "2-1", "9", "10", "10-1", "11", "100"}
	for i, a := range inOrder {
		for k, b := range inOrder {
			got := history.CompareIDs(a, b)
			switch {
			case i < k:
				require.Negative(t, got, "%q, %q", a, b)
			case i == k:
				require.Zero(t, got, "%q, %q", a, b)
			default:
				require.Positive(t, got, "%q, %q", a, b)
			}
		}
	}
	mixed := slices.Clone(inOrder)
	slices.Sort(mixed)
	slices.SortFunc(mixed, history.CompareIDs)
	require.Equal(t, inOrder, mixed)
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"":                           "",
		"reserve":                    "",
		"Zahlung über 10 € – später": "",
		"予約 🚚":                       "",
		strings.Repeat("n", 256):     "",
		strings.Repeat("n", 257):     "257 bytes, the limit is 256",
		strings.Repeat("ü", 129):     "258 bytes, the limit is 256",
		"two\nlines":                 "not printable",
		"tab\t":                      "not printable",
		"\x1b[31mred":                "not printable",
		"no\x00thing":                "not printable",
		"half a rune \xc3":           "not printable",
		"\u202egnorw":                "not printable", // written from right to left
		"wide\u00a0space":            "not printable",
	} {
		err := history.CheckName(name)
		if says == "" {
			require.NoError(t, err, "%q", name)
			continue
		}
		require.ErrorIs(t, err, fault.ErrInvalidID, "%q", name)
		require.ErrorContains(t, err, says)
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for id, says := range map[string]string{
		"order-7":                 "",
		"a.b_c:d-E9":              "",
		"0":                       "",
		strings.Repeat("i", 128):  "",
		"":                        "0 bytes, it must have 1 to 128",
		strings.Repeat("i", 129):  "129 bytes, it must have 1 to 128",
		"a b":                     "only A-Z",
		"a/b":                     "only A-Z",
		"ü":                       "only A-Z",
		"a\n":                     "only A-Z",
		"{":                       "only A-Z",
		"@":                       "only A-Z",
		"[":                       "only A-Z",
		"`":                       "only A-Z",
		";":                       "only A-Z",
		strings.Repeat("i", 1000): "…",
	} {
		for what, check := range map[string]func(string) error{
			"function name": func(id string) error { return history.CheckID("function name", id) },
			"execution ID":  history.CheckNewID,
		} {
			err := check(id)
			if says == "" {
				require.NoError(t, err, "%s %q", what, id)
				continue
			}
			require.ErrorIs(t, err, fault.ErrInvalidID, "%s %q", what, id)
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, what)
			require.Less(t, len(err.Error()), 300, "it is quoted in part")
		}
	}
	// What is taken out of the path of a URL is found by nobody there. What is stored under
	// such an ID can be read all the same.
	for _, id := range []string{".", ".."} {
		require.ErrorIs(t, history.CheckNewID(id), fault.ErrInvalidID)
		require.NoError(t, history.CheckID("execution ID", id))
	}
	require.NoError(t, history.CheckNewID("..."))
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("i", 128)
	require.Equal(t, "short", history.Truncated("short"))
	require.Equal(t, long, history.Truncated(long))
	require.Equal(t, long+"…", history.Truncated(long+"i"))
}

// TestDerivedID checks that such an ID is one, and depends on all that it derives from; and
// that it is what it always was: executions that were invoked are stored under theirs.
func TestDerivedID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "inv-ed0d42d0a06819b397892c3bfb66ddee", history.DerivedID(history.InvokedPrefix, incarnation("A"), "2-1"))
	seen := make(map[string]bool)
	for _, prefix := range []string{history.InvokedPrefix, "key-"} {
		for _, inc := range []checkpoint.Incarnation{incarnation("A"), incarnation("B")} {
			for _, id := range []string{"1", "1-1", "11"} {
				derived := history.DerivedID(prefix, inc, id)
				require.Equal(t, derived, history.DerivedID(prefix, inc, id))
				require.True(t, strings.HasPrefix(derived, prefix))
				require.NoError(t, history.CheckNewID(derived))
				require.False(t, seen[derived])
				seen[derived] = true
			}
		}
	}
}
