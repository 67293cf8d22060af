package durablehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

// awaitAnswer returns the payload of its only callback.
var awaitAnswer = durable.Define("await-answer", func(ctx *durable.Context, timeout time.Duration) (json.RawMessage, error) {
	cb, err := durable.CreateCallback[json.RawMessage](ctx, "answer", durable.WithTimeout(time.Hour), durable.WithHeartbeatTimeout(timeout))
	if err != nil {
		return nil, err
	}
	return cb.Await(ctx)
})

// bundle is an engine with one execution that waits for a callback.
type bundle struct {
	engine     *durable.Engine
	handler    http.Handler
	execution  *durable.Execution[json.RawMessage]
	callbackID string
	log        *bytes.Buffer
}

func setup(t *testing.T, opts *durablehttp.Options) *bundle {
	t.Helper()
	b := &bundle{log: new(bytes.Buffer)}
	var err error
	b.engine, err = durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{awaitAnswer}, MaxPayload: 1000})
	require.NoError(t, err)
	t.Cleanup(func() { b.engine.Close() })
	if opts == nil {
		opts = &durablehttp.Options{}
	}
	opts.Logger = slog.New(slog.NewTextHandler(b.log, nil))
	b.handler = durablehttp.Callbacks(b.engine, opts)
	b.execution, err = awaitAnswer.Start(t.Context(), b.engine, time.Minute)
	require.NoError(t, err)
	b.callbackID, err = b.engine.CallbackID(t.Context(), b.execution.ID(), "answer")
	require.NoError(t, err)
	return b
}

func (b *bundle) request(action, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/callbacks/"+b.callbackID+"/"+action, strings.NewReader(body))
}

func (b *bundle) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

func (b *bundle) post(action, body string) *httptest.ResponseRecorder {
	return b.serve(b.request(action, body))
}

// requireProblem checks an answer that is not a success.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var body map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, code, body["code"])
	require.NotEmpty(t, body["error"])
	require.Len(t, body, 2)
}

func requireDone(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusNoContent, w.Code, w.Body.String())
	require.Empty(t, w.Body.String())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
}

func TestSucceed(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]struct{ body, want string }{
		"Object":       {`{"approved": true}`, `{"approved":true}`},
		"Text":         {` "yes" `, `"yes"`},
		"Null":         {`null`, `null`},
		"NoBody":       {``, `null`},
		"OnlyBlanks":   {" \n", `null`},
		"NumberAsSent": {`1.0e2`, `1.0e2`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			requireDone(t, b.post("succeed", payload.body))
			got, err := b.execution.Result(t.Context())
			require.NoError(t, err)
			if got == nil {
				got = json.RawMessage("null")
			}
			require.JSONEq(t, payload.want, string(got))
		})
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]struct {
		body string
		want durable.Failure
	}{
		"All":         {`{"type": "Rejected", "message": "too expensive", "data": {"limit": 10}}`, durable.Failure{Type: "Rejected", Message: "too expensive", Data: json.RawMessage(`{"limit": 10}`)}},
		"NoType":      {`{"message": "too expensive"}`, durable.Failure{Type: durablehttp.DefaultFailureType, Message: "too expensive"}},
		"EmptyObject": {`{}`, durable.Failure{Type: durablehttp.DefaultFailureType}},
		"NoBody":      {``, durable.Failure{Type: durablehttp.DefaultFailureType}},
		"NullData":    {`{"type": "Rejected", "data": null}`, durable.Failure{Type: "Rejected"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			requireDone(t, b.post("fail", failure.body))
			_, err := b.execution.Result(t.Context())
			require.ErrorIs(t, err, durable.ErrCallbackFailed)
			got, ok := errors.AsType[*durable.Failure](err)
			require.True(t, ok)
			require.Equal(t, failure.want.Type, got.Type)
			require.Equal(t, failure.want.Message, got.Message)
			if failure.want.Data != nil {
				require.JSONEq(t, string(failure.want.Data), string(got.Data))
			}
		})
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		for range 5 {
			time.Sleep(50 * time.Second) // of the 60 that it may stay silent
			requireDone(t, b.post("heartbeat", ""))
		}
		time.Sleep(61 * time.Second)
		requireProblem(t, b.post("heartbeat", ""), http.StatusConflict, "already_completed")
		requireProblem(t, b.post("succeed", "1"), http.StatusConflict, "already_completed")
		_, err := b.execution.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrHeartbeatTimeout)
		require.NoError(t, b.engine.Close())
	})
}

func TestCompletedTwice(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	requireDone(t, b.post("succeed", `1`))
	requireProblem(t, b.post("succeed", `2`), http.StatusConflict, "already_completed")
	requireProblem(t, b.post("fail", ``), http.StatusConflict, "already_completed")
	got, err := b.execution.Result(t.Context())
	require.NoError(t, err)
	require.JSONEq(t, `1`, string(got))
	requireProblem(t, b.post("succeed", `3`), http.StatusConflict, "already_completed")
}

// TestRefused sends what is not accepted, and then checks that the callback is
// still open.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, &durablehttp.Options{MaxBody: 2000})
	with := func(r *http.Request, name, value string) *http.Request {
		r.Header.Set(name, value)
		return r
	}
	for name, refused := range map[string]struct {
		request *http.Request
		status  int
		code    string
	}{
		"NotJSON":            {b.request("succeed", `{"approved": `), 400, "bad_request"},
		"TwoValues":          {b.request("succeed", `1 2`), 400, "bad_request"},
		"FailureNotJSON":     {b.request("fail", `nope`), 400, "bad_request"},
		"FailureNotAnObject": {b.request("fail", `"nope"`), 400, "bad_request"},
		"FailureTwoValues":   {b.request("fail", `{} {}`), 400, "bad_request"},
		"FailureMisspelt":    {b.request("fail", `{"mesage": "nope"}`), 400, "bad_request"},
		"FailureWrongType":   {b.request("fail", `{"message": 1}`), 400, "bad_request"},
		"BodyBroken":         {httptest.NewRequest(http.MethodPost, "/callbacks/"+b.callbackID+"/succeed", io.MultiReader(strings.NewReader("1"), brokenReader{})), 400, "bad_request"},
		"BodyTooLarge":       {b.request("succeed", `"`+strings.Repeat("x", 2000)+`"`), 413, "payload_too_large"},
		"FailureTooLarge":    {b.request("fail", `{"message": "`+strings.Repeat("x", 2000)+`"}`), 413, "payload_too_large"},
		"PayloadTooLarge":    {b.request("succeed", `"`+strings.Repeat("x", 1000)+`"`), 413, "payload_too_large"},
		"Form":               {with(b.request("succeed", `1`), "Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type"},
		"OtherCharset":       {with(b.request("fail", `{}`), "Content-Type", "application/json; charset=latin1"), 415, "unsupported_media_type"},
		"ContentTypeGarbage": {with(b.request("fail", `{}`), "Content-Type", ";"), 415, "unsupported_media_type"},
		"Compressed":         {with(b.request("succeed", `1`), "Content-Encoding", "gzip"), 415, "unsupported_media_type"},
		"Get":                {httptest.NewRequest(http.MethodGet, "/callbacks/"+b.callbackID+"/succeed", nil), 405, "method_not_allowed"},
		"Options":            {httptest.NewRequest(http.MethodOptions, "/callbacks/"+b.callbackID+"/heartbeat", nil), 405, "method_not_allowed"},
		"UnknownID":          {httptest.NewRequest(http.MethodPost, "/callbacks/nope/succeed", nil), 404, "not_found"},
		"UnknownIDFailed":    {httptest.NewRequest(http.MethodPost, "/callbacks/nope/fail", nil), 404, "not_found"},
		"UnknownIDHeartbeat": {httptest.NewRequest(http.MethodPost, "/callbacks/nope/heartbeat", nil), 404, "not_found"},
		"LongID":             {httptest.NewRequest(http.MethodPost, "/callbacks/"+strings.Repeat("A", 5000)+"/succeed", nil), 404, "not_found"},
		"ForgedID":           {httptest.NewRequest(http.MethodPost, "/callbacks/AAAA"+b.callbackID[4:]+"/succeed", nil), 404, "not_found"},
		"UnknownAction":      {b.request("approve", ``), 404, "not_found"},
		"NoAction":           {httptest.NewRequest(http.MethodPost, "/callbacks/"+b.callbackID, nil), 404, "not_found"},
		"OtherPath":          {httptest.NewRequest(http.MethodGet, "/", nil), 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.serve(refused.request)
			requireProblem(t, w, refused.status, refused.code)
			require.NotContains(t, w.Body.String(), b.callbackID)
			if refused.status == http.StatusMethodNotAllowed {
				require.Equal(t, http.MethodPost, w.Header().Get("Allow"))
			}
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
		})
	}
	requireDone(t, b.post("succeed", `"still open"`))
	require.Empty(t, b.log.String(), "mistakes of clients are not logged")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestContentTypes(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"", "application/json", "application/json; charset=UTF-8", "APPLICATION/JSON", "application/vnd.example+json"} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			r := b.request("succeed", `1`)
			r.Header.Set("Content-Type", contentType)
			requireDone(t, b.serve(r))
		})
	}
}

func TestClosedEngine(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	require.NoError(t, b.engine.Shutdown(t.Context()))
	for _, action := range []string{"succeed", "fail", "heartbeat"} {
		requireProblem(t, b.post(action, ""), http.StatusServiceUnavailable, "closed")
	}
}

// TestUnknownError checks that an unexpected error is logged for the operator,
// without the callback's ID, and not told to the outside.
func TestUnknownError(t *testing.T) {
	t.Parallel()
	store := &failingStore{Store: memstore.New()}
	engine, err := durable.New(store, &durable.Options{Functions: []durable.Definition{awaitAnswer}})
	require.NoError(t, err)
	defer engine.Close()
	x, err := awaitAnswer.Start(t.Context(), engine, time.Minute)
	require.NoError(t, err)
	id, err := engine.CallbackID(t.Context(), x.ID(), "answer")
	require.NoError(t, err)

	var log bytes.Buffer
	h := durablehttp.Callbacks(engine, &durablehttp.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	post := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/callbacks/"+id+"/succeed", nil))
		return w
	}
	store.deliver = errors.New("disk on fire")
	w := post()
	requireProblem(t, w, http.StatusInternalServerError, "internal")
	require.NotContains(t, w.Body.String(), "fire")
	require.Contains(t, log.String(), "disk on fire")
	require.NotContains(t, log.String(), id)

	store.deliver = fmt.Errorf("%w: no space", durable.ErrStoreFailed)
	requireProblem(t, post(), http.StatusServiceUnavailable, "store_failed")
}

// failingStore fails deliveries.
type failingStore struct {
	checkpoint.Store
	deliver error
}

func (s *failingStore) Deliver(context.Context, checkpoint.Delivery) error { return s.deliver }

func TestUnderPrefix(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	mux := http.NewServeMux()
	mux.Handle("/durable/", http.StripPrefix("/durable", b.handler))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/durable/callbacks/"+b.callbackID+"/succeed", strings.NewReader("1")))
	requireDone(t, w)
}

// TestDefaultMaxBody stays below the default, and passes it.
func TestDefaultMaxBody(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	requireProblem(t, b.post("succeed", `"`+strings.Repeat("x", 2<<20)+`"`), http.StatusRequestEntityTooLarge, "payload_too_large")
	requireProblem(t, b.post("succeed", strings.Repeat(" ", 2<<20)+`1`), http.StatusRequestEntityTooLarge, "payload_too_large")
	requireDone(t, b.post("succeed", strings.Repeat(" ", 2<<20)))
}
