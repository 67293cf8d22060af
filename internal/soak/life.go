package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// life is one process, seen from outside.
type life struct {
	*World
	n      int
	moment moment // of a life on a file
	build  int    // of a process of a fleet
	asked  bool   // to shut down

	cmd   *exec.Cmd
	start func(*exec.Cmd) error // nil: its own
	in    io.Writer
	gone  chan struct{} // closed when the process has ended

	// Under the world's lock.
	ready    bool
	over     bool
	requests map[int]request
	sent     int
}

// run starts a process and hears it until it has ended, and calls over then, with the
// world locked.
func (l *life) run(o Orders, over func(err error, said string)) error {
	settings, err := json.Marshal(o)
	if err != nil {
		return err
	}
	l.cmd.Env = append(os.Environ(), ChildVariable+"="+string(settings))
	var stderr bytes.Buffer
	l.cmd.Stderr = &stderr
	out, err := l.cmd.StdoutPipe()
	if err == nil {
		l.in, err = l.cmd.StdinPipe()
	}
	switch {
	case err != nil:
	case l.start != nil:
		err = l.start(l.cmd)
	default:
		err = l.cmd.Start()
	}
	if err != nil {
		return err
	}
	l.gone = make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var m message
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				panic(fmt.Sprintf("a process says %q: %v", lines.Text(), err))
			}
			l.mu.Lock()
			l.hear(m)
			l.mu.Unlock()
		}
		err := l.cmd.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over, l.ready = true, false
		over(err, stderr.String())
		close(l.gone)
	}()
	return nil
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

// ask sends a request, in a fleet to any process. Nothing is known of it before its
// answer comes.
func (l *life) ask(r request) {
	if l.fleet != nil {
		if l = l.anyReady(); l == nil {
			return // the next one that is asks for everything
		}
	}
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
		if !l.over || l.fleet != nil {
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
		} else if l.fleet != nil {
			l.again(r)
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
			if ended++; x.result != "" && (l.ending || rng.IntN(len(l.order)) < 5) {
				l.result(x)
			}
			continue
		case !x.acknowledged:
			l.begin(x)
			continue
		}
		l.result(x)
		if x.callback != "" && x.delivered == "" && (l.ending || rng.IntN(2) == 0) {
			l.complete(x)
		}
		l.later(time.Duration(rng.IntN(20))*time.Millisecond, func() { l.steer(x) })
	}
	for n := len(l.order) - ended; !l.ending && n < l.Width; n++ {
		l.begin(l.add())
	}
	l.maybeEnd()
}

func (l *life) interrupt() { l.cmd.Process.Signal(os.Interrupt) }

// maybeEnd ends the last process when all has ended.
func (l *life) maybeEnd() {
	if !l.ending || len(l.running()) > 0 || l.fleet == nil && len(l.requests) > 0 {
		return
	}
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
}

// called learns the ID of a callback.
func (l *life) called(x *asked, id string) {
	if shaky := x.shaky; l.hears(x) || shaky {
		x.callback = "" // it may be another execution
	}
	if x.callback != "" && x.callback != id {
		l.violate(ruleCallback, "%s: its callback has another ID than before", x.id)
	}
	x.callback = id
	rng := l.random("callback "+x.id, l.n)
	switch p := rng.IntN(10); {
	case x.delivered != "":
	case p < 4:
		l.complete(x)
	case p < 8 || l.ending && x.function != "race":
		l.later(time.Duration(rng.IntN(30))*time.Millisecond, func() { l.complete(x) })
	}
}

// answered learns what became of a request.
func (l *life) answered(r request, m message) {
	delete(l.requests, m.N)
	x := l.executions[r.Execution]
	if l.fleet != nil && unreachable.MatchString(m.Error) {
		l.again(r) // perhaps it is done
		return
	}
	inDoubt := l.hears(x)
	unexpected := func() {
		if l.wasLost(r, x, m.Error) {
			return
		}
		l.violate(ruleAnswer, "life %d: %s %s: %s", l.n, r.Do, x.id, m.Error)
		x.finished = true
	}
	switch r.Do {
	case "start":
		if m.Error != "" {
			unexpected()
			break
		}
		l.Figures.starts++
		x.acknowledged, x.mayGo = true, x.mayGo || inDoubt
		l.result(x)
		l.later(time.Duration(x.input%20)*time.Millisecond, func() { l.steer(x) })
	case "cancel", "stop":
		if m.Error != "" {
			unexpected()
			break
		}
		l.Figures.steers++
		x.steered, x.doubts.steer = true, inDoubt
	case "succeed", "fail":
		switch m.Error {
		case "":
			l.Figures.callbacks++
			if x.delivered != "" {
				l.violate(ruleCallback, "%s: two outcomes were acknowledged: %s and %s", x.id, x.delivered, r.Payload)
			}
			x.delivered, x.doubts.callback = r.Payload, inDoubt
		case "completed":
			if len(x.tried) == 1 && x.function != "race" {
				l.violate(ruleCallback, "%s: told to be completed, and nobody had tried", x.id)
			}
			x.refused = true
		default:
			unexpected()
		}
	case "result":
		l.resulted(r, x, m)
	}
	l.maybeEnd()
}

func (l *life) resulted(r request, x *asked, m message) {
	l.Figures.results++
	result := given(m.Error, m.Values)
	switch {
	case m.Error != expected[x.function] && l.wasLost(r, x, m.Error):
		return
	case m.Error != expected[x.function]:
		l.violate(ruleAnswer, "life %d: result of %s: %s", l.n, x.id, m.Error)
	case x.result != "" && x.result != result:
		l.violate(ruleResult, "%s: life %d gave %s, life %d gives %s", x.id, x.life, x.result, l.n, result)
	case x.function == "late" && l.fleet == nil && time.Since(x.first) < lateAfter: // of a fleet its records tell, see checkJournal
		l.violate(ruleEarly, "%s: timed out %s after it was asked for", x.id, time.Since(x.first))
	}
	if x.result == "" {
		x.result, x.life, x.doubts.result = result, l.n, l.doubtful
		(&witness{l.witness.f, l.n}).say(line{Kind: heard, Execution: x.id})
	}
	if !x.finished && !l.ending && l.ready {
		l.begin(l.add())
	}
	x.finished = true
}

// given is a result as it is compared.
func given(failure string, values []string) string { return failure + " " + strings.Join(values, ",") }

// unreachable tells of errors of a database to which something was done.
var unreachable = regexp.MustCompile(`database can't be reached|not known whether the database|failed to connect|unexpected EOF|connection re|deadline exceeded|broken pipe|conn closed|SQLSTATE (57P|25P03|08)`)

// again makes a request of a fleet once more, after a while.
func (l *life) again(r request) {
	l.Figures.unanswered++
	x := l.executions[r.Execution]
	l.later(50*time.Millisecond, func() {
		switch {
		case r.Do == "start" && !x.acknowledged:
			l.begin(x)
		case r.Do == "result" && !x.finished:
			l.result(x)
		case r.Callback != "" && x.delivered == "":
			l.complete(x)
		default:
			l.steer(x)
		}
	})
}
