package durablehttp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
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

// TestDots: new executions are not called . or .., which are no part of a path. What is
// stored under one is reached with the dots encoded.
func TestDots(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(_ *durable.Context, n int) (int, error) { return n, nil })
	for _, id := range []string{".", ".."} {
		e, err := durable.New(storedAs{memstore.New(), id}, &durable.Options{Functions: []durable.Definition{f}})
		require.NoError(t, err)
		defer e.Close()
		_, err = f.Start(t.Context(), e, 7)
		require.NoError(t, err)
		server := httptest.NewServer(http.StripPrefix("/admin", durablehttp.Admin(e, &durablehttp.AdminOptions{AllowUnauthenticated: true})))
		defer server.Close()
		ask := func(method, path, body string) (int, string) {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/admin"+path, strings.NewReader(body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer answer.Body.Close()
			data, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			return answer.StatusCode, string(data)
		}
		status, text := ask(http.MethodPost, "/executions", `{"function":"f","id":"`+id+`","input":1}`)
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, text, "invalid_id")
		path := "/executions/" + strings.ReplaceAll(id, ".", "%2E")
		status, text = ask(http.MethodGet, path+"/result?wait=10s", "")
		require.Equal(t, http.StatusOK, status, text)
		status, text = ask(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, status, text)
		require.Contains(t, text, `"id":"`+id+`"`)
		status, text = ask(http.MethodDelete, path, "")
		require.Less(t, status, 300, text)
		status, _ = ask(http.MethodGet, path, "")
		require.Equal(t, http.StatusNotFound, status)
	}
}

// storedAs makes executions under an ID that is no longer allowed.
type storedAs struct {
	checkpoint.Store
	id string
}

func (s storedAs) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	c.ID = s.id
	return s.Store.Create(ctx, c)
}
