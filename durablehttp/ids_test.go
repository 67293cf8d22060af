package durablehttp_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadIDs asks for callbacks that nobody was given: by any ID the answer is
// 404, short, and says nothing of the ID.
func TestBadIDs(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	ids := []string{" ", "a b", "\x00", "\xff", "ä", "\u202e", "a/b", "../../etc/passwd", `..\x`, "%2e%2e", "a?b", "a#b", "<script>", "'; --", "inv-1", "cb-", "cb-" + strings.Repeat("A", 100),
		strings.Repeat("a", 1<<20), b.callbackID + "A", b.callbackID[:len(b.callbackID)-1], strings.ToUpper(b.callbackID), b.execution.ID(), "answer"}
	for _, id := range ids {
		for _, action := range []string{"succeed", "fail", "heartbeat"} {
			w := b.serve(httptest.NewRequest(http.MethodPost, "/callbacks/"+url.PathEscape(id)+"/"+action, nil))
			requireProblem(t, w, http.StatusNotFound, "not_found")
			require.Less(t, w.Body.Len(), 300)
			require.NotContains(t, w.Body.String(), "script")
		}
	}
	require.Empty(t, b.log.String())
	requireDone(t, b.post("succeed", `1`))
	t.Logf("bad IDs over HTTP: %d requests", 3*len(ids))
}
