package invocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// program is a handler that orders are explored of, and how it may end.
type program struct {
	name       string
	run        func(m *memory, c Context) Return
	want       []string // results
	cancel     bool     // a cancel may come, once
	retire     bool     // the host may shut down, once
	unanswered bool     // nobody completes callbacks
	park       bool     // it stays in memory while it waits
}

func (p *program) parkFor() time.Duration {
	if p.park {
		return time.Hour
	}
	return -1
}

const minute = time.Minute

// The vocabulary of programs.

func ok(v any) Return { return Return{Payload: []byte(fmt.Sprint(v))} }

func failed(err error) Return {
	f, ok := errors.AsType[*Failed](err)
	if !ok {
		return Return{Failure: &fault.Failure{Type: "error", Message: err.Error()}}
	}
	return Return{Failure: f.Failure}
}

// ended is what code returns that got err, or v without one.
func ended(v any, err error) Return {
	if err != nil {
		return failed(err)
	}
	return ok(v)
}

// effect is a body that returns a value, or fails so often before.
type effect struct {
	m     *memory
	value string
	fails int
}

// Begin checks that all is durable that the body's code could have seen: what stands before
// it in its context, and what had come before the contexts around it began.
func (e *effect) Begin(ctx context.Context, i *Info) context.Context {
	durable := uint64(len(e.m.records))
	for o := i.o; o.Up != nil; o = o.Up {
		for at := position(o) - 1; at > 0; at-- {
			prefix := ""
			if o.Up.ID != "" {
				prefix = o.Up.ID + "-"
			}
			before := i.x.ops[prefix+strconv.Itoa(at)]
			if before != nil && before.Noted && before.EndSeq > durable && (o == i.o || before.EndSeq < o.FirstSeq) {
				e.m.failed("the body of %s began, and the outcome of %s is not durable", i.o.ID, before.ID)
			}
		}
	}
	for _, rec := range e.m.records {
		if rec.OperationID == i.o.ID && rec.Type == checkpoint.StepSucceeded && rec.WakeAt == 0 {
			e.m.failed("the body of %s began, which has an outcome", i.o.ID)
		}
	}
	return ctx
}

func position(o *history.Operation) int {
	n, _ := strconv.Atoi(o.ID[len(o.ID)-len(lastPart(o.ID)):])
	return n
}

func lastPart(id string) string {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] == '-' {
			return id[i+1:]
		}
	}
	return id
}

func (e *effect) Call(_ context.Context, i *Info) Attempt {
	if int(i.Number) <= e.fails {
		return Attempt{Err: errors.New("attempt " + strconv.Itoa(int(i.Number)))}
	}
	return Attempt{Payload: []byte(e.value)}
}

func (e *effect) End(_ context.Context, i *Info, a Attempt) Attempt {
	if a.Err != nil && !a.Recorded() {
		return e.Judge(a.Err, int(i.Failures))
	}
	return a
}

func (e *effect) Judge(err error, failures int) Attempt {
	return Attempt{Err: err, Failure: &fault.Failure{Type: "error", Message: err.Error()}, Again: failures < 3, Delay: time.Second}
}

// poll is a condition that is met at the third check.
type poll struct{ effect }

func (p *poll) Call(_ context.Context, i *Info) Attempt {
	n, _ := strconv.Atoi(string(i.State))
	a := Attempt{Payload: []byte(strconv.Itoa(n + 1))}
	if n+1 < 3 {
		a.GoesOn, a.Delay = true, time.Second
	}
	return a
}

func stepOf(c Context, m *memory, name string, s Settings, b Body) (string, error) {
	s.Codec = "json"
	out, err := c.Steps(checkpoint.Step, name, &s, b)
	if err != nil {
		return "", err
	}
	defer c.Leave()
	return string(out.Payload), nil
}

func step(c Context, m *memory, value string) (string, error) {
	return stepOf(c, m, "s", Settings{}, &effect{m: m, value: value})
}

func child(c Context, s Settings, code Code) (string, error) {
	s.Codec = "json"
	out, err := c.Child(checkpoint.RunInChildContext, "c", &s, code)
	if err != nil {
		return "", err
	}
	defer c.Leave()
	return string(out.Payload), nil
}

func goes(c Context, code Code) (Pending, Code) {
	return c.Go("g", &Settings{Codec: "json"}, code), code
}

func await(c Context, p Pending, code Code) (string, error) {
	out, err := c.Await(p, &Settings{Codec: "json"}, code)
	if err != nil {
		return "", err
	}
	defer c.Leave()
	return string(out.Payload), nil
}

func batch(c Context, s Settings, n int, item func(Context, int) Return) (string, error) {
	s.Codec = "json"
	res, err := c.Batch(checkpoint.Map, checkpoint.MapIteration, "m", make([]string, n), &s, item, nil)
	if err != nil {
		return "", err
	}
	if res.ID == "" {
		return "", res.Err
	}
	defer c.Leave()
	if res.Err != nil {
		return res.Record.Items, res.Err
	}
	return res.Record.Items + " " + res.Record.Reason, nil
}

func ptr[T any](v T) *T { return &v }

const cancelledEnd, timedOutEnd = "failed: canceled", "failed: a timeout around it passed"

// programs cover each primitive, alone and beside others.
var programs = []*program{
	{name: "a step", want: []string{"1"}, retire: true, run: func(m *memory, c Context) Return { return ended(step(c, m, "1")) }},
	{name: "three steps", want: []string{"123"}, retire: true, run: func(m *memory, c Context) Return {
		all := ""
		for i := 1; i <= 3; i++ {
			v, err := step(c, m, strconv.Itoa(i))
			if err != nil {
				return failed(err)
			}
			all += v
		}
		return ok(all)
	}},
	{name: "a step that is cancelled", cancel: true, want: []string{"1", cancelledEnd}, run: func(m *memory, c Context) Return { return ended(step(c, m, "1")) }},
	{name: "a step with retries", want: []string{"1"}, retire: true, run: func(m *memory, c Context) Return {
		return ended(stepOf(c, m, "s", Settings{}, &effect{m: m, value: "1", fails: 2}))
	}},
	{name: "a step that fails", want: []string{"failed: attempt 3"}, run: func(m *memory, c Context) Return {
		return ended(stepOf(c, m, "s", Settings{}, &effect{m: m, fails: 9}))
	}},
	{name: "at most once", want: []string{"1", "failed: durable: the attempt was interrupted"}, run: func(m *memory, c Context) Return {
		return ended(stepOf(c, m, "s", Settings{AtMostOnce: true}, &onceBody{effect{m: m, value: "1"}}))
	}},
	{name: "a condition", want: []string{"3"}, retire: true, run: func(m *memory, c Context) Return {
		out, err := c.Steps(checkpoint.WaitForCondition, "p", &Settings{Codec: "json"}, &poll{effect{m: m}})
		if err != nil {
			return failed(err)
		}
		defer c.Leave()
		return ok(string(out.Payload))
	}},
	{name: "a wait", want: []string{"done"}, retire: true, run: func(m *memory, c Context) Return {
		return ended("done", c.Wait("w", func(int64) time.Duration { return minute }))
	}},
	{name: "a wait in memory", park: true, want: []string{"done"}, run: func(m *memory, c Context) Return {
		return ended("done", c.Wait("w", func(int64) time.Duration { return minute }))
	}},
	{name: "a callback in memory", park: true, want: []string{"7"}, run: func(m *memory, c Context) Return {
		p, _, err := c.CreateCallback("b", &Settings{Codec: "json"})
		if err != nil {
			return failed(err)
		}
		return ended(await(c, p, nil))
	}},
	{name: "a wait that is cancelled", cancel: true, want: []string{"done", cancelledEnd}, run: func(m *memory, c Context) Return {
		return ended("done", c.Wait("w", func(int64) time.Duration { return minute }))
	}},
	{name: "compensation", cancel: true, want: []string{"1", "undone"}, run: func(m *memory, c Context) Return {
		v, err := step(c, m, "1")
		if err == nil {
			err = c.Wait("w", func(int64) time.Duration { return minute })
		}
		if err != nil {
			return ended(step(c.WithoutCancel(), m, "undone"))
		}
		return ok(v)
	}},
	{name: "a callback", want: []string{"7"}, retire: true, run: func(m *memory, c Context) Return {
		p, _, err := c.CreateCallback("b", &Settings{Codec: "json"})
		if err != nil {
			return failed(err)
		}
		return ended(await(c, p, nil))
	}},
	{name: "a callback with a timeout", want: []string{"7", "failed: no outcome came for 1m0s"}, run: func(m *memory, c Context) Return {
		p, _, err := c.CreateCallback("b", &Settings{Codec: "json", Timeout: minute})
		if err != nil {
			return failed(err)
		}
		return ended(await(c, p, nil))
	}},
	{name: "a callback and a cancel", cancel: true, want: []string{"7", cancelledEnd}, run: func(m *memory, c Context) Return {
		p, _, err := c.CreateCallback("b", &Settings{Codec: "json"})
		if err != nil {
			return failed(err)
		}
		return ended(await(c, p, nil))
	}},
	{name: "an invoke", want: []string{"7"}, retire: true, run: func(m *memory, c Context) Return {
		out, err := c.Invoke("i", "other", &Settings{Codec: "json"}, func() ([]byte, *fault.Failure) { return []byte("1"), nil })
		if err != nil {
			return failed(err)
		}
		defer c.Leave()
		return ok(string(out.Payload))
	}},
	{name: "an invoke that is cancelled", cancel: true, want: []string{"7", cancelledEnd}, run: func(m *memory, c Context) Return {
		out, err := c.Invoke("i", "other", &Settings{Codec: "json"}, func() ([]byte, *fault.Failure) { return []byte("1"), nil })
		if err != nil {
			return failed(err)
		}
		defer c.Leave()
		return ok(string(out.Payload))
	}},
	{name: "a child", want: []string{"12"}, retire: true, run: func(m *memory, c Context) Return {
		v, err := child(c, Settings{}, func(c Context) Return { return ended(step(c, m, "1")) })
		if err != nil {
			return failed(err)
		}
		w, err := step(c, m, "2")
		return ended(v+w, err)
	}},
	{name: "a child with a timeout", want: []string{"1", "failed: timed out after 1m0s"}, unanswered: true, run: func(m *memory, c Context) Return {
		return ended(child(c, Settings{Timeout: minute}, func(c Context) Return {
			v, err := step(c, m, "1")
			if err == nil {
				err = c.Wait("w", func(int64) time.Duration { return minute })
			}
			return ended(v, err)
		}))
	}},
	{name: "two branches and All", want: []string{"12"}, retire: true, run: func(m *memory, c Context) Return {
		one, code1 := goes(c, func(c Context) Return { return ended(step(c, m, "1")) })
		two, code2 := goes(c, func(c Context) Return { return ended(step(c, m, "2")) })
		if _, err := c.All("all", []Pending{one, two}); err != nil {
			return failed(err)
		}
		v, err := await(c, one, code1)
		if err != nil {
			return failed(err)
		}
		w, err := await(c, two, code2)
		return ended(v+w, err)
	}},
	{name: "a timer and a branch race", want: []string{"0", "1"}, run: func(m *memory, c Context) Return {
		timer := c.After("t", minute)
		branch, _ := goes(c, func(c Context) Return { return ended(step(c, m, "1")) })
		first, err := c.Select(checkpoint.Select, "first", []Pending{timer, branch})
		if err != nil {
			return failed(err)
		}
		if _, err := step(c, m, "2"); err != nil {
			return failed(err)
		}
		return ok(first)
	}},
	{name: "a timer and a branch race, cancelled", cancel: true, want: []string{"0", "1", cancelledEnd}, run: func(m *memory, c Context) Return {
		timer := c.After("t", minute)
		branch, _ := goes(c, func(c Context) Return { return ended(step(c, m, "1")) })
		first, err := c.Select(checkpoint.Race, "first", []Pending{timer, branch})
		return ended(first, err)
	}},
	{name: "Any", want: []string{"1"}, run: func(m *memory, c Context) Return {
		bad, _ := goes(c, func(Context) Return { return failed(errors.New("bad")) })
		good, _ := goes(c, func(c Context) Return { return ended(step(c, m, "1")) })
		first, err := c.Any("any", []Pending{bad, good})
		return ended(first, err)
	}},
	{name: "Settled", want: []string{"01", "10"}, retire: true, run: func(m *memory, c Context) Return {
		one, _ := goes(c, func(c Context) Return { return ended(step(c, m, "1")) })
		two := c.After("t", minute)
		order := ""
		q := c.Settled("order", []Pending{one, two})
		if q == nil || !q.Begin() {
			return failed(errors.New("nothing is handed out"))
		}
		for k := range 2 {
			i, ok := q.Choice(k)
			if !ok {
				break
			}
			order += strconv.Itoa(i)
		}
		return ok(order)
	}},
	{name: "a batch", want: []string{"SS ALL_COMPLETED"}, retire: true, run: func(m *memory, c Context) Return {
		return ended(batch(c, Settings{}, 2, func(c Context, i int) Return { return ended(step(c, m, strconv.Itoa(i))) }))
	}},
	{name: "a flat batch, one at a time", want: []string{"SSS ALL_COMPLETED"}, run: func(m *memory, c Context) Return {
		return ended(batch(c, Settings{Flat: true, MaxConcurrency: ptr(1)}, 3, func(c Context, i int) Return { return ended(step(c, m, strconv.Itoa(i))) }))
	}},
	{name: "the first of a batch", want: []string{"SS MIN_SUCCESSFUL_REACHED", "ST MIN_SUCCESSFUL_REACHED", "TS MIN_SUCCESSFUL_REACHED", "SS ALL_COMPLETED"}, run: func(m *memory, c Context) Return {
		return ended(batch(c, Settings{MinSuccessful: ptr(1)}, 2, func(c Context, i int) Return { return ended(step(c, m, strconv.Itoa(i))) }))
	}},
	{name: "a batch that is cancelled", cancel: true, want: []string{"SS ALL_COMPLETED", cancelledEnd}, run: func(m *memory, c Context) Return {
		return ended(batch(c, Settings{}, 2, func(c Context, i int) Return { return ended(step(c, m, strconv.Itoa(i))) }))
	}},
	{name: "a version, a value and a step", want: []string{"3 1"}, retire: true, run: func(m *memory, c Context) Return {
		version := c.Version("change", 3)
		if _, ok := c.Note(checkpoint.Now, "json", func(_ *history.Operation, now int64) []byte { return []byte("0") }); ok {
			c.Leave()
		}
		v, err := step(c, m, "1")
		return ended(strconv.Itoa(version)+" "+v, err)
	}},
	{name: "code that looks whether it is cancelled", cancel: true, want: []string{"1", "saw it", cancelledEnd}, run: func(m *memory, c Context) Return {
		v, err := step(c, m, "1")
		if c.Standard().Err() != nil {
			return ended(step(c.WithoutCancel(), m, "saw it"))
		}
		return ended(v, err)
	}},
	{name: "a branch that is left behind", want: []string{"2"}, run: func(m *memory, c Context) Return {
		goes(c, func(c Context) Return { return ended("", c.Wait("w", func(int64) time.Duration { return minute })) })
		return ended(step(c, m, "2"))
	}},
}

// onceBody is a body that is not tried again.
type onceBody struct{ effect }

func (b *onceBody) Begin(ctx context.Context, i *Info) context.Context {
	for _, rec := range b.m.records[:b.m.loaded] {
		if rec.OperationID == i.o.ID {
			b.m.failed("the body of %s began once more", i.o.ID)
		}
	}
	return b.effect.Begin(ctx, i)
}

func (b *onceBody) Judge(err error, _ int) Attempt {
	return Attempt{Err: err, Failure: &fault.Failure{Type: "error", Message: err.Error()}}
}

func programNamed(name string) *program {
	i := slices.IndexFunc(programs, func(p *program) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return programs[i]
}
