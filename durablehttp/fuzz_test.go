package durablehttp_test

import (
	"encoding/json"
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

// FuzzCallbacks sends any request: the answer is one of those that are documented,
// and holds neither the callback's ID nor anything but our own words about the body.
func FuzzCallbacks(f *testing.F) {
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{awaitAnswer}, MaxPayload: 1000})
	require.NoError(f, err)
	f.Cleanup(func() { engine.Close() })
	h := durablehttp.Callbacks(engine, &durablehttp.Options{MaxBody: 2000, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	f.Add("POST", "/callbacks/ID/succeed", "application/json", "", `{"a":1}`)
	f.Add("POST", "/callbacks/ID/fail", "", "", `{"type":"T","message":"m","data":[1]}`)
	f.Add("POST", "/callbacks/ID/fail", "", "", `{"data":"`+strings.Repeat("x", 1500)+`"}`)
	f.Add("POST", "/callbacks/ID/heartbeat", "", "", ``)
	f.Add("POST", "/callbacks/ID/../ID/succeed", "text/plain; charset=\"", "gzip", ``)
	f.Add("POST", "//callbacks/%2e%2e/succeed", "application/json;charset=utf-8", "identity", `1 2`)
	f.Add("PUT", "/callbacks/cb-AAAA/succeed", "", "", strings.Repeat("[", 1999))
	known := map[int]string{400: "bad_request", 404: "not_found", 405: "method_not_allowed", 409: "already_completed", 413: "payload_too_large", 415: "unsupported_media_type"}
	f.Fuzz(func(t *testing.T, method, path, contentType, encoding, body string) {
		x, err := awaitAnswer.Start(t.Context(), engine, time.Minute)
		require.NoError(t, err)
		id, err := engine.CallbackID(t.Context(), x.ID(), "answer")
		require.NoError(t, err)
		defer func() {
			require.NoError(t, engine.Stop(t.Context(), x.ID(), ""))
			require.NoError(t, engine.Delete(t.Context(), x.ID()))
		}()
		path = strings.ReplaceAll(path, "ID", id)
		u, err := url.ParseRequestURI("/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Content-Encoding", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusNoContent:
			require.Empty(t, w.Body.String())
			require.LessOrEqual(t, len(body), 2000)
		case w.Code >= 300 && w.Code < 400: // the mux cleans the path
			require.NotEmpty(t, w.Header().Get("Location"))
		default:
			var answer struct{ Error, Code string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
			require.Equal(t, known[w.Code], answer.Code, "%d", w.Code)
			require.NotContains(t, answer.Error, id)
			require.LessOrEqual(t, len(answer.Error), 500+len(body))
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		}
	})
}
