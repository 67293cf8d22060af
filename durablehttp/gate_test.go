package durablehttp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durablehttp"
)

// everyRequest is a request for each route, none of which changes anything that another
// one needs.
func everyRequest() (requests [][3]string) {
	for _, r := range durablehttp.Routes() {
		path := strings.NewReplacer("{id}", "order-1", "{operation}", "approval").Replace(r.Path)
		requests = append(requests, [3]string{r.Method, path, r.Access.String()})
	}
	return requests
}

func TestWithoutAuthorizer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, &durablehttp.AdminOptions{})
	require.Contains(t, d.log.String(), "AdminOptions.Authorize")
	for _, request := range everyRequest() {
		requireProblem(t, d.do(request[0], request[1], ""), http.StatusInternalServerError, "no_authorizer")
	}
	requireProblem(t, d.do("GET", "/nowhere", ""), http.StatusInternalServerError, "no_authorizer")
	for name, h := range map[string]http.Handler{"Inspect": durablehttp.Inspect(d.engine, nil), "Steer": durablehttp.Steer(d.engine, nil)} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/executions", nil))
		require.Equal(t, http.StatusInternalServerError, w.Code, name)
	}
}

// TestAuthorize checks that each route asks for the access that it is for, and does
// nothing when the authorizer says no.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	var asked []string
	var answer error
	d := newDesk(t, &durablehttp.AdminOptions{Authorize: func(_ *http.Request, a durablehttp.Access) error {
		asked = append(asked, a.String())
		return answer
	}})
	d.waiting("order-1")
	state := func() string {
		return d.do("GET", "/executions/order-1/operations?payloads=true", "").Body.String() + d.do("GET", "/counts", "").Body.String()
	}
	before := state()

	for _, refused := range []struct {
		err    error
		status int
		code   string
	}{
		{errors.New("the token " + secret + " is wrong"), http.StatusForbidden, "forbidden"},
		{errors.Join(errors.New("no "+secret), durablehttp.ErrUnauthenticated), http.StatusUnauthorized, "unauthorized"},
	} {
		answer = refused.err
		for _, request := range everyRequest() {
			asked = nil
			w := d.do(request[0], request[1], "", "Content-Type", "application/json")
			requireProblem(t, w, refused.status, refused.code)
			require.Equal(t, []string{request[2]}, asked)
			require.NotContains(t, w.Body.String(), secret)
			require.Equal(t, refused.status == http.StatusUnauthorized, w.Header().Get("WWW-Authenticate") == `Basic realm="durable"`)
		}
	}
	answer = nil
	require.Equal(t, before, state())
	require.NotContains(t, d.log.String(), secret)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t, &durablehttp.AdminOptions{Authorize: allow, ReadOnly: true})
	inspect := &desk{t: t, handler: durablehttp.Inspect(d.engine, &durablehttp.AdminOptions{Authorize: allow})}
	steer := &desk{t: t, handler: durablehttp.Steer(d.engine, &durablehttp.AdminOptions{Authorize: allow, ReadOnly: true})}
	for _, r := range everyRequest() {
		if r[2] != "steering" {
			continue
		}
		for _, d := range []*desk{d, inspect, steer} {
			w := d.do(r[0], r[1], "")
			require.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, w.Code, r)
		}
	}
	var about struct{ ReadOnly bool }
	d.get("/about", &about)
	require.True(t, about.ReadOnly)
	w := steer.do("GET", "/executions", "")
	require.Equal(t, http.StatusNotFound, w.Code)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	open := newDesk(t, &durablehttp.AdminOptions{AllowUnauthenticated: true})
	named := newDesk(t, &durablehttp.AdminOptions{AllowUnauthenticated: true, Hosts: []string{"ops.example.com:8443", "box"}})
	any := newDesk(t, nil)
	both := newDesk(t, &durablehttp.AdminOptions{Authorize: allow, AllowUnauthenticated: true})
	for _, c := range []struct {
		desk  *desk
		host  string
		serve bool
	}{
		{open, "localhost", true}, {open, "localhost:8080", true}, {open, "LOCALHOST", true}, {open, "127.0.0.1:80", true}, {open, "[::1]:8080", true}, {open, "[::1]", true},
		{open, "example.com", false}, {open, "localhost.example.com", false}, {open, "localhost:80:80", false}, {open, "127.0.0.2", false}, {open, "", false}, {open, "::1", false}, {open, "[::1", false}, {open, "localhost.", false}, {open, "192.168.1.5:8080", false},
		{named, "ops.example.com:8443", true}, {named, "box:1", true}, {named, "box", true}, {named, "ops.example.com", false}, {named, "ops.example.com:80", false}, {named, "localhost", false},
		{any, "example.com", true}, {any, "", true}, {both, "example.com", true},
	} {
		for _, method := range []string{"GET", "POST"} {
			w := c.desk.do(method, "/executions", `{"function":"pay","input":{}}`, "Host", c.host)
			if c.serve {
				require.Less(t, w.Code, 300, c.host)
			} else {
				requireProblem(t, w, http.StatusForbidden, "forbidden")
			}
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	d := newDesk(t, &durablehttp.AdminOptions{AllowUnauthenticated: true, Origins: []string{"https://ops.example.com", "not an origin"}})
	require.Contains(t, d.log.String(), "not an origin")
	for name, c := range map[string]struct {
		header []string
		serve  bool
	}{
		"NoBrowser":        {nil, true},
		"SameOrigin":       {[]string{"Origin", "http://localhost:8080", "Sec-Fetch-Site", "same-origin"}, true},
		"OldSameOrigin":    {[]string{"Origin", "http://localhost:8080"}, true},
		"TypedByUser":      {[]string{"Sec-Fetch-Site", "none"}, true},
		"Allowed":          {[]string{"Origin", "https://ops.example.com", "Sec-Fetch-Site", "cross-site"}, true},
		"OtherOrigin":      {[]string{"Origin", "https://evil.example.com"}, false},
		"OtherPort":        {[]string{"Origin", "http://localhost:9090"}, false},
		"OtherScheme":      {[]string{"Origin", "http://ops.example.com"}, false},
		"Null":             {[]string{"Origin", "null"}, false},
		"CrossSite":        {[]string{"Origin", "https://evil.example.com", "Sec-Fetch-Site", "cross-site"}, false},
		"SameSite":         {[]string{"Origin", "http://evil.localhost:8080", "Sec-Fetch-Site", "same-site"}, false},
		"CrossSiteNoOrgin": {[]string{"Sec-Fetch-Site", "cross-site"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			header := append([]string{"Host", "localhost:8080"}, c.header...)
			for _, r := range []struct{ method, path, body string }{
				{"POST", "/executions", `{"function":"pay","input":{}}`}, {"POST", "/executions/none/stop", ""}, {"DELETE", "/executions/none", ""},
			} {
				w := d.do(r.method, r.path, r.body, header...)
				if c.serve {
					require.NotEqual(t, http.StatusForbidden, w.Code, w.Body.String())
				} else {
					requireProblem(t, w, http.StatusForbidden, "forbidden")
				}
			}
			require.Equal(t, http.StatusOK, d.do("GET", "/executions", "", header...).Code)
		})
	}
}

// TestHidePayloads looks for the secret in everything that can be read, and finds it
// only where it is asked for.
func TestHidePayloads(t *testing.T) {
	t.Parallel()
	var payloads error
	d := newDesk(t, &durablehttp.AdminOptions{HidePayloads: true, Authorize: func(_ *http.Request, a durablehttp.Access) error {
		if a == durablehttp.Payloads {
			return payloads
		}
		return nil
	}}, holds)
	d.waiting("order-1")
	d.post("/executions", `{"function":"pay","id":"order-2","input":{"item":"nothing `+secret+`"}}`, http.StatusCreated)
	_, err := d.ended("order-2")
	require.Error(t, err)
	id := d.post("/executions", `{"function":"buy","id":"order-3","input":{"item":"cup"}}`, http.StatusCreated)
	_, err = d.engine.CallbackID(t.Context(), id, "approval")
	require.NoError(t, err)
	d.post("/executions/order-3/callbacks/approval/fail", `{"type":"No","message":"m `+secret+`","data":["`+secret+`"]}`, http.StatusNoContent)
	_, err = d.ended("order-3")
	require.Error(t, err)
	d.post("/executions", `{"function":"holds","id":"order-4","input":"`+secret+`"}`, http.StatusCreated)
	for held := false; !held; {
		info, err := d.engine.Describe(t.Context(), "order-4")
		require.NoError(t, err)
		if held = info.Held != nil; held {
			require.Contains(t, info.Held.Message, secret)
		}
		runtime.Gosched()
	}

	shown := 0
	for _, r := range everyRequest() {
		if r[2] != "reading" || r[1] == "/events" || r[1] == "/openapi.json" {
			continue
		}
		for _, id := range []string{"order-1", "order-2", "order-3", "order-4"} {
			path := strings.NewReplacer("order-1", id, "approval", "1").Replace(r[1])
			if strings.HasSuffix(path, "/events") && (id == "order-1" || id == "order-4") {
				continue // goes on
			}
			require.NotContains(t, d.do("GET", path, "").Body.String(), secret, path)
			w := d.do("GET", path+"?payloads=false", "")
			require.NotContains(t, w.Body.String(), secret, path)
			payloads = errors.New("not you")
			w = d.do("GET", path+"?payloads=true", "")
			require.NotContains(t, w.Body.String(), secret, path)
			payloads = nil
			if strings.Contains(d.do("GET", path+"?payloads=true", "").Body.String(), secret) {
				requireProblem(t, w, http.StatusForbidden, "forbidden")
				shown++
			}
		}
	}
	require.Greater(t, shown, 15, "the secret is there to be found")
	requireProblem(t, d.do("GET", "/executions/order-3/recording", ""), http.StatusForbidden, "payloads_hidden")
	requireProblem(t, d.do("GET", "/executions/order-3/result", ""), http.StatusForbidden, "payloads_hidden")
	require.NotContains(t, d.log.String(), secret)
}

// TestNoCallbackIDs looks for callback IDs in every answer.
func TestNoCallbackIDs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	callbackID, err := d.engine.CallbackID(t.Context(), "order-1", "approval")
	require.NoError(t, err)
	for range 2 { // while it waits, and when it has ended
		for _, r := range everyRequest() {
			if r[2] != "reading" || strings.HasSuffix(r[1], "/events") || r[1] == "/openapi.json" {
				continue
			}
			body := d.do("GET", r[1], "").Body.String() + d.do("GET", strings.Replace(r[1], "approval", "3", 1)+"?payloads=true", "").Body.String()
			require.NotContains(t, body, callbackID)
			require.NotContains(t, body, "callbackId")
			require.NotContains(t, body, `"cb-`)
		}
		require.NoError(t, d.engine.Stop(t.Context(), "order-1", ""))
		events := d.do("GET", "/executions/order-1/events", "").Body.String()
		require.Contains(t, events, "CallbackStarted")
		require.NotContains(t, events, `"cb-`)
	}
	require.NotContains(t, d.log.String(), callbackID)
}
