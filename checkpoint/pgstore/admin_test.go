package pgstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/durablehttp"
	"github.com/stretchr/testify/require"
)

var approved = durable.Define("approved", func(ctx *durable.Context, item string) (string, error) {
	by, err := durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
	if err == nil && by == "nobody" {
		err = errors.New("not by nobody")
	}
	return item + " by " + by, err
})

// TestAdminOfAClient sees and steers executions through an engine that has no functions,
// while another one runs them.
func TestAdminOfAClient(t *testing.T) {
	c := need(t)
	schema := c.Schema()
	quiet := slog.New(slog.DiscardHandler)
	with := func(functions ...durable.Definition) *durable.Engine {
		e, err := durable.New(open(t, schema, pgstore.Options{Poll: 200 * time.Millisecond, Logger: quiet}), &durable.Options{Functions: functions, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e
	}
	with(approved)
	client := with()
	server := httptest.NewServer(durablehttp.Admin(client, &durablehttp.AdminOptions{AllowUnauthenticated: true, Logger: quiet}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ask := func(method, path, body string, status int) string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, status, answer.StatusCode, "%s %s: %s", method, path, data)
		return string(data)
	}
	changes, err := http.Get(server.URL + "/events")
	require.NoError(t, err)
	defer changes.Body.Close()

	ask("POST", "/executions", `{"function":"approved","id":"a","input":"cup"}`, 201)
	events, err := http.Get(server.URL + "/executions/a/events")
	require.NoError(t, err)
	defer events.Body.Close()
	untilThere := func(stream io.Reader, text string) {
		t.Helper()
		var seen strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(seen.String(), text); {
			n, err := stream.Read(buffer)
			seen.Write(buffer[:n])
			require.True(t, err == nil || strings.Contains(seen.String(), text), "%v behind %s", err, &seen)
		}
	}
	untilThere(events.Body, `"type":"CallbackStarted"`)
	ask("POST", "/executions/a/callbacks/approval/succeed", `"nobody"`, 204)
	untilThere(events.Body, "event: end")
	untilThere(changes.Body, `"a"`)
	require.Contains(t, ask("GET", "/executions/a/result?wait=1m", "", 409), "not by nobody")
	ask("POST", "/executions/a/restart", `{"operation":"1","id":"b"}`, 201)
	events, err = http.Get(server.URL + "/executions/b/events")
	require.NoError(t, err)
	defer events.Body.Close()
	untilThere(events.Body, `"type":"CallbackStarted"`)
	ask("POST", "/executions/b/callbacks/1-1/succeed", `"Ada"`, 204)
	require.JSONEq(t, `"cup by Ada"`, ask("GET", "/executions/b/result?wait=1m", "", 200))
	var counts map[string]int
	require.NoError(t, json.Unmarshal([]byte(ask("GET", "/counts", "", 200)), &counts))
	require.Equal(t, 1, counts["SUCCEEDED"])
	require.Equal(t, 1, counts["FAILED"])
	ask("GET", "/executions?prefix=%00", "", 400)
	ask("POST", "/executions/a/retry", "", 201)
	ask("DELETE", "/executions/a", "", 204)
	ask("GET", "/executions/a", "", 404)
}
