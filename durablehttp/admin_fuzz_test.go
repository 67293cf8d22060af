package durablehttp_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

// FuzzAdmin sends any request, for an execution that waits: the answer is one of those
// that are documented, and holds neither the ID of its callback nor, as they are
// hidden, its payloads. What is sent first may go into the path as a name or an ID.
func FuzzAdmin(f *testing.F) {
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{buy, pay}, MaxPayload: 1000, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Cleanup(func() { engine.Close() })
	h := durablehttp.Admin(engine, &durablehttp.AdminOptions{MaxBody: 2000, MaxImport: 3000, HidePayloads: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Authorize: func(_ *http.Request, a durablehttp.Access) error {
		if a == durablehttp.Payloads {
			return errors.New("no")
		}
		return nil
	}})
	bodies := map[string]string{
		"/executions": `{"function":"pay","input":{"item":"cup"},"id":"x","timeout":"1h"}`, "/executions/{id}/cancel": `{"reason":"r"}`, "/executions/{id}/restart": `{"operation":"2"}`,
		"/executions/{id}/callbacks/{operation}/succeed": `"Ada"`, "/executions/{id}/callbacks/{operation}/fail": `{"type":"T","message":"m","data":[1]}`,
		"/import": `{"version":1,"id":"y","function":"pay","status":"SUCCEEDED","incarnation":"00112233445566778899aabbccddeeff","records":[{"seq":1,"type":"ExecutionStarted"}]}`,
	}
	for _, r := range durablehttp.Routes() {
		body := ""
		if r.Method == "POST" {
			body = bodies[r.Path]
		}
		query := ""
		for _, p := range r.Params {
			query += p + "=1&"
		}
		path := strings.NewReplacer("{id}", "order-1", "{operation}", "3").Replace(r.Path)
		f.Add(r.Method, path, "", "application/json", "", body)
		f.Add(r.Method, path, strings.TrimSuffix(query, "&"), "text/plain", "2", body)
	}
	f.Add("GET", "/executions", "limit=2&cursor=9&status=RUNNING&startedAfter=2026-01-01T00:00:00Z&prefix=o", "", "", "")
	f.Add("GET", "/executions/%2e%2e/../order-1//", "a;b=%zz&a", "", "-1", "")
	f.Fuzz(func(t *testing.T, method, path, query, contentType, lastEventID, body string) {
		x, err := buy.Start(t.Context(), engine, purchase{Item: "cup " + secret}, durable.WithExecutionID("order-1"))
		require.NoError(t, err)
		callbackID, err := engine.CallbackID(t.Context(), x.ID(), "approval")
		require.NoError(t, err)
		defer func() {
			for x, err := range engine.Executions(context.Background(), durable.Query{}) {
				require.NoError(t, err)
				require.NoError(t, engine.Stop(context.Background(), x.ID, ""))
				require.NoError(t, engine.Delete(context.Background(), x.ID))
			}
		}()
		u, err := url.ParseRequestURI("/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		u.RawQuery = query
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // some wait
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Last-Event-ID", lastEventID)
		w := httptest.NewRecorder()
		h.ServeHTTP(leaves{w, cancel}, r)
		checkDocumented(t, r, w.Result(), w.Body.Bytes())
		require.NotContains(t, w.Body.String(), callbackID)
		require.NotContains(t, w.Body.String(), secret)
		if w.Code >= 400 && ctx.Err() == nil {
			require.NotEqual(t, http.StatusInternalServerError, w.Code, w.Body.String())
			require.LessOrEqual(t, w.Body.Len(), 1000+7*len(body))
		}
	})
}
