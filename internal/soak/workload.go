package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/durable-go/durable"
)

// The functions of the workload. A body makes up a value and tells the witness;
// later bodies say which values they were given. An execution's result is the
// values that its handler saw. The input spreads durations.

type function = *durable.Function[int, []string]

// work is what one body does beside making up a value.
type work struct {
	depends  []string
	since    string // the body that made this value up ran at least
	pause    time.Duration
	failures int // attempts that fail before one succeeds
	once     bool
	size     int // of the value
}

// retries is the policy of steps that fail.
var retries = durable.RetryPolicy{MaxAttempts: 1000, Initial: 2 * time.Millisecond, Max: 10 * time.Millisecond, Jitter: durable.NoJitter}

func (w work) body(c *stay) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		info, _ := durable.StepInfoFrom(ctx)
		l := line{Kind: effect, Execution: info.ExecutionID, Operation: info.OperationID, Name: info.Name, Attempt: info.Attempt,
			Once: w.once, Value: uuid.NewString(), Since: w.since, Pause: w.pause, Owned: c.ownership, Epoch: c.epoch, Entered: c.entered}
		for _, v := range w.depends {
			l.Depends = append(l.Depends, token(v))
		}
		value := l.Value
		if w.size > 0 {
			value += strings.Repeat(value, w.size/len(value))
			l.Value = token(value)
		}
		fails := info.Attempt <= w.failures
		if fails {
			l.Next = retries.Delay(info.Attempt)
		}
		c.point.reached("body")
		l.Clock = c.now()
		c.witness.say(l)
		c.point.reached("effect")
		if rand.IntN(4) == 0 {
			time.Sleep(rand.N(5 * time.Millisecond)) // it works a while, and may be cut off
		}
		if fails {
			return "", errors.New("not yet")
		}
		return value, nil
	}
}

func (c *stay) step(ctx *durable.Context, name string, w work) (string, error) {
	opts := []durable.StepOption{durable.WithRetry(retries)}
	if w.once {
		opts = append(opts, durable.AtMostOnce())
	}
	return durable.Step(ctx, name, w.body(c), opts...)
}

// trail collects the values that a handler sees, until an error.
type trail struct {
	c      *stay
	ctx    *durable.Context
	values []string
	err    error
}

// add takes what an operation returned.
func (t *trail) add(v string, err error) string {
	if t.err == nil {
		t.err = err
	}
	if t.err == nil {
		t.values = append(t.values, token(v))
	}
	return v
}

// step makes a step whose body is given all values so far.
func (t *trail) step(name string, w work) string {
	if t.err != nil {
		return ""
	}
	w.depends = append(w.depends, t.values...)
	return t.add(t.c.step(t.ctx, name, w))
}

// rest waits; the next body says that it came after that.
func (t *trail) rest(name, since string, d time.Duration) work {
	if t.err == nil {
		t.err = durable.Wait(t.ctx, name, d)
	}
	return work{since: since, pause: d}
}

func (t *trail) invoke(name string, f function, in int) []string {
	if t.err != nil {
		return nil
	}
	values, err := durable.Invoke(t.ctx, name, f, in)
	t.add("", err)
	if err == nil {
		t.values = append(t.values[:len(t.values)-1], values...)
	}
	return values
}

func (t *trail) end() ([]string, error) { return t.values, t.err }

// handler is a durable function that follows a trail.
func (c *child) handler(name string, f func(t *trail, i int), opts ...durable.FunctionOption) function {
	return durable.Define(name, func(ctx *durable.Context, i int) ([]string, error) {
		t := &trail{c: c.stay(ctx.ExecutionID()), ctx: ctx}
		f(t, i)
		return t.end()
	}, opts...)
}

const lateAfter = 40 * time.Millisecond

func (c *child) functions() []function {
	echo := durable.DefinePlain("echo", func(ctx context.Context, i int) ([]string, error) {
		info, _ := durable.StepInfoFrom(ctx)
		value, err := work{}.body(c.stay(info.ExecutionID))(ctx)
		return []string{value}, err
	})
	ship := c.handler("ship", func(t *trail, i int) {
		packed := t.step("pack", work{})
		t.step("label", t.rest("rest", packed, time.Duration(i%20)*time.Millisecond))
		t.invoke("echo", echo, i)
	})
	order := c.handler("order", func(t *trail, i int) { t.c.order(t, i, ship) })
	chain := c.handler("chain", func(t *trail, i int) {
		for k := range 5 {
			t.step(fmt.Sprint("link", k), work{failures: (i + k) % 3})
		}
		t.invoke("plain", echo, i)
		t.step("last", work{})
	})
	pay := c.handler("pay", func(t *trail, i int) {
		for k := range 4 {
			t.step(fmt.Sprint("pay", k), work{once: true, failures: (i + k) % 2})
		}
	})
	large := c.handler("large", (*trail).large)
	race := c.handler("race", (*trail).race)
	sleeper := c.handler("sleeper", func(t *trail, i int) {
		t.step("begin", work{})
		if t.err == nil {
			t.err = durable.Wait(t.ctx, "sleep", time.Hour)
		}
		if errors.Is(t.err, durable.ErrCanceled) {
			undo := trail{c: t.c, ctx: t.ctx.WithoutCancel(), values: t.values}
			undo.step("undo", work{})
		}
	})
	endless := c.handler("endless", func(t *trail, i int) {
		for next := (work{}); t.err == nil; {
			ticked := t.step("tick", next)
			t.values = t.values[:min(len(t.values), 3)] // what depends on it need not grow
			next = t.rest("tock", ticked, 10*time.Millisecond)
		}
	})
	late := c.handler("late", func(t *trail, i int) {
		t.step("begin", work{})
		t.rest("sleep", "", time.Hour)
	}, durable.WithExecutionTimeout(lateAfter))
	return []function{order, ship, echo, chain, pay, large, race, sleeper, endless, late, c.handler("moved", moved), c.handler("renamed", renamed)}
}

// order has one of everything.
func (c *stay) order(t *trail, i int, ship function) {
	reserved := t.step("reserve", work{})
	if t.err != nil {
		return
	}
	charged, err := durable.Step(t.ctx, "charge", work{once: true, depends: t.values}.body(c), durable.AtMostOnce())
	if errors.Is(err, durable.ErrInterrupted) {
		charged, err = "interrupted", nil
	}
	if t.add(charged, err); charged == "interrupted" {
		t.values = t.values[:len(t.values)-1]
	}
	t.step("confirm", work{once: true, failures: i % 2})
	t.step("book", t.rest("nap", reserved, time.Duration(1+i%40)*time.Millisecond))
	if t.err != nil {
		return
	}
	given := t.values
	lines, err := durable.Map(t.ctx, "lines", []int{1, 2, 3}, func(ctx *durable.Context, k, _ int) (string, error) {
		picked, err := c.step(ctx, "pick", work{depends: given, failures: k % 2})
		if err != nil || k < 3 {
			return picked, err
		}
		return c.step(ctx, "wrap", work{depends: []string{picked}})
	}, durable.WithMaxConcurrency(2))
	if err != nil {
		t.err = err
		return
	}
	t.values = append(t.values, lines.Values()...)
	both, err := durable.Parallel(t.ctx, "papers", []durable.Branch[string]{
		{Name: "bill", Run: func(ctx *durable.Context) (string, error) { return c.step(ctx, "bill", work{depends: given}) }},
		{Name: "customs", Run: func(ctx *durable.Context) (string, error) {
			b := &trail{c: c, ctx: ctx}
			asked := b.step("ask", work{depends: given})
			return b.step("stamp", b.rest("queue", asked, 3*time.Millisecond)), b.err
		}},
	})
	if err != nil {
		t.err = err
		return
	}
	t.values = append(t.values, both.Values()...)
	t.add(durable.WaitForCallback[string](t.ctx, "approval", func(ctx context.Context, id string) error {
		info, _ := durable.StepInfoFrom(ctx)
		c.say(message{Say: "callback", Execution: info.ExecutionID, Callback: id})
		return nil
	}))
	if t.err != nil {
		return
	}
	polled, err := durable.WaitForCondition(t.ctx, "stock", "", func(ctx context.Context, _ string) (string, error) {
		info, _ := durable.StepInfoFrom(ctx)
		w := work{failures: 2}
		value, err := w.body(c)(ctx)
		if info.Attempt <= w.failures {
			return "", nil
		}
		return value, err
	}, durable.PollBackoff(retries, func(state string) bool { return state != "" }))
	t.add(polled, err)
	t.invoke("ship", ship, i)
	t.step("close", work{})
}

// large has payloads of several pages, and a result that is rebuilt on replay.
func (t *trail) large(i int) {
	c := t.c
	t.step("load", work{size: 1000 * (1 + i%400)})
	if t.err != nil {
		return
	}
	both, err := durable.RunInChildContext(t.ctx, "both", func(ctx *durable.Context) ([]string, error) {
		b := &trail{c: c, ctx: ctx}
		one := b.step("one", work{size: 150_000})
		return []string{one, b.step("two", work{size: 150_000})}, b.err
	})
	if err != nil {
		t.err = err
		return
	}
	for _, v := range both {
		t.add(v, nil)
	}
	t.step("store", t.rest("settle", t.values[0], time.Duration(i%15)*time.Millisecond))
}

// race is a callback that may come too late.
func (t *trail) race(i int) {
	c := t.c
	begun := t.step("begin", work{})
	if t.err != nil {
		return
	}
	patience := time.Duration(5+i%60) * time.Millisecond
	opt := durable.CallbackOption(durable.WithTimeout(patience))
	if i%2 == 1 {
		opt = durable.WithHeartbeatTimeout(patience)
	}
	answer, err := durable.CreateCallback[string](t.ctx, "answer", opt)
	if err != nil {
		t.err = err
		return
	}
	t.add(durable.Step(t.ctx, "publish", func(ctx context.Context) (string, error) {
		info, _ := durable.StepInfoFrom(ctx)
		c.say(message{Say: "callback", Execution: info.ExecutionID, Callback: answer.ID()})
		return work{depends: []string{begun}}.body(c)(ctx)
	}))
	if t.err != nil {
		return
	}
	side := durable.Go(t.ctx, "side", func(ctx *durable.Context) (string, error) {
		return c.step(ctx, "side", work{failures: i % 3})
	})
	if _, t.err = durable.Select(t.ctx, "first", answer, durable.After(t.ctx, "bell", time.Duration(i%30)*time.Millisecond), side); t.err != nil {
		return
	}
	v, err := answer.Await(t.ctx)
	switch {
	case err == nil:
		t.add(v, nil)
		t.step("answered", work{})
	case errors.Is(err, durable.ErrCallbackFailed):
		t.step("refused", work{})
	case errors.Is(err, durable.ErrTimeout), errors.Is(err, durable.ErrHeartbeatTimeout):
		t.step("gave up", work{since: begun, pause: patience})
	default:
		t.err = err
	}
	if t.err == nil {
		t.add(side.Await(t.ctx))
	}
}
