package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// life is one process, seen from outside.
type life struct {
	*world
	n      int
	last   bool
	moment moment
	dir    string

	cmd *exec.Cmd
	in  io.Writer

	// Under the world's lock.
	ready    bool
	over     bool
	requests map[int]request
	sent     int
}

// live runs one process until it is dead, or the last one until all has ended.
func (w *world) live(t *testing.T, dir string, n int, last bool) {
	l := &life{world: w, n: n, last: last, dir: dir, requests: make(map[int]request)}
	o := orders{Dir: dir, Life: n, Plant: w.plant, Parked: time.Duration(1+n%4*3) * time.Millisecond}
	if !last {
		l.moment = w.moment(n)
		o.Point = l.moment.point
	}
	if _, err := os.Stat(storePath(dir) + "-wal"); err == nil {
		w.figures.recoveries++
	}
	settings, err := json.Marshal(o)
	require.NoError(t, err)
	l.cmd = exec.Command(os.Args[0])
	l.cmd.Env = append(os.Environ(), childVariable+"="+string(settings))
	var stderr bytes.Buffer
	l.cmd.Stderr = &stderr
	out, err := l.cmd.StdoutPipe()
	require.NoError(t, err)
	l.in, err = l.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, l.cmd.Start())
	if l.moment.phase == "starting" {
		l.killAfter(l.moment.after)
	}
	if last {
		defer time.AfterFunc(w.patience, l.kill).Stop()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var m message
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m), lines.Text())
		l.mu.Lock()
		l.hear(m)
		l.mu.Unlock()
	}
	require.NoError(t, lines.Err())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	err = l.cmd.Wait()
	switch {
	case err == nil && (last || l.moment.then > 0):
		w.shutDown[n] = true
		if !last {
			w.figures.ended++
		}
	case l.wasKilled() && stderr.Len() == 0:
		if last {
			for _, x := range w.running() {
				w.violate(ruleEnds, "%s: nothing was heard of its end in %s", x.id, w.patience)
			}
			return
		}
		w.figures.kills[l.moment.phase]++
	default:
		w.violate(ruleProcess, "life %d (%s): %v\n%s", n, l.moment, err, &stderr)
	}
}

// wasKilled reports whether the process ended by the signal of the plan.
func (l *life) wasKilled() bool { return strings.Contains(l.cmd.ProcessState.String(), "killed") }

func (l *life) kill() {
	l.cmd.Process.Kill() // it may be dead
}

// killAfter kills the process, maybe with a burst of requests on their way to it.
func (l *life) killAfter(d time.Duration) {
	time.AfterFunc(d, func() {
		if !l.moment.burst {
			l.kill()
			return
		}
		time.AfterFunc(d%(300*time.Microsecond), l.kill)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.burst()
	})
}

// burst asks for everything at once.
func (l *life) burst() {
	if !l.ready || l.over {
		return
	}
	for _, x := range l.running() {
		if x.callback != "" && x.delivered == "" {
			l.complete(x)
		}
		l.steer(x)
	}
	l.begin(l.add())
}

// ask sends a request. Nothing is known of it before its answer comes.
func (l *life) ask(r request) {
	l.sent++
	r.N = l.sent
	l.requests[r.N] = r
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	l.in.Write(append(b, '\n')) // the process may be dead
}

// later asks in a while, if the process lives then.
func (l *life) later(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.over {
			f()
		}
	})
}

func (l *life) begin(x *asked) {
	l.ask(request{Do: "start", Execution: x.id, Function: x.function, Input: x.input})
}

func (l *life) result(x *asked) {
	l.ask(request{Do: "result", Execution: x.id, Function: x.function})
}

func (l *life) steer(x *asked) {
	if do := steering[x.function]; do != "" && x.acknowledged && !x.steered {
		l.ask(request{Do: do, Execution: x.id})
	}
}

func (l *life) complete(x *asked) { l.ask(x.next(l.random("outcome "+x.id, len(x.tried)))) }

// hear takes a message of the process in.
func (l *life) hear(m message) {
	switch m.Say {
	case "opening":
		if l.moment.phase == "opening" || l.moment.phase == "making" {
			l.killAfter(l.moment.after)
		}
	case "ready":
		l.ready = true
		l.goOn()
	case "callback":
		l.called(l.executions[m.Execution], m.Callback)
	case "answer":
		r := l.requests[m.N]
		if m.Error != "closed" {
			l.answered(r, m)
		}
	default:
		panic(m.Say)
	}
}

// goOn is what the outside does when a process is ready.
func (l *life) goOn() {
	switch m := l.moment; {
	case m.then > 0:
		time.AfterFunc(m.after, func() {
			l.interrupt()
			l.killAfter(m.then)
		})
	case m.phase == "running" || m.phase == "point":
		l.killAfter(m.after)
	}
	rng := l.random("going on", l.n)
	ended := 0
	for _, x := range l.order {
		switch {
		case x.finished:
			// What was given once is asked for again.
			if ended++; x.result != "" && (l.last || rng.IntN(len(l.order)) < 5) {
				l.result(x)
			}
			continue
		case !x.acknowledged:
			l.begin(x)
			continue
		}
		l.result(x)
		if x.callback != "" && x.delivered == "" && (l.last || rng.IntN(2) == 0) {
			l.complete(x)
		}
		l.later(time.Duration(rng.IntN(20))*time.Millisecond, func() { l.steer(x) })
	}
	for n := len(l.order) - ended; !l.last && n < l.width; n++ {
		l.begin(l.add())
	}
	l.maybeEnd()
}

func (l *life) interrupt() { l.cmd.Process.Signal(os.Interrupt) }

// maybeEnd ends the last process when all has ended.
func (l *life) maybeEnd() {
	if l.last && len(l.running()) == 0 && len(l.requests) == 0 {
		l.interrupt()
	}
}

// called learns the ID of a callback.
func (l *life) called(x *asked, id string) {
	if x.callback != "" && x.callback != id {
		l.violate(ruleCallback, "%s: its callback has another ID than before", x.id)
	}
	x.callback = id
	rng := l.random("callback "+x.id, l.n)
	switch p := rng.IntN(10); {
	case x.delivered != "":
	case p < 4:
		l.complete(x)
	case p < 8 || l.last && x.function != "race":
		l.later(time.Duration(rng.IntN(30))*time.Millisecond, func() { l.complete(x) })
	}
}

// answered learns what became of a request.
func (l *life) answered(r request, m message) {
	delete(l.requests, m.N)
	x := l.executions[r.Execution]
	unexpected := func() {
		l.violate(ruleAnswer, "life %d: %s %s: %s", l.n, r.Do, x.id, m.Error)
		x.finished = true
	}
	switch r.Do {
	case "start":
		if m.Error != "" {
			unexpected()
			break
		}
		l.figures.starts++
		x.acknowledged = true
		l.result(x)
		l.later(time.Duration(x.input%20)*time.Millisecond, func() { l.steer(x) })
	case "cancel", "stop":
		if m.Error != "" {
			unexpected()
			break
		}
		l.figures.steers++
		x.steered = true
	case "succeed", "fail":
		switch m.Error {
		case "":
			l.figures.callbacks++
			if x.delivered != "" {
				l.violate(ruleCallback, "%s: two outcomes were acknowledged: %s and %s", x.id, x.delivered, r.Payload)
			}
			x.delivered = r.Payload
		case "completed":
			if len(x.tried) == 1 && x.function != "race" {
				l.violate(ruleCallback, "%s: told to be completed, and nobody had tried", x.id)
			}
			x.refused = true
		default:
			unexpected()
		}
	case "result":
		l.resulted(x, m)
	}
	l.maybeEnd()
}

func (l *life) resulted(x *asked, m message) {
	l.figures.results++
	result := given(m.Error, m.Values)
	switch {
	case m.Error != expected[x.function]:
		l.violate(ruleAnswer, "life %d: result of %s: %s", l.n, x.id, m.Error)
	case x.result != "" && x.result != result:
		l.violate(ruleResult, "%s: life %d gave %s, life %d gives %s", x.id, x.life, x.result, l.n, result)
	case x.function == "late" && time.Since(x.first) < lateAfter:
		l.violate(ruleEarly, "%s: timed out %s after it was asked for", x.id, time.Since(x.first))
	}
	if x.result == "" {
		x.result, x.life = result, l.n
	}
	if !x.finished && !l.last && l.ready {
		l.begin(l.add())
	}
	x.finished = true
}

// given is a result as it is compared.
func given(failure string, values []string) string { return failure + " " + strings.Join(values, ",") }
