package durablehttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

// TestPages reads a list in pages, while executions are started and deleted between them.
func TestPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	want := make([]string, 25)
	for i := range want {
		want[len(want)-1-i] = d.post("/executions", fmt.Sprintf(`{"function":"pay","id":"p-%d","input":{}}`, i), http.StatusCreated)
		_, err := d.ended(fmt.Sprintf("p-%d", i))
		require.NoError(t, err)
	}
	var got []string
	for path, page := "/executions?limit=7", 0; ; page++ {
		var answer struct {
			Executions []durable.ExecutionInfo
			Next       string
		}
		d.get(path, &answer)
		for _, x := range answer.Executions {
			got = append(got, x.ID)
		}
		if answer.Next == "" {
			break
		}
		require.Len(t, answer.Executions, 7)
		path = "/executions?limit=7&cursor=" + answer.Next
		d.post("/executions", fmt.Sprintf(`{"function":"pay","id":"later-%d","input":{}}`, page), http.StatusCreated)
		require.Equal(t, http.StatusNoContent, d.do("DELETE", "/executions/"+answer.Executions[6].ID, "").Code)
	}
	require.Equal(t, want, got)

	// A page that is just full is the last.
	var answer struct {
		Executions []durable.ExecutionInfo
		Next       *string
	}
	d.get("/executions?limit=3&prefix=later", &answer)
	require.Len(t, answer.Executions, 3)
	require.Nil(t, answer.Next)
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	var whole struct{ Events []durable.Event }
	d.get("/executions/order-1/history", &whole)
	var got []durable.Event
	for after := int64(0); ; {
		var page struct {
			Events []durable.Event
			Next   int64
		}
		d.get(fmt.Sprintf("/executions/order-1/history?limit=2&after=%d", after), &page)
		got = append(got, page.Events...)
		if after = page.Next; after == 0 {
			break
		}
		require.Len(t, page.Events, 2)
		require.Equal(t, page.Events[1].EventID, after)
	}
	require.Equal(t, whole.Events, got)
}

// What would be large is told on more pages than were asked for.
func TestPagesOfBytes(t *testing.T) {
	t.Parallel()
	large := durable.Define("large", func(ctx *durable.Context, in string) (int, error) {
		for range 25 {
			if _, err := durable.Step(ctx, "step", func(context.Context) (string, error) { return in, nil }); err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{large}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { engine.Close() })
	d := newDesk(t, nil)
	d.handler = durablehttp.Admin(engine, &durablehttp.AdminOptions{Authorize: allow})
	in := strings.Repeat("x", 400<<10)
	for i := range 25 {
		_, err := large.Run(t.Context(), engine, in, durable.WithExecutionID(fmt.Sprint("l-", i)))
		require.NoError(t, err)
	}
	for path, pages := range map[string]int{
		"/executions?limit=500&payloads=true":    3,
		"/executions?limit=10&payloads=true":     3,
		"/executions?limit=500":                  1,
		"/executions/l-1/history?payloads=true":  3,
		"/executions/l-1/history?payloads=false": 1,
		"/executions/l-1/history?operation=3":    1,
		"/executions/l-1/children?payloads=true": 1,
	} {
		seen := make(map[string]bool)
		n := 0
		for at := path; at != ""; n++ {
			answer := d.do("GET", at, "")
			require.Equal(t, http.StatusOK, answer.Code, path)
			require.Less(t, answer.Body.Len(), 5<<20, path)
			var page struct {
				Executions []durable.ExecutionInfo
				Events     []durable.Event
				Next       any
			}
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
			for _, x := range page.Executions {
				require.False(t, seen[x.ID], path)
				seen[x.ID] = true
			}
			for _, e := range page.Events {
				id := fmt.Sprint(e.EventID)
				require.False(t, seen[id], path)
				seen[id] = true
			}
			switch next := page.Next.(type) {
			case nil:
				at = ""
			case string:
				at = path + "&cursor=" + next
			case float64:
				at = path + "&after=" + fmt.Sprint(int64(next))
			}
		}
		require.Equal(t, pages, n, path)
		if !strings.Contains(path, "operation") && !strings.Contains(path, "children") {
			require.GreaterOrEqual(t, len(seen), 25, path)
		}
	}
}

// many invokes pay for each of 3, and does 10,000 steps.
var many = durable.Define("many", func(ctx *durable.Context, steps int) (int, error) {
	for range 3 {
		if _, err := durable.Invoke(ctx, "pay", pay, purchase{}); err != nil {
			return 0, err
		}
	}
	for range steps {
		if _, err := durable.Step(ctx, "step", func(context.Context) (string, error) { return "done", nil }); err != nil {
			return 0, err
		}
	}
	return steps, nil
})

// TestManyOperations reads an execution of 10,000 operations over a connection.
func TestManyOperations(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil, many)
	id := d.post("/executions", `{"function":"many","id":"many-1","input":10000}`, http.StatusCreated)
	_, err := d.ended(id)
	require.NoError(t, err)
	server := httptest.NewServer(d.handler)
	defer server.Close()
	get := func(path string, into any) (time.Duration, *http.Response) {
		began := time.Now()
		answer, err := http.Get(server.URL + path)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, http.StatusOK, answer.StatusCode)
		require.NoError(t, json.NewDecoder(answer.Body).Decode(into))
		return time.Since(began), answer
	}
	var ops struct{ Operations []durable.Operation }
	took, answer := get("/executions/many-1/operations", &ops)
	require.Len(t, ops.Operations, 10_003)
	require.Equal(t, []string{"chunked"}, answer.TransferEncoding, "it is sent as it is made")
	events, pages := 0, 0
	var history time.Duration
	for next := int64(0); pages == 0 || next > 0; pages++ {
		var page struct {
			Events []durable.Event
			Next   int64
		}
		d, _ := get(fmt.Sprintf("/executions/many-1/history?limit=5000&after=%d", next), &page)
		history += d
		events += len(page.Events)
		next = page.Next
	}
	require.Equal(t, 5, pages)
	require.Greater(t, events, 20_000)
	t.Logf("10,003 operations in %s, %d events in %d pages in %s", took.Round(time.Millisecond), events, pages, history.Round(time.Millisecond))

	var children struct {
		Executions []durable.ExecutionInfo
		Next       int64
	}
	get("/executions/many-1/children?limit=2", &children)
	require.Len(t, children.Executions, 2)
	require.NotZero(t, children.Next)
	first := children.Executions[0].ID
	get(fmt.Sprintf("/executions/many-1/children?limit=2&after=%d", children.Next), &children)
	require.Len(t, children.Executions, 1)
	require.NotEqual(t, first, children.Executions[0].ID)
}

func TestResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		d.waiting("order-1")
		began := time.Now()
		require.Equal(t, http.StatusAccepted, d.do("GET", "/executions/order-1/result", "").Code)
		require.Zero(t, time.Since(began))
		require.Equal(t, http.StatusAccepted, d.do("GET", "/executions/order-1/result?wait=30s", "").Code)
		require.Equal(t, 30*time.Second, time.Since(began))
		time.AfterFunc(10*time.Second, func() { d.engine.Stop(context.Background(), "order-1", "enough") })
		w := d.do("GET", "/executions/order-1/result?wait=30s", "")
		require.Equal(t, 40*time.Second, time.Since(began), "it is woken")
		require.Equal(t, http.StatusConflict, w.Code)
		require.JSONEq(t, `{"error":"the execution did not succeed","code":"execution_failed","status":"STOPPED","failure":{"type":"Stopped","message":"stopped: enough"}}`, w.Body.String())
		d.post("/executions", `{"function":"pay","id":"p","input":{"item":"nothing `+secret+`"}}`, http.StatusCreated)
		w = d.do("GET", "/executions/p/result?wait=1s", "")
		require.Contains(t, w.Body.String(), `"status":"FAILED","failure":{"type":"error","message":"no s3cret to pay for"}`)
		require.NoError(t, d.engine.Close())
	})
}

// TestEveryAnswer sees each answer that is documented: the status of each route, and
// each code of a problem.
func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	doc := theDocument()
	missing := make(map[string]bool)
	for _, r := range durablehttp.Routes() {
		for status := range doc.operation(r.Method, r.Path).Responses {
			missing[r.Method+" "+r.Path+" "+status] = true
		}
	}
	for _, code := range doc.Components.Schemas["Problem"].Properties["code"].Enum {
		missing[code] = true
	}
	d := newDesk(t, &durablehttp.AdminOptions{Authorize: func(r *http.Request, a durablehttp.Access) error {
		switch r.Header.Get("Authorization") {
		case "":
			return nil
		case "nobody":
			return durablehttp.ErrUnauthenticated
		}
		return context.Canceled
	}, HidePayloads: true, MaxBody: 20_000, MaxImport: 30_000}, twice)
	serve := func(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		if path == "/events" {
			h.ServeHTTP(leaves{w, cancel}, r) // it would go on
		} else {
			h.ServeHTTP(w, r)
		}
		what, code := checkDocumented(t, r, w.Result(), w.Body.Bytes())
		delete(missing, what)
		delete(missing, code)
		return w
	}
	ask := func(want int, method, path, body string, header ...string) string {
		t.Helper()
		w := serve(d.handler, method, path, body, header...)
		require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body.String())
		return w.Body.String()
	}
	refused := func(want int, code, method, path, body string, header ...string) string {
		t.Helper()
		said := ask(want, method, path, body, header...)
		require.Contains(t, said, `"code":"`+code+`"`, "%s %s", method, path)
		return said
	}
	open := func(id string) {
		_, err := d.engine.CallbackID(t.Context(), id, "approval")
		require.NoError(t, err)
	}

	ask(201, "POST", "/executions", `{"function":"buy","input":{"item":"cup"},"id":"a","timeout":"1h"}`)
	ask(201, "POST", "/executions", `{"function":"buy","input":{"item":"cup"},"id":"a"}`)
	open("a")
	ask(201, "POST", "/executions", `{"function":"twice"}`)
	ask(201, "POST", "/executions", `{"function":"twice","id":"twice"}`)
	_, err := d.engine.CallbackID(t.Context(), "twice", "2")
	require.NoError(t, err)

	for _, bad := range []string{"", "null", `{}`, `{"function":""}`, `{"function":"nope","input":1}`} {
		require.Contains(t, refused(404, "function_not_found", "POST", "/executions", bad), "it has ")
	}
	require.Contains(t, refused(404, "function_not_found", "POST", "/executions", `{"function":"nope"}`), `no function \"nope\": it has buy, pay`)
	for _, bad := range []string{"[]", "{", `{"function":"buy"} 1`, `{"function":"buy","inputs":1}`, `{"function":"buy","timeout":"1"}`, `{"function":"buy","timeout":"-1h"}`, `{"function":"buy","timeout":"0s"}`, `{"function":1}`, "\xff"} {
		refused(400, "bad_request", "POST", "/executions", bad)
	}
	for _, id := range []string{"", "inv-x", "a b", "ä", "a/b", `\u0000`, strings.Repeat("a", 129)} {
		refused(400, "invalid_id", "POST", "/executions", `{"function":"buy","input":{},"id":"`+id+`"}`)
	}
	refused(409, "execution_exists", "POST", "/executions", `{"function":"buy","input":{"item":"pot"},"id":"a"}`)
	refused(413, "payload_too_large", "POST", "/executions", `{"function":"buy","input":"`+strings.Repeat("x", 10_001)+`"}`)
	refused(413, "payload_too_large", "POST", "/executions", strings.Repeat(" ", 20_001))
	refused(413, "payload_too_large", "POST", "/executions/a/cancel", `{"reason":"`+strings.Repeat("x", 10_001)+`"}`)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1", ""} {
		refused(415, "unsupported_media_type", "POST", "/executions", `{"function":"pay"}`, "Content-Type", contentType)
		refused(415, "unsupported_media_type", "POST", "/executions/a/callbacks/approval/succeed", `1`, "Content-Type", contentType)
	}
	refused(415, "unsupported_media_type", "POST", "/executions/a/stop", ``, "Content-Type", "text/plain")
	refused(415, "unsupported_media_type", "POST", "/executions/a/stop", `{}`, "Content-Encoding", "gzip")

	for query, path := range map[string]string{
		"limit=0": "/executions", "limit=501": "/executions", "limit=x": "/executions", "limit=1e2": "/executions", "cursor=": "/executions", "cursor=0": "/executions", "cursor=-1": "/executions", "cursor=01": "/executions", "cursor=%2B1": "/executions",
		"cursor=18446744073709551616": "/executions", "status=running": "/executions", "sort=id": "/executions", "limit=1&limit=2": "/executions", "a;b": "/executions", "a=%zz": "/executions", "startedAfter=yesterday": "/executions",
		"startedBefore=2026-01-01": "/executions", "function=a%20b": "/executions", "prefix=%00": "/executions", "payloads=yes": "/executions/a", "payloads=TRUE": "/executions/a/operations", "status=RUNNING": "/counts", "after=-1": "/executions/a/history",
		"limit=5001": "/executions/a/history", "after=x": "/executions/a/events", "wait=1": "/executions/a/result", "wait=-1s": "/executions/a/result", "wait=61s": "/executions/a/result", "x=": "/stats", "callback=f": "/about", "limit=501&after=1": "/executions/a/children",
	} {
		refused(400, "bad_request", "GET", path+"?"+query, "")
	}
	refused(400, "bad_request", "POST", "/executions/a/stop?reason=x", "")
	refused(400, "bad_request", "GET", "/executions/a/events", "", "Last-Event-ID", "-1")
	refused(400, "bad_request", "DELETE", "/executions/a", "[1]")

	for _, r := range everyRequest() {
		if strings.Contains(r[1], "order-1") {
			query := ""
			if strings.HasSuffix(r[1], "/result") || strings.HasSuffix(r[1], "/recording") {
				query = "?payloads=true"
			}
			refused(404, "execution_not_found", r[0], strings.Replace(r[1], "order-1", "nope", 1)+query, "")
			for _, bad := range []string{"%20", "a%2Fb", "..%2F..", "%00", "%E4", strings.Repeat("a", 129), "inv-%0a"} {
				refused(400, "invalid_id", r[0], strings.Replace(r[1], "order-1", bad, 1)+query, "")
			}
		}
		w := serve(d.handler, "PATCH", r[1], "")
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
		require.Contains(t, strings.Split(w.Header().Get("Allow"), ", "), r[0])
		refused(401, "unauthorized", r[0], r[1], "", "Authorization", "nobody")
		refused(403, "forbidden", r[0], r[1], "", "Authorization", "somebody")
	}
	for _, path := range []string{"/", "//", "/executions/", "//executions", "/executions/a/../a", "/./executions", "/executions/a/b/c/d", "/executions//operations", "/executions/a/operations/", "/Executions"} {
		refused(404, "not_found", "GET", path, "")
	}
	for _, method := range []string{"HEAD", "OPTIONS", "PUT", "TRACE", "CONNECT", "get", "X"} {
		require.Equal(t, http.StatusMethodNotAllowed, serve(d.handler, method, "/executions", "").Code, method)
	}
	refused(404, "operation_not_found", "GET", "/executions/a/operations/99", "")
	refused(403, "payloads_hidden", "GET", "/executions/a/recording", "")

	require.Equal(t, "a copy", ask(200, "POST", "/store/backup", ""))
	refused(400, "bad_request", "POST", "/store/backup", "[1]")

	ask(200, "GET", "/executions/a/operations/1", "")
	for _, path := range []string{"/executions", "/counts", "/executions/a", "/executions/a/operations", "/executions/a/history", "/executions/a/recording?payloads=true", "/executions/a/children", "/events", "/functions", "/stats", "/about", "/openapi.json"} {
		ask(200, "GET", path, "")
	}
	ask(202, "GET", "/executions/a/result?payloads=true", "")
	refused(409, "execution_running", "DELETE", "/executions/a", "")
	refused(404, "not_found", "POST", "/executions/a/callbacks/nope/heartbeat", "")
	refused(404, "not_found", "POST", "/executions/a/callbacks/1/succeed", "") // a step
	refused(409, "callback_ambiguous", "POST", "/executions/twice/callbacks/again/succeed", "")
	ask(204, "POST", "/executions/twice/callbacks/1/succeed", "")
	ask(204, "POST", "/executions/twice/callbacks/again/succeed", "") // one is left
	for _, bad := range []string{"{", "1 2"} {
		refused(400, "bad_request", "POST", "/executions/a/callbacks/approval/succeed", bad)
	}
	for _, bad := range []string{"1", `{"mesage":""}`, `{} {}`} {
		refused(400, "bad_request", "POST", "/executions/a/callbacks/approval/fail", bad)
	}
	ask(204, "POST", "/executions/a/callbacks/approval/heartbeat", "")
	ask(204, "POST", "/executions/a/resume", "")
	ask(204, "POST", "/executions/a/cancel", `{"reason":"changed my mind"}`)
	ask(409, "GET", "/executions/a/result?wait=1m&payloads=true", "")
	ask(204, "POST", "/executions/a/cancel", "")
	ask(204, "POST", "/executions/a/stop", "{}")
	refused(409, "already_completed", "POST", "/executions/a/callbacks/approval/succeed", "1")
	ask(200, "GET", "/executions/a/events", "")
	ask(204, "DELETE", "/executions/a", "")
	ask(201, "POST", "/executions", `{"function":"buy","input":{"item":"cup"},"id":"b"}`)
	open("b")
	ask(204, "POST", "/executions/b/callbacks/approval/fail", `{"type":"No","message":"m","data":[1]}`)
	ask(409, "GET", "/executions/b/result?wait=1m&payloads=true", "")
	ask(201, "POST", "/executions", `{"function":"pay","input":{"item":"cup"},"id":"c"}`)
	require.JSONEq(t, `"paid for cup"`, ask(200, "GET", "/executions/c/result?wait=1m&payloads=true", ""))

	refused(409, "execution_succeeded", "POST", "/executions/c/retry", "")
	refused(404, "operation_not_found", "POST", "/executions/b/restart", `{"operation":"99"}`)
	refused(400, "invalid_id", "POST", "/executions/b/restart", `{"id":"inv-x"}`)
	refused(400, "bad_request", "POST", "/executions/b/restart", `{"op":"1"}`)
	ask(201, "POST", "/executions/b/retry", `{"id":"b-2"}`)
	ask(201, "POST", "/executions/b/restart", `{"operation":"2","id":"b-3"}`)
	ask(201, "POST", "/executions/b/restart", "")
	open("b-2")
	open("b-3")
	refused(409, "execution_running", "POST", "/executions/b-3/retry", "")
	require.Contains(t, ask(200, "GET", "/executions/b-3", ""), `"restartOf":"b"`)
	recording := ask(200, "GET", "/executions/c/recording?payloads=true", "")
	require.JSONEq(t, `{"id":"c"}`, ask(201, "POST", "/import", recording), "it is there already, as it was")
	require.Contains(t, refused(409, "execution_exists", "POST", "/import?id=b", recording), "another execution")
	require.Contains(t, refused(409, "execution_exists", "POST", "/executions/b/retry", `{"id":"c"}`), "another execution")
	require.Contains(t, refused(409, "execution_exists", "POST", "/executions/b/restart", `{"id":"c"}`), "another execution")
	require.JSONEq(t, `{"id":"d"}`, ask(201, "POST", "/import?id=d", recording))
	require.JSONEq(t, `"paid for cup"`, ask(200, "GET", "/executions/d/result?payloads=true", ""))
	ask(204, "DELETE", "/executions/c", "")
	require.JSONEq(t, `{"id":"c"}`, ask(201, "POST", "/import", recording))
	refused(400, "invalid_id", "POST", "/import?id=", recording)
	refused(400, "invalid_id", "POST", "/import?id=inv-d", recording)
	refused(413, "payload_too_large", "POST", "/import", recording+strings.Repeat(" ", 30_000))
	refused(415, "unsupported_media_type", "POST", "/import", recording, "Content-Type", "text/plain")
	for _, bad := range []string{"", "{", "null", "[]", "1", recording + "1", `{"version":99}`, strings.Replace(recording, "StepStarted", "Nonsense", 1)[:len(recording)/2], strings.Replace(recording, `"seq":2`, `"seq":3`, 1)} {
		refused(400, "bad_request", "POST", "/import", bad)
	}

	serve(durablehttp.Admin(d.engine, nil), "GET", "/executions", "")
	require.NotContains(t, d.log.String(), "ERROR", "mistakes of clients are no errors")
	broken, log := brokenDesk(t)
	w := serve(broken, "POST", "/store/backup", "")
	require.Equal(t, http.StatusNotImplemented, w.Code)
	require.Contains(t, w.Body.String(), `"code":"unsupported"`)
	for _, r := range everyRequest() {
		if strings.Contains(r[1], "order-1") {
			path := r[1]
			if strings.HasSuffix(r[1], "/result") || strings.HasSuffix(r[1], "/recording") {
				path += "?payloads=true"
			}
			w := serve(broken, r[0], path, "")
			require.Equal(t, http.StatusInternalServerError, w.Code, path)
			require.NotContains(t, w.Body.String(), "fire")
			require.Contains(t, log.String(), "disk on fire")
			require.Contains(t, log.String(), "order-1")
		}
	}
	require.NoError(t, d.engine.Shutdown(t.Context()))
	for _, r := range everyRequest() {
		switch r[1] {
		case "/stats", "/about", "/functions", "/openapi.json":
			continue
		}
		body, query := "", ""
		switch r[0] + r[1] {
		case "POST/executions":
			body = `{"function":"pay"}`
		case "POST/import":
			body = recording
		}
		if strings.HasSuffix(r[1], "/result") || strings.HasSuffix(r[1], "/recording") {
			query = "?payloads=true"
		}
		refused(503, "closed", r[0], r[1]+query, body)
	}
	delete(missing, "store_failed") // TestUnknownError
	delete(missing, "damaged")      // TestDamagedInAList
	require.Empty(t, missing, "documented, but never answered")
}

// leaves is a client that goes away when it gets something.
type leaves struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l leaves) Flush() { l.leave() }

// TestUnreadable shows what can be shown of an execution whose key is missing.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	log := new(lockedBuffer)
	sealer := new(losable)
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{pay}, Sealer: sealer})
	require.NoError(t, err)
	defer engine.Close()
	d := &desk{t: t, engine: engine, log: log, handler: durablehttp.Admin(engine, &durablehttp.AdminOptions{Authorize: allow, Logger: slog.New(slog.NewTextHandler(log, nil))})}
	d.post("/executions", `{"function":"pay","id":"p","input":{"item":"cup"}}`, http.StatusCreated)
	_, err = d.ended("p")
	require.NoError(t, err)
	type shown struct {
		ID, Status string
		Result     string
		Unreadable bool
	}
	var one shown
	d.get("/executions/p", &one)
	require.Equal(t, shown{ID: "p", Status: "SUCCEEDED", Result: "paid for cup"}, one)

	sealer.lost.Store(true)
	one = shown{}
	d.get("/executions/p", &one)
	require.Equal(t, shown{ID: "p", Status: "SUCCEEDED", Unreadable: true}, one)
	var list struct{ Executions []shown }
	d.get("/executions?payloads=true", &list)
	require.Equal(t, []shown{one}, list.Executions)
	requireProblem(t, d.do("GET", "/executions/p/history", ""), http.StatusInternalServerError, "internal")
	require.Contains(t, log.String(), "the key is lost")

	s := d.listen("/executions/p/events")
	m := s.next()
	require.Equal(t, "problem", m.name)
	require.JSONEq(t, `{"error":"internal error","code":"internal"}`, m.data)
	require.Equal(t, "over", s.next().name)
}

// TestDamagedInAList shows what can be shown of an execution of which the store can't
// read something, in its place, and the others.
func TestDamagedInAList(t *testing.T) {
	t.Parallel()
	log := new(lockedBuffer)
	store := &damagedStore{Store: memstore.New()}
	engine, err := durable.New(store, &durable.Options{Functions: []durable.Definition{pay}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer engine.Close()
	d := &desk{t: t, engine: engine, log: log, handler: durablehttp.Admin(engine, &durablehttp.AdminOptions{Authorize: allow, Logger: slog.New(slog.NewTextHandler(log, nil))})}
	for _, id := range []string{"a", "b", "c"} {
		d.post("/executions", `{"function":"pay","id":"`+id+`","input":{"item":"cup"}}`, http.StatusCreated)
		_, err = d.ended(id)
		require.NoError(t, err)
	}
	store.damaged.Store(true)
	type shown struct {
		ID, Status string
		Number     int
		Result     string
		Unreadable bool
	}
	want := []shown{{"c", "SUCCEEDED", 3, "paid for cup", false}, {"b", "SUCCEEDED", 2, "", true}, {"", "", 1, "", true}}
	var list struct {
		Executions []shown
		Next       string
	}
	d.get("/executions?payloads=true", &list)
	require.Equal(t, want, list.Executions)
	for i := range want { // and in pages
		q := "/executions?payloads=true&limit=1"
		if i > 0 {
			q += "&cursor=" + list.Next
		}
		list.Executions, list.Next = nil, ""
		d.get(q, &list)
		require.Equal(t, want[i:i+1], list.Executions)
	}
	require.Empty(t, list.Next)
	store.newest.Store(true)
	d.listen("/events").leave() // it does not begin with a problem
	var one shown
	d.get("/executions/b", &one)
	require.Equal(t, want[1], one)
	require.Contains(t, log.String(), "record 1 of b")
	requireProblem(t, d.do("GET", "/executions/b/history", ""), http.StatusInternalServerError, "damaged")
	requireProblem(t, d.do("GET", "/executions/b/operations", ""), http.StatusInternalServerError, "damaged")
	require.Equal(t, http.StatusNoContent, d.do("DELETE", "/executions/b", "").Code)
}

// damagedStore can't read the records of b, and nothing of a.
type damagedStore struct {
	checkpoint.Store
	damaged atomic.Bool
	newest  atomic.Bool // nor the records of c
}

func (s *damagedStore) spoil(sum checkpoint.Summary, err error) (checkpoint.Summary, error) {
	if err != nil || !s.damaged.Load() || sum.ID == "c" && !s.newest.Load() {
		return sum, err
	}
	err = &checkpoint.CorruptError{Where: "record 1 of " + sum.ID, What: "it can't be read"}
	if sum.ID == "a" {
		return checkpoint.Summary{Number: sum.Number}, err
	}
	sum.Started, sum.Ended = checkpoint.Record{}, checkpoint.Record{}
	return sum, err
}

func (s *damagedStore) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	return s.spoil(s.Store.Get(ctx, id))
}

func (s *damagedStore) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return func(yield func(checkpoint.Summary, error) bool) {
		for sum, err := range s.Store.List(ctx, q) {
			if !yield(s.spoil(sum, err)) {
				return
			}
		}
	}
}

// losable is a sealer whose key can be lost.
type losable struct{ lost atomic.Bool }

func (*losable) Seal(dst, plain []byte, _ durable.Place) ([]byte, error) {
	return append(dst, plain...), nil
}
func (l *losable) Open(dst, sealed []byte, _ durable.Place) ([]byte, error) {
	if l.lost.Load() {
		return nil, errors.New("the key is lost")
	}
	return append(dst, sealed...), nil
}

// twice has two callbacks of one name open.
var twice = durable.Define("twice", func(ctx *durable.Context, _ any) (string, error) {
	first, err := durable.CreateCallback[any](ctx, "again")
	if err != nil {
		return "", err
	}
	second, err := durable.CreateCallback[any](ctx, "again")
	if err != nil {
		return "", err
	}
	if _, err := first.Await(ctx); err != nil {
		return "", err
	}
	_, err = second.Await(ctx)
	return "", err
})

// brokenDesk is a handler on a store that can't be read.
func brokenDesk(t *testing.T) (http.Handler, *lockedBuffer) {
	d := &lockedBuffer{}
	engine, err := durable.New(unreadableStore{memstore.New()}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { engine.Close() })
	return durablehttp.Admin(engine, &durablehttp.AdminOptions{Authorize: allow, Logger: slog.New(slog.NewTextHandler(d, nil))}), d
}

type unreadableStore struct{ checkpoint.Store }

func (unreadableStore) Get(context.Context, string) (checkpoint.Summary, error) {
	return checkpoint.Summary{}, errors.New("disk on fire")
}

// TestParts asks for parts of what is told of an execution, and counts within a time.
func TestParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	var whole, part struct{ Events []durable.Event }
	var all, open struct{ Operations []durable.Operation }
	d.get("/executions/order-1/history", &whole)
	d.get("/executions/order-1/operations", &all)
	d.get("/executions/order-1/operations?open=true", &open)
	require.NotEmpty(t, open.Operations)
	require.Less(t, len(open.Operations), len(all.Operations))
	n := 0
	for _, o := range all.Operations {
		if o.EndedAt.IsZero() {
			require.Equal(t, o, open.Operations[n])
			n++
		}
	}
	require.Len(t, open.Operations, n)
	n = 0
	for _, o := range all.Operations {
		part.Events = nil
		d.get("/executions/order-1/history?operation="+o.ID, &part)
		require.NotEmpty(t, part.Events)
		for _, ev := range part.Events {
			require.Equal(t, o.ID, ev.OperationID)
			require.Contains(t, whole.Events, ev)
		}
		n += len(part.Events)
	}
	require.Len(t, whole.Events, n+1, "all events but the start of the execution")
	require.Equal(t, http.StatusBadRequest, d.do("GET", "/executions/order-1/operations?open=yes", "").Code)

	counts := make(map[durable.ExecutionStatus]int)
	started := whole.Events[0].Time
	for query, want := range map[string]int{
		"startedAfter=" + started.Add(-time.Second).Format(time.RFC3339Nano): 1, "startedBefore=" + started.Add(-time.Second).Format(time.RFC3339Nano): 0,
		"startedAfter=" + started.Add(time.Second).Format(time.RFC3339Nano): 0, "startedBefore=" + started.Add(time.Second).Format(time.RFC3339Nano): 1,
	} {
		d.get("/counts?"+query, &counts)
		require.Equal(t, want, counts[durable.ExecutionRunning], query)
	}
	require.Equal(t, http.StatusBadRequest, d.do("GET", "/counts?startedAfter=yesterday", "").Code)
}

// deadlined notes how long a write may take.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error { d.until = t; return nil }

// TestListDeadline: a client that takes nothing of a long list does not keep it in memory for ever.
func TestListDeadline(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	for _, path := range []string{"/executions", "/executions/order-1/operations", "/executions/order-1/history", "/executions/order-1/children"} {
		answer := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		d.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		require.Equal(t, http.StatusOK, answer.Code)
		require.WithinDuration(t, time.Now().Add(30*time.Second), answer.until, 10*time.Second, path)
	}
}
