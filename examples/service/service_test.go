//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const adminPassword = "only-for-this-test"

// process is the service as users start it.
type process struct {
	*testing.T
	cmd             *exec.Cmd
	url             string
	printed, logged text // on standard output, where mails go, and standard error
}

// text is what a process writes.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// program is the service, built.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	folder, err := os.MkdirTemp("", "durable-service-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "service")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

// start starts the service on a file and waits until it says where it is.
func start(t *testing.T, db string, env ...string) *process {
	t.Helper()
	p := &process{T: t, cmd: exec.Command(program, "-addr", "127.0.0.1:0", "-db", db)}
	p.cmd.Env = append(append(os.Environ(), "ADMIN_PASSWORD="+adminPassword), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.printed, &p.logged
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		if t.Failed() {
			t.Log(p.logged.String())
		}
	})
	p.url = p.says(`console: (http://\S+)/console/`)
	return p
}

// until asks again until the answer is yes: another process can only be asked.
func (p *process) until(what string, yes func() bool) {
	p.Helper()
	for deadline := time.Now().Add(time.Minute); !yes(); time.Sleep(20 * time.Millisecond) {
		require.True(p, time.Now().Before(deadline), "not within a minute: %s", what)
	}
}

// says waits for a text on standard output, and returns its first group.
func (p *process) says(pattern string) (found string) {
	p.Helper()
	p.until(pattern, func() bool {
		m := regexp.MustCompile(pattern).FindStringSubmatch(p.printed.String())
		if m != nil {
			found = m[1]
		}
		return m != nil
	})
	return found
}

// ask sends a request, with the password if there is one, and checks the status.
func (p *process) ask(status int, method, path, body, password string) string {
	p.Helper()
	if !strings.HasPrefix(path, "http://") {
		path = p.url + path
	}
	r, err := http.NewRequestWithContext(p.Context(), method, path, strings.NewReader(body))
	require.NoError(p, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if password != "" {
		r.SetBasicAuth("admin", password)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(p, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(p, err)
	require.Equal(p, status, answer.StatusCode, "%s %s: %s", method, path, text)
	return string(text)
}

func (p *process) order(body string) {
	p.Helper()
	p.ask(http.StatusAccepted, "POST", "/orders", body, "")
}

// becomes waits until an order has a status.
func (p *process) becomes(order, status string) (v view) {
	p.Helper()
	p.until(order+" "+status, func() bool {
		require.NoError(p, json.Unmarshal([]byte(p.ask(http.StatusOK, "GET", "/orders/"+order, "", "")), &v))
		return string(v.Status) == status
	})
	return v
}

func (p *process) kill() {
	p.Helper()
	require.NoError(p, p.cmd.Process.Kill())
	p.cmd.Wait()
}

// TestWalk goes the way of the README.
func TestWalk(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "service.db")
	p := start(t, db)

	// Orders; one waits for approval, which its address allows to everybody who has it.
	p.order(`{"id": "1001", "item": "lamp", "euros": 40}`)
	p.order(`{"id": "1001", "item": "lamp", "euros": 40}`) // once more: the same
	p.ask(http.StatusConflict, "POST", "/orders", `{"id": "1001", "item": "lamp", "euros": 41}`, "")
	p.order(`{"id": "1002", "item": "grand piano", "euros": 4500}`)
	require.JSONEq(t, `{"status": "shipped", "receipt": "receipt-1001"}`, string(p.becomes("1001", "SUCCEEDED").Result))
	callback := p.says(`(http://\S+/callbacks/\S+)/succeed`)
	require.NotContains(t, p.logged.String(), filepath.Base(callback), "an address of a callback in the log")
	p.ask(http.StatusNoContent, "POST", callback+"/succeed", `{"approved": true, "by": "the boss"}`, "")
	p.ask(http.StatusConflict, "POST", callback+"/succeed", `{"approved": false}`, "")
	require.JSONEq(t, `{"status": "shipped", "receipt": "receipt-1002", "approvedBy": "the boss"}`, string(p.becomes("1002", "SUCCEEDED").Result))

	// The provider breaks, an order fails after its attempts, and the figures say so.
	p.ask(http.StatusNoContent, "POST", "/broken/payment", "", adminPassword)
	p.order(`{"id": "1003", "item": "chair", "euros": 90}`)
	p.becomes("1003", "FAILED")
	metrics := p.ask(http.StatusOK, "GET", "/metrics", "", adminPassword)
	for _, line := range []string{
		`durable_errors_total{durable_function="payment",error_type="main.providerError"} 4`,
		`durable_execution_completed_total{durable_function="order",durable_status="FAILED"} 1`,
		`durable_execution_completed_total{durable_function="order",durable_status="SUCCEEDED"} 2`,
		"durable_store_size_bytes ", "go_goroutines ", "process_cpu_seconds_total ",
	} {
		require.Contains(t, metrics, "\n"+line)
	}
	require.NotContains(t, metrics, "1003", "an ID in the metrics")
	require.Contains(t, p.ask(http.StatusOK, "GET", "/admin/executions?status=FAILED", "", adminPassword), `"order-1003"`)

	// Mended, and retried twice: in vain first.
	p.ask(http.StatusCreated, "POST", "/admin/executions/order-1003/retry", `{"id": "again"}`, adminPassword)
	p.until("the retry fails too", func() bool {
		return strings.Contains(p.ask(http.StatusOK, "GET", "/admin/executions/again", "", adminPassword), `"FAILED"`)
	})
	p.ask(http.StatusNoContent, "DELETE", "/broken/payment", "", adminPassword)
	p.ask(http.StatusCreated, "POST", "/console/api/executions/again/retry", "", adminPassword)
	require.JSONEq(t, `{"status": "shipped", "receipt": "receipt-1003"}`, string(p.becomes("1003", "SUCCEEDED").Result))
	require.Equal(t, 1, strings.Count(p.logged.String(), "msg=reserved execution=order-1003"))
	require.Equal(t, 3, strings.Count(p.logged.String(), "msg=reserved"), "what succeeded did not run again")

	// Killed while one waits for its cool-off and one for the boss.
	p.order(`{"id": "1004", "item": "sofa", "euros": 999}`)
	second := p.says(`order 1004[^\n]*\n.*(http://\S+)/succeed`)
	p.order(`{"id": "1005", "item": "cup", "euros": 9}`)
	p.kill()
	q := start(t, db)
	q.becomes("1005", "SUCCEEDED")
	q.ask(http.StatusNoContent, "POST", "/callbacks/"+filepath.Base(second)+"/succeed", `{"approved": false, "by": "the boss"}`, "")
	require.JSONEq(t, `{"status": "declined"}`, string(q.becomes("1004", "SUCCEEDED").Result))
	require.NotContains(t, q.logged.String(), "msg=reserved execution=order-1004", "what is on disk runs again")

	// An end in good order: nobody is left, and nothing beside the file.
	q.order(`{"id": "1006", "item": "pen", "euros": 2}`)
	require.NoError(t, q.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, q.cmd.Wait(), "%s", q.logged.String())
	require.Contains(t, q.logged.String(), "the service has stopped")
	left, err := filepath.Glob(db + "*")
	require.NoError(t, err)
	require.Equal(t, []string{db}, left)
	start(t, db).becomes("1006", "SUCCEEDED")
}

// TestCommand looks and acts through the socket beside the file.
func TestCommand(t *testing.T) {
	t.Parallel()
	command := filepath.Join(t.TempDir(), "durable")
	build := exec.Command("go", "build", "-o", command, ".")
	build.Dir = "../../cmd/durable"
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("the durable command can't be built: %s", out)
	}
	db := filepath.Join(t.TempDir(), "service.db")
	p := start(t, db)
	durable := func(args ...string) string {
		out, err := exec.Command(command, append([]string{"--store", db}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
		return string(out)
	}
	p.order(`{"id": "1", "item": "grand piano", "euros": 4500}`)
	p.says(`(order 1,)`)
	require.Contains(t, durable("run", "show", "order-1"), "approval")
	durable("callback", "succeed", "order-1", "approval", `{"approved": true, "by": "me"}`)
	require.JSONEq(t, `{"status": "shipped", "receipt": "receipt-1", "approvedBy": "me"}`, durable("run", "result", "order-1"))
	p.ask(http.StatusNoContent, "POST", "/broken/payment", "", adminPassword)
	p.order(`{"id": "2", "item": "lamp", "euros": 40}`)
	p.becomes("2", "FAILED")
	require.Contains(t, durable("run", "list", "--status", "failed"), "order-2")
	require.Contains(t, durable("run", "show", "order-2"), "503 Service Unavailable")
	p.ask(http.StatusNoContent, "DELETE", "/broken/payment", "", adminPassword)
	again := strings.TrimSpace(durable("run", "retry", "order-2"))
	require.Contains(t, durable("run", "result", again), "receipt-2")
	p.becomes("2", "SUCCEEDED")
}

func TestPassword(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "service.db"))
	for _, closed := range []string{"GET /console/", "GET /console/api/executions", "GET /admin/executions", "GET /admin/stats", "GET /metrics", "POST /broken/payment", "DELETE /broken/payment", "POST /admin/executions"} {
		method, path, _ := strings.Cut(closed, " ")
		p.ask(http.StatusUnauthorized, method, path, "", "")
		p.ask(http.StatusUnauthorized, method, path, "", "x"+adminPassword)
	}
	for _, open := range []string{"/console/", "/console/api/executions", "/admin/executions", "/metrics"} {
		p.ask(http.StatusOK, "GET", open, "", adminPassword)
	}
	p.ask(http.StatusOK, "GET", "/healthz", "", "")
	p.ask(http.StatusNotFound, "POST", "/callbacks/nobody/succeed", "", "")
	p.ask(http.StatusNotFound, "GET", "/orders/nobody", "", "")
	p.ask(http.StatusNotFound, "GET", "/orders/no%20spaces", "", "")
	for _, wrong := range []string{`{`, `{}`, `{"id": "1", "item": "x", "euros": -1}`, `{"id": "no spaces", "item": "x", "euros": 1}`, `{"id": "1", "item": "x", "euros": 1, "price": 2}`} {
		p.ask(http.StatusBadRequest, "POST", "/orders", wrong, "")
	}

	// A page of another site, in a browser that knows the password.
	r, err := http.NewRequest("POST", p.url+"/broken/payment", nil)
	require.NoError(t, err)
	r.SetBasicAuth("admin", adminPassword)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusForbidden, answer.StatusCode)

	for _, short := range []string{"admin", "password", "changeme"} {
		require.ErrorContains(t, run(t.Context(), settings{password: short}), "at least 12")
	}
	made, err := newPassword("")
	require.NoError(t, err)
	other, err := newPassword("")
	require.NoError(t, err)
	require.NotEqual(t, made.digest, other.digest)
	r = httptest.NewRequest("GET", "/", nil)
	require.Error(t, made.authorize(r, 0))
	r.SetBasicAuth("admin", made.hint[strings.LastIndex(made.hint, " ")+1:])
	require.NoError(t, made.authorize(r, 0))
}

// TestTraces sends traces to where the usual variable says.
func TestTraces(t *testing.T) {
	t.Parallel()
	var received atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.URL.Path == "/v1/traces" {
			received.Add(int64(len(body)))
		}
	}))
	defer collector.Close()
	p := start(t, filepath.Join(t.TempDir(), "service.db"), "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	p.order(`{"id": "1", "item": "lamp", "euros": 40}`)
	p.becomes("1", "SUCCEEDED")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
	require.NotZero(t, received.Load())
}
