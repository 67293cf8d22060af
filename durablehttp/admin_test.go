package durablehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

// secret is in every payload that the functions below record.
const secret = "s3cret"

type purchase struct {
	Item string `json:"item"`
}

// buy does a step, invokes pay, and waits for an approval.
var buy = durable.Define("buy", func(ctx *durable.Context, in purchase) (string, error) {
	if _, err := durable.Step(ctx, "reserve", func(context.Context) (string, error) { return in.Item + " reserved", nil }); err != nil {
		return "", err
	}
	if _, err := durable.Invoke(ctx, "pay", pay, in); err != nil {
		return "", err
	}
	by, err := durable.CreateCallback[string](ctx, "approval")
	if err != nil {
		return "", err
	}
	name, err := by.Await(ctx)
	return in.Item + " approved by " + name, err
})

var pay = durable.DefinePlain("pay", func(_ context.Context, in purchase) (string, error) {
	if in.Item == "nothing "+secret {
		return "", errors.New("no " + secret + " to pay for")
	}
	return "paid for " + in.Item, nil
})

// desk is an engine with what serves it.
type desk struct {
	t       *testing.T
	engine  *durable.Engine
	handler http.Handler
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(data)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// allow lets everybody do everything.
func allow(*http.Request, durablehttp.Access) error { return nil }

// copied is a store that can be copied.
type copied struct{ *memstore.Store }

func (copied) Backup(_ context.Context, w io.Writer) (int64, error) {
	n, err := io.WriteString(w, "a copy")
	return int64(n), err
}

func newDesk(t *testing.T, opts *durablehttp.AdminOptions, functions ...durable.Definition) *desk {
	t.Helper()
	d := &desk{t: t, log: new(lockedBuffer)}
	log := slog.New(slog.NewTextHandler(d.log, nil))
	var err error
	d.engine, err = durable.New(copied{memstore.New()}, &durable.Options{Functions: append(functions, buy, pay), MaxPayload: 10_000, Logger: log})
	require.NoError(t, err)
	t.Cleanup(func() { d.engine.Close() })
	if opts == nil {
		opts = &durablehttp.AdminOptions{Authorize: allow}
	}
	opts.Logger = log
	d.handler = durablehttp.Admin(d.engine, opts)
	return d
}

// do asks; a body says that it is JSON.
func (d *desk) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	checkDocumented(d.t, r, w.Result(), w.Body.Bytes())
	return w
}

// get asks for a path, and decodes the answer.
func (d *desk) get(path string, answer any) {
	d.t.Helper()
	w := d.do("GET", path, "")
	require.Equal(d.t, http.StatusOK, w.Code, w.Body.String())
	require.NoError(d.t, json.Unmarshal(w.Body.Bytes(), answer), w.Body.String())
}

// post steers, and returns the ID of what it created.
func (d *desk) post(path, body string, status int) (id string) {
	d.t.Helper()
	w := d.do("POST", path, body)
	require.Equal(d.t, status, w.Code, w.Body.String())
	if status == http.StatusNoContent {
		require.Empty(d.t, w.Body.String())
		return ""
	}
	var created struct{ ID string }
	require.NoError(d.t, json.Unmarshal(w.Body.Bytes(), &created))
	return created.ID
}

// waiting starts buy, and returns when it waits for its approval.
func (d *desk) waiting(id string) {
	d.t.Helper()
	require.Equal(d.t, id, d.post("/executions", `{"function":"buy","id":"`+id+`","input":{"item":"teapot `+secret+`"}}`, http.StatusCreated))
	_, err := d.engine.CallbackID(d.t.Context(), id, "approval")
	require.NoError(d.t, err)
}

// ended waits for the end of an execution.
func (d *desk) ended(id string) (json.RawMessage, error) {
	return d.engine.ResultJSON(d.t.Context(), id)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")

	var list struct {
		Executions []durable.ExecutionInfo
		Next       string
	}
	d.get("/executions", &list)
	require.Len(t, list.Executions, 2)
	require.Equal(t, "pay", list.Executions[0].Function)
	require.Equal(t, "order-1", list.Executions[0].Parent)
	require.Equal(t, "order-1", list.Executions[1].ID)
	require.Nil(t, list.Executions[1].Input)
	require.Empty(t, list.Next)
	d.get("/executions?function=buy&status=RUNNING&prefix=order&payloads=true&startedAfter=2001-01-01T00:00:00Z&startedBefore=2999-01-01T00:00:00Z", &list)
	require.Len(t, list.Executions, 1)
	require.JSONEq(t, `{"item":"teapot s3cret"}`, string(list.Executions[0].Input))
	d.get("/executions?startedBefore=2001-01-01T00:00:00Z", &list)
	require.Empty(t, list.Executions)

	counts := make(map[durable.ExecutionStatus]int)
	d.get("/counts", &counts)
	require.Equal(t, map[durable.ExecutionStatus]int{"RUNNING": 1, "SUCCEEDED": 1, "FAILED": 0, "TIMED_OUT": 0, "STOPPED": 0}, counts)
	d.get("/counts?function=pay&prefix=inv-", &counts)
	require.Zero(t, counts["RUNNING"])
	require.Equal(t, 1, counts["SUCCEEDED"])

	var info durable.ExecutionInfo
	d.get("/executions/order-1", &info)
	require.JSONEq(t, `{"item":"teapot s3cret"}`, string(info.Input))
	d.get("/executions/order-1?payloads=false", &info)

	var ops struct{ Operations []durable.Operation }
	d.get("/executions/order-1/operations", &ops)
	require.Len(t, ops.Operations, 3)
	require.Equal(t, "reserve", ops.Operations[0].Name)
	require.Nil(t, ops.Operations[0].Result)
	var op durable.Operation
	d.get("/executions/order-1/operations/1", &op)
	require.JSONEq(t, `"teapot s3cret reserved"`, string(op.Result))

	var children struct {
		Executions []durable.ExecutionInfo
		Next       int64
	}
	d.get("/executions/order-1/children", &children)
	require.Len(t, children.Executions, 1)
	require.Equal(t, "pay", children.Executions[0].Function)
	require.Zero(t, children.Next)

	w := d.do("GET", "/executions/order-1/result", "")
	require.Equal(t, http.StatusAccepted, w.Code)
	require.JSONEq(t, `{"status":"RUNNING"}`, w.Body.String())
	d.post("/executions/order-1/callbacks/approval/heartbeat", "", http.StatusNoContent)
	d.post("/executions/order-1/callbacks/approval/succeed", `"Ada"`, http.StatusNoContent)
	var result string
	d.get("/executions/order-1/result?wait=30s", &result)
	require.Equal(t, "teapot s3cret approved by Ada", result)

	var history struct {
		Events []durable.Event
		Next   int64
	}
	d.get("/executions/order-1/history", &history)
	require.Equal(t, "ExecutionStarted", history.Events[0].Type)
	require.Equal(t, "ExecutionSucceeded", history.Events[len(history.Events)-1].Type)
	require.Zero(t, history.Next)

	var recording durable.Recording
	d.get("/executions/order-1/recording", &recording)
	require.Equal(t, "order-1", recording.ID)

	var functions struct{ Functions []durable.FunctionInfo }
	d.get("/functions", &functions)
	require.Len(t, functions.Functions, 2)
	require.JSONEq(t, `{"item":""}`, string(functions.Functions[0].Sample))
	var stats durable.Stats
	d.get("/stats", &stats)
	var about map[string]any
	d.get("/about", &about)
	require.Equal(t, false, about["readOnly"])
	require.NotEmpty(t, about["version"])
	d.get("/openapi.json", new(map[string]any))

	w = d.do("DELETE", "/executions/order-1", "")
	require.Equal(t, http.StatusNoContent, w.Code, w.Body.String())
	requireProblem(t, d.do("GET", "/executions/order-1", ""), http.StatusNotFound, "execution_not_found")
	require.NotContains(t, d.log.String(), secret)
}

// holds is held at once, for a reason that tells its input.
var holds = durable.Define("holds", func(ctx *durable.Context, in string) (string, error) {
	durable.Version(ctx, in+"\n", 1)
	return "", nil
})

// TestNoEngine: a program without an engine fails when it makes its handlers, not when
// somebody asks.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(){
		"Admin":     func() { durablehttp.Admin(nil, nil) },
		"Inspect":   func() { durablehttp.Inspect(nil, nil) },
		"Steer":     func() { durablehttp.Steer(nil, nil) },
		"Callbacks": func() { durablehttp.Callbacks(nil, nil) },
	} {
		require.PanicsWithError(t, "durablehttp: the engine is nil: give the one that durable.Open or New returned, and look at the error that they return", build, name)
	}
	require.ErrorContains(t, durablehttp.ServeBeside(t.Context(), nil, t.TempDir()+"/x.db", nil), "the engine is nil")
}

// TestSteeredLog: the line of a request that steered says what it was about, whether the
// path names that or not.
func TestSteeredLog(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	asked := 0
	logged := func(method, path, body string, status int, keys string) string {
		t.Helper()
		before := len(d.log.String())
		w := d.do(method, path, body)
		require.Equal(t, status, w.Code, w.Body.String())
		var made struct{ ID string }
		json.Unmarshal(w.Body.Bytes(), &made)
		asked++
		lines := d.log.String()[before:]
		if i := strings.Index(lines, "durablehttp: steered"); i >= 0 {
			lines = lines[i:]
		}
		line, _, _ := strings.Cut(lines, "\n")
		require.Equal(t, `durablehttp: steered" `+strings.ReplaceAll(keys, "NEW", made.ID), line)
		return made.ID
	}
	id := logged("POST", "/executions", `{"function":"pay","input":{"item":"cup"}}`, 201, `route="POST /executions" execution=NEW`)
	logged("POST", "/executions", `{"function":"buy","input":{"item":"cup"},"id":"a"}`, 201, `route="POST /executions" execution=a`)
	_, err := d.engine.CallbackID(t.Context(), "a", "approval")
	require.NoError(t, err)
	ops, err := d.engine.Operations(t.Context(), "a")
	require.NoError(t, err)
	var callback string
	for _, o := range ops {
		if o.Name == "approval" && o.Type == "CALLBACK" {
			callback = o.ID
		}
	}
	logged("POST", "/executions/a/callbacks/approval/fail", `{"message":"m"}`, 204, `route="POST /executions/{id}/callbacks/{operation}/fail" execution=a operation=`+callback)
	require.Equal(t, 409, d.do("GET", "/executions/a/result?wait=1m", "").Code)
	logged("POST", "/executions/a/retry", `{}`, 201, `route="POST /executions/{id}/retry" execution=a new=NEW`)
	logged("POST", "/executions/a/restart", `{"id":"b"}`, 201, `route="POST /executions/{id}/restart" execution=a new=b`)
	logged("POST", "/executions/b/cancel", `{"reason":"r"}`, 204, `route="POST /executions/{id}/cancel" execution=b`)
	require.Equal(t, 200, d.do("GET", "/executions/"+id+"/result?wait=1m", "").Code)
	recording := d.do("GET", "/executions/"+id+"/recording?payloads=true", "").Body.String()
	logged("POST", "/import?id=c", recording, 201, `route="POST /import" execution=c`)
	logged("POST", "/import", recording, 201, `route="POST /import" execution=NEW`)
	logged("DELETE", "/executions/c", "", 204, `route="DELETE /executions/{id}" execution=c`)
	t.Logf("requests: %d", asked)
}
