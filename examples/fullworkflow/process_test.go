//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// These tests run the program as a process of its own, and kill it.

// binary builds the program, once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "fullworkflow")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "fullworkflow"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// process is a running program.
type process struct {
	*exec.Cmd
	t      *testing.T
	stdout bytes.Buffer
	lines  chan string // of stderr
	seen   strings.Builder
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	p := &process{Cmd: exec.Command(path, args...), t: t, lines: make(chan string, 1000)}
	p.Stdout = &p.stdout
	stderr, err := p.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.Process.Kill() })
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// line waits for a line on stderr that matches a pattern and returns its groups.
func (p *process) line(pattern string) []string {
	p.t.Helper()
	expr := regexp.MustCompile(pattern)
	for line := range p.lines {
		p.seen.WriteString(line + "\n")
		if match := expr.FindStringSubmatch(line); match != nil {
			return match
		}
	}
	p.t.Fatalf("no line %q on stderr:\n%s", pattern, &p.seen)
	return nil
}

// end waits until the process has ended and returns its exit code, -1 if it was
// killed.
func (p *process) end() int {
	for line := range p.lines {
		p.seen.WriteString(line + "\n")
	}
	p.Wait()
	return p.ProcessState.ExitCode()
}

func (p *process) kill() {
	p.Process.Kill()
	p.end()
}

// callbackLine finds the callback's ID in what the program says in manual mode.
const callbackLine = `^    \S+ .*resume (\S+) success`

// TestKilledAtRandom kills the program again and again and starts it again until
// it ends. Whatever was recorded must stay as it was. The lives get longer, so that
// it gets on on a slow machine too.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	db, event := newDB(t), eventOf(20)
	encoded, err := json.Marshal(event)
	require.NoError(t, err)
	args := []string{"-db", db, "-input", writeFile(t, "event.json", string(encoded))}

	recorded := make(map[string]durable.Operation)
	var p *process
	var id string
	kills := 0
	for {
		p = start(t, args...)
		ended := make(chan int, 1)
		go func() { ended <- p.end() }()
		select {
		case code := <-ended:
			require.Zero(t, code, p.seen.String())
		case <-time.After(time.Duration(random.Int64N(int64(1500*time.Millisecond + time.Duration(kills)*20*time.Millisecond)))):
			p.Process.Kill()
			<-ended
			kills++
			id = checkOutcomes(t, db, id, recorded)
			continue
		}
		break
	}
	t.Logf("%d kills", kills)
	require.NotZero(t, kills)
	require.Equal(t, id, checkOutcomes(t, db, id, recorded))
	require.Contains(t, p.seen.String(), "Execution "+id)
	require.Contains(t, p.seen.String(), "goes on where it was")
	require.Contains(t, p.seen.String(), "replayed\n")

	var result workflow.Result
	require.NoError(t, json.Unmarshal(p.stdout.Bytes(), &result))
	requireComplete(t, result, id, event)
	require.GreaterOrEqual(t, result.TotalDuration, int64(12_000), "a wait was cut short")
	for i, item := range result.ProcessedItems {
		var step workflow.ProcessedItem
		require.NoError(t, json.Unmarshal(operationNamed(t, recorded, "processItem", i).Result, &step))
		require.Equal(t, step, item, "the result is not of what the steps returned")
	}
	require.NoFileExists(t, addressFile(db))
}

// checkOutcomes looks at a file that nobody runs on and checks that what had an
// outcome before has the same now. It returns the ID of the only execution of
// the workflow, "" if there is none yet.
func checkOutcomes(t *testing.T, db, id string, recorded map[string]durable.Operation) string {
	t.Helper()
	if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
		require.Empty(t, recorded)
		return ""
	}
	e, err := durable.Open(db, nil)
	require.NoError(t, err)
	defer e.Close()
	found := ""
	for info, err := range e.Executions(t.Context(), durable.Query{Function: workflow.Function.Name()}) {
		require.NoError(t, err)
		require.Empty(t, found, "there are two executions")
		found = info.ID
	}
	if found == "" {
		require.Empty(t, id)
		return ""
	}
	if id != "" {
		require.Equal(t, id, found)
	}
	ops, err := e.Operations(t.Context(), found)
	require.NoError(t, err)
	now := make(map[string]durable.Operation)
	for _, o := range ops {
		now[o.ID] = o
	}
	for operationID, before := range recorded {
		require.Equal(t, before, now[operationID], "an outcome changed")
	}
	outcomes := make(map[string]int)
	for ev, err := range e.History(t.Context(), found) {
		require.NoError(t, err)
		if ev.OperationID != "" && !strings.HasSuffix(ev.Type, "Started") && ev.NextAttemptDelay == 0 {
			outcomes[ev.OperationID]++
			require.Equal(t, 1, outcomes[ev.OperationID], "two outcomes of operation %s", ev.OperationID)
		}
	}
	for _, o := range ops {
		if !o.EndedAt.IsZero() {
			recorded[o.ID] = o
		}
	}
	return found
}

func operationNamed(t *testing.T, ops map[string]durable.Operation, prefix string, i int) durable.Operation {
	t.Helper()
	for _, o := range ops {
		if o.Name == fmt.Sprintf("%s-%d", prefix, i) {
			return o
		}
	}
	require.Fail(t, "no such operation", "%s-%d", prefix, i)
	return durable.Operation{}
}

func TestWholeRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := binary()
	require.NoError(t, err)
	cmd := exec.Command(path, "-quiet")
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run())
	require.Empty(t, stderr.String())
	var result workflow.Result
	d := json.NewDecoder(&stdout)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&result))
	event, err := workflow.ReadEvent("", nil)
	require.NoError(t, err)
	requireComplete(t, result, result.ExecutionID, event)
	require.Empty(t, strings.TrimSpace(stdout.String()), "there is more than the result")

	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, defaultDB, files[0].Name())

	// It can be had again, and its stages are all replayed.
	o := do(t, "-db", filepath.Join(dir, defaultDB), "-id", result.ExecutionID)
	require.Zero(t, o.code)
	require.Equal(t, len(workflow.Stages), strings.Count(o.stderr, "replayed\n"))
	var again workflow.Result
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &again))
	require.Equal(t, result, again)
}

func TestResumeWhileRunning(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := start(t, "-db", db, "-callback", "manual", "-id", "x")
	id := p.line(callbackLine)[1]

	address, err := os.Stat(addressFile(db))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), address.Mode())

	do(t, "-db", db).requireOneLine(t, 1, db, "in another process")
	do(t, "resume", "-db", db, "nonsense").requireOneLine(t, 1, "no such callback")
	history := do(t, "history", "-db", db)
	require.Zero(t, history.code)
	require.Contains(t, history.stdout, "CallbackStarted")
	require.NotContains(t, history.stdout, id)
	do(t, "history", "-db", db, "-id", "absent").requireOneLine(t, 1, "absent")

	require.Equal(t, outcome{stdout: "Recorded: the running program goes on.\n"}, do(t, "resume", "-db", db, id, "success", `{"by": "hand"}`))
	p.line(`^2/9 .*done in`)
	do(t, "resume", "-db", db, id, "failure", "too late").requireOneLine(t, 1, "already")

	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.Equal(t, exitInterrupted, p.end(), p.seen.String())
	require.Contains(t, p.seen.String(), "Suspended in stage 3 of 9")
	require.Contains(t, p.seen.String(), "-db "+db+" -id x -callback manual\n", "how to go on")
	require.Empty(t, p.stdout.String())
	require.NoFileExists(t, addressFile(db))
	require.Contains(t, operationResult(t, db, "x", "2"), `"by":"hand"`)
}

// TestUI looks at a run in the console, on the socket, and at its end once more.
func TestUI(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := start(t, "-db", db, "-id", "x", "-ui")
	console := p.line(`^    (http://127.0.0.1:\d+/\w{26}/)$`)[1]
	get := func(url, host string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		require.NoError(t, err)
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(body)
	}
	status, page := get(console, "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<html")
	status, list := get(console+"api/executions", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, list, `"id":"x"`)
	status, _ = get(console+"api/executions", "a.name.of.a.page.example")
	require.Equal(t, http.StatusForbidden, status)
	secret := strings.Split(console, "/")[3]
	status, _ = get(strings.Replace(console, secret, strings.Repeat("A", len(secret)), 1)+"api/executions", "")
	require.Equal(t, http.StatusNotFound, status, "another user of the machine, who does not know the address")

	p.line(`stays open until Ctrl-C`)
	conn, err := durablehttp.DialBeside(t.Context(), db)
	require.NoError(t, err, "for durable --store")
	conn.Close()
	status, list = get(console+"api/executions", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, list, `"SUCCEEDED"`)
	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.Zero(t, p.end(), p.seen.String())
	var result workflow.Result
	require.NoError(t, json.Unmarshal(p.stdout.Bytes(), &result))
	require.NoFileExists(t, db+".sock")

	// Of one that failed as well; and Ctrl-C in the middle is what it was.
	p = start(t, "-db", db, "-id", "y", "-ui", "-callback", "manual")
	id := p.line(callbackLine)[1]
	require.Zero(t, do(t, "resume", "-db", db, id, "failure", "not approved").code)
	p.line(`It has no result: execution y failed: .*not approved`)
	p.line(`stays open until Ctrl-C`)
	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.Equal(t, exitError, p.end(), p.seen.String())
	p = start(t, "-db", db, "-id", "z", "-ui", "-callback", "manual")
	p.line(callbackLine)
	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.Equal(t, exitInterrupted, p.end(), p.seen.String())
	require.Contains(t, p.seen.String(), "-id z -callback manual -ui\n", "how to go on")
}

func operationResult(t *testing.T, db, executionID, operationID string) string {
	t.Helper()
	e, err := durable.Open(db, nil)
	require.NoError(t, err)
	defer e.Close()
	ops, err := e.Operations(t.Context(), executionID)
	require.NoError(t, err)
	for _, o := range ops {
		if o.ID == operationID {
			return string(o.Result)
		}
	}
	return ""
}

func TestResumeAfterKill(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	args := []string{"-db", db, "-callback", "manual"}
	p := start(t, args...)
	id := p.line(callbackLine)[1]
	p.kill()
	require.FileExists(t, addressFile(db), "it had no time to remove it")

	require.Contains(t, do(t, "history", "-db", db).stdout, "CallbackStarted")
	again := start(t, args...)
	require.Equal(t, id, again.line(callbackLine)[1], "the ID is the same in the next process")
	again.kill()

	resumed := do(t, "resume", "-db", db, id, "success", "fine by me")
	require.Zero(t, resumed.code, resumed.stderr)
	require.Contains(t, resumed.stdout, "Go on with")
	do(t, "resume", "-db", db, id).requireOneLine(t, 1, "already completed")

	p = start(t, args...)
	p.line("goes on where it was")
	p.line(`^1/9 .*replayed`)
	p.line(`^2/9 .*done in`)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitInterrupted, p.end())
	require.Equal(t, `"fine by me"`, operationResult(t, db, onlyExecution(t, db), "2"))
}

func onlyExecution(t *testing.T, db string) string {
	t.Helper()
	id := checkOutcomes(t, db, "", make(map[string]durable.Operation))
	require.NotEmpty(t, id)
	return id
}

// TestInterruptedEarly interrupts the program at many moments of its beginning.
func TestInterruptedEarly(t *testing.T) {
	t.Parallel()
	interrupt := os.Interrupt
	if signal.Ignored(interrupt) { // as in the background of a shell's script; the program would inherit it
		interrupt = syscall.SIGTERM
	}
	for i := range 8 {
		db := newDB(t)
		p := start(t, "-db", db)
		time.AfterFunc(time.Duration(i)*5*time.Millisecond, func() { p.Process.Signal(interrupt) })
		if code := p.end(); code != exitInterrupted {
			require.Equal(t, -1, code, "%s", p.seen.String()) // before it could take the signal
			continue
		}
		require.Empty(t, p.stdout.String())
	}
}

// TestStaleAddress resumes on a locked file beside which an old address lies.
func TestStaleAddress(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	id := begin(t, db, "x")
	require.NoError(t, os.WriteFile(addressFile(db), []byte("http://127.0.0.1:1/OLD\n"), 0o600))
	var o outcome
	for range 5 { // the machine may be too slow to unlock it while resume waits
		e, err := durable.Open(db, nil)
		require.NoError(t, err)
		unlocked := make(chan error, 1)
		time.AfterFunc(200*time.Millisecond, func() { unlocked <- e.Shutdown(context.Background()) })
		o = do(t, "resume", "-db", db, id)
		require.NoError(t, <-unlocked)
		if o.code == 0 {
			break
		}
	}
	require.Zero(t, o.code, o.stderr)
	require.Contains(t, o.stdout, "Recorded in "+db)
}

// requireComplete checks that r is the result of an event, with something of
// every stage. The tests of package workflow look at the rest.
func requireComplete(t *testing.T, r workflow.Result, executionID string, event workflow.Event) {
	t.Helper()
	require.Equal(t, event.WorkflowID, r.WorkflowID)
	require.Equal(t, executionID, r.ExecutionID)
	require.Len(t, r.ProcessedItems, len(event.InputData.Items))
	for i, item := range r.ProcessedItems {
		require.Equal(t, "processed-"+event.InputData.Items[i], item.TransformedData)
	}
	require.Len(t, r.ParallelResults, 3)
	require.NotEmpty(t, r.CallbackResult)
	require.Equal(t, 3, r.AdvancedOperations.Condition.Attempts)
	require.Equal(t, "Hello, DurableExecution-"+executionID+"!", r.AdvancedOperations.Invoke.Greeting)
	require.True(t, r.AdvancedOperations.ChildContext.Validation.Valid)
	require.EqualValues(t, 1, r.SuccessRate)
}
