package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// An operation that is made again has the idempotency key that it had.

// payments takes money, and notes the key, by what it is for.
type payments struct {
	mu   sync.Mutex
	down map[string]bool // what for: the money is taken, and the answer lost
	keys map[string][]string
}

func newPayments() *payments {
	return &payments{down: map[string]bool{}, keys: map[string][]string{}}
}

var errDoubt = errors.New("the connection was lost")

// take is the body of a step.
func (p *payments) take(ctx context.Context, what string) error {
	info, _ := durable.StepInfoFrom(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[what] = append(p.keys[what], info.IdempotencyKey)
	if p.down[what] {
		return durable.Permanent(fmt.Errorf("%s: %w", what, errDoubt))
	}
	return nil
}

// invoked is a function that takes money, and one that invokes it after an hour.
func (p *payments) invoked() (parent, child *durable.Function[int, int]) {
	child = durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 0, p.step(ctx, "charge", "charge") })
	parent = durable.Define("parent", func(ctx *durable.Context, _ int) (int, error) {
		if err := durable.Wait(ctx, "wait", time.Hour); err != nil {
			return 0, err
		}
		return durable.Invoke(ctx, "child", child, 1)
	})
	return parent, child
}

func (p *payments) step(ctx *durable.Context, name, what string) error {
	return durable.Do(ctx, name, func(ctx context.Context) error { return p.take(ctx, what) })
}

// distinct is how many keys there were.
func (p *payments) distinct(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(slices.Compact(slices.Sorted(slices.Values(p.keys[what]))))
}

func TestIdempotencyKeys(t *testing.T) {
	// A key outlives restarts, retries and crashes.
	for name, file := range map[string]bool{"SurviveInMemory": false, "SurviveInAFile": true} {
		inBubble(t, name, func(t *testing.T) {
			p := newPayments()
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				for _, name := range []string{"reserve", "charge", "ship"} {
					if err := p.step(ctx, name, name); err != nil {
						return 0, err
					}
				}
				return 0, nil
			})
			m := newMachine(t)
			if file {
				m = newFileMachine(t, true)
			}
			b := m.open(durable.Options{Retention: -1}, f)
			again := func(id string, err error) string {
				t.Helper()
				require.NoError(t, err)
				ended(b, id)
				m.kill(b)
				b = m.open(durable.Options{Retention: -1}, f)
				return id
			}
			p.down["charge"] = true
			id := start(b, f, 0).ID()
			ended(b, id)
			for range 3 {
				id = again(b.engine.Retry(b.ctx, id))
			}
			p.down["charge"], p.down["ship"] = false, true
			id = again(b.engine.Retry(b.ctx, id))
			id = again(b.engine.RestartFrom(b.ctx, id, "1"))
			id = again(b.engine.RestartFrom(b.ctx, id, "2"))
			id = again(b.engine.Retry(b.ctx, id))
			require.Equal(t, map[string]int{"reserve": 2, "charge": 7, "ship": 4}, counts(p.keys))
			for what := range p.keys {
				require.Equal(t, 1, p.distinct(what), what)
			}
			// Asked for, they are new, and stay so.
			old := p.keys["ship"][0]
			id = again(b.engine.RestartFrom(b.ctx, id, "2", durable.WithNewIdempotencyKeys()))
			p.down["ship"] = false
			again(b.engine.Retry(b.ctx, id))
			require.Equal(t, 2, p.distinct("charge"))
			require.Equal(t, 2, p.distinct("ship"))
			require.NotEqual(t, old, p.keys["ship"][4])
			require.Equal(t, p.keys["ship"][4], p.keys["ship"][5])
			require.Equal(t, 1, p.distinct("reserve"))
		})
	}

	// Nothing of it is lost when the ones between never came there.
	inBubble(t, "SurviveExecutionsThatDidNotComeThere", func(t *testing.T) {
		p := newPayments()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if err := durable.Wait(ctx, "first", time.Hour); err != nil {
				return 0, err
			}
			return 0, p.step(ctx, "charge", "charge")
		})
		b := setup(t, f)
		x := start(b, f, 0)
		ended(b, x.ID())
		id := x.ID()
		for range 3 {
			again, err := b.engine.RestartFrom(b.ctx, id, "")
			require.NoError(t, err)
			require.NoError(t, b.engine.Stop(b.ctx, again, ""))
			id = again
		}
		id, err := b.engine.Retry(b.ctx, id)
		require.NoError(t, err)
		ended(b, id)
		require.Len(t, p.keys["charge"], 2)
		require.Equal(t, 1, p.distinct("charge"))
	})

	// One that was not recorded when the process died may have happened, too.
	inBubble(t, "OfWhatWasNotRecorded", func(t *testing.T) {
		m := newMachine(t)
		p := newPayments()
		var lost bool
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "charge", func(ctx context.Context) error {
				err := p.take(ctx, "charge")
				if !lost {
					lost = true
					<-ctx.Done()
				}
				return err
			})
		})
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0, durable.WithExecutionID("x"))
		synctest.Wait()
		m.kill(b)
		b = m.open(durable.Options{}) // without the function
		require.NotContains(t, b.history(x.ID()), "StepStarted 1 charge")
		require.NoError(t, b.engine.Stop(b.ctx, "x", ""))
		m.kill(b)
		b = m.open(durable.Options{}, f)
		again, err := b.engine.Retry(b.ctx, "x")
		require.NoError(t, err)
		ended(b, again)
		require.Len(t, p.keys["charge"], 2)
		require.Equal(t, 1, p.distinct("charge"))
	})

	// Another operation at the position of one that was dropped is another one.
	inBubble(t, "BelongToOneOperation", func(t *testing.T) {
		p := newPayments()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if err := p.step(ctx, "ship", "ship"); err != nil {
				return 0, errors.Join(err, p.step(ctx, "refund", "refund"))
			}
			return 0, p.step(ctx, "tell", "tell")
		})
		b := setup(t, f)
		p.down["ship"] = true
		id := start(b, f, 0).ID()
		ended(b, id)
		p.down["ship"], p.down["tell"] = false, true
		id = retry(b, id, "refund")
		ended(b, id)
		require.NotEqual(t, p.keys["refund"], p.keys["tell"])
		id = retry(b, id, "")
		ended(b, id)
		id, err := b.engine.RestartFrom(b.ctx, id, "")
		require.NoError(t, err)
		ended(b, id)
		require.Equal(t, 1, p.distinct("tell"))
		p.down["ship"] = true
		id, err = b.engine.RestartFrom(b.ctx, id, "")
		require.NoError(t, err)
		ended(b, id)
		require.Equal(t, 1, p.distinct("refund"))
		require.Equal(t, 1, p.distinct("ship"))
	})

	inBubble(t, "OfAllThatHasABody", func(t *testing.T) {
		p := newPayments()
		inside := func(ctx *durable.Context, n int) (int, error) {
			if _, err := durable.WaitForCondition(ctx, "poll", 0, func(ctx context.Context, n int) (int, error) { return n + 1, p.take(ctx, "poll") },
				durable.PollEvery(time.Hour, func(n int) bool { return n == 2 })); err != nil {
				return 0, err
			}
			_, err := durable.WaitForCallback[int](ctx, "callback", func(ctx context.Context, id string) error {
				info, _ := durable.StepInfoFrom(ctx)
				return errors.Join(p.take(ctx, "callback"), info.Engine.SucceedCallback(ctx, id, 1))
			})
			return 0, errors.Join(err, p.step(ctx, "last", "last"))
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return inside(ctx, 0) }, durable.Flat())
			return 0, err
		})
		plain := durable.DefinePlain("plain", func(ctx context.Context, _ int) (int, error) { return 0, p.take(ctx, "plain") })
		b := setup(t, f, plain)
		p.down["last"], p.down["plain"] = true, true
		for _, x := range []*durable.Execution[int]{start(b, f, 0), start(b, plain, 0)} {
			ended(b, x.ID())
			again, err := b.engine.Retry(b.ctx, x.ID())
			require.NoError(t, err)
			ended(b, again)
			again, err = b.engine.RestartFrom(b.ctx, again, "")
			require.NoError(t, err)
			ended(b, again)
		}
		require.Equal(t, map[string]int{"poll": 4, "callback": 2, "last": 3, "plain": 3}, counts(p.keys))
		for what := range p.keys {
			require.Equal(t, 1, p.distinct(what), what)
		}
	})

	inBubble(t, "GoWithARecording", func(t *testing.T) {
		p := newPayments()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for _, name := range []string{"a", "b", "c"} {
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				if err := p.step(ctx, name, name); err != nil {
					return 0, err
				}
			}
			return 0, nil
		})
		b := setup(t, f)
		p.down["b"] = true
		id := start(b, f, 0).ID()
		time.Sleep(90 * time.Minute)
		running := recording(b, id)
		ended(b, id)
		whole := recording(b, id)
		key := p.keys["b"][0]

		there := setup(t, f) // another store
		as := func(r *durable.Recording, id string, opts ...durable.StartOption) string {
			t.Helper()
			data, err := json.Marshal(r)
			require.NoError(t, err)
			read := new(durable.Recording)
			require.NoError(t, json.Unmarshal(data, read))
			id, err = there.engine.Import(there.ctx, read, append(opts, durable.WithExecutionID(id))...)
			require.NoError(t, err)
			ended(there, id)
			return id
		}
		id = as(running, "goes-on")
		require.Equal(t, []string{key, key}, p.keys["b"])
		require.Equal(t, durable.ExecutionFailed, there.describe(id).Status)
		as(recording(there, id), "twice")
		again, err := there.engine.Retry(there.ctx, "twice")
		require.NoError(t, err)
		ended(there, again)
		again, err = there.engine.Retry(there.ctx, as(whole, "whole"))
		require.NoError(t, err)
		ended(there, again)
		require.Equal(t, []string{key, key, key, key}, p.keys["b"])
		as(running, "new", durable.WithNewIdempotencyKeys())
		require.NotEqual(t, key, p.keys["b"][4])
		_, err = there.engine.Import(there.ctx, running, durable.WithExecutionID("new"))
		require.ErrorIs(t, err, durable.ErrExecutionExists, "that one has other keys")
	})

	// What an invoke had started is in the other store: its keys go along.
	inBubble(t, "GoWithARecordingOfARetry", func(t *testing.T) {
		p := newPayments()
		parent, child := p.invoked()
		b := setupWith(t, durable.Options{Retention: -1}, parent, child)
		id := start(b, parent, 0).ID()
		ended(b, id)
		again, err := b.engine.RestartFrom(b.ctx, id, "")
		require.NoError(t, err)
		synctest.Wait()
		running := recording(b, again)
		there := setup(t, parent, child)
		for _, e := range []*bundle{there, b} { // in the same one it is not what is invoked there
			id, err := e.engine.Import(e.ctx, running, durable.WithExecutionID("copy"))
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionSucceeded, ended(e, id).Status)
		}
		require.GreaterOrEqual(t, len(p.keys["charge"]), 3)
		require.Equal(t, 1, p.distinct("charge"))
	})

	inBubble(t, "OptionsWhereTheyMakeNoSense", func(t *testing.T) {
		f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, nil })
		b := setup(t, f)
		for _, o := range []durable.StartOption{durable.AllowDrop(), durable.WithNewIdempotencyKeys()} {
			_, err := f.Start(b.ctx, b.engine, 0, o)
			require.ErrorContains(t, err, "options of Retry")
		}
		x := start(b, f, 0)
		ended(b, x.ID())
		_, err := b.engine.Import(b.ctx, recording(b, x.ID()), durable.WithExecutionID("i"), durable.AllowDrop())
		require.ErrorContains(t, err, "drops nothing")
		// The same ID is one restart's, also by its keys.
		_, err = b.engine.RestartFrom(b.ctx, x.ID(), "", durable.WithExecutionID("a"))
		require.NoError(t, err)
		_, err = b.engine.RestartFrom(b.ctx, x.ID(), "", durable.WithExecutionID("a"), durable.WithNewIdempotencyKeys())
		require.ErrorIs(t, err, durable.ErrExecutionExists)
	})
}

// counts is how many there are of each.
func counts(of map[string][]string) map[string]int {
	n := map[string]int{}
	for name := range maps.Keys(of) {
		n[name] = len(of[name])
	}
	return n
}

// An execution that was invoked is retried with its caller, and by it.
func TestRetryOfInvoked(t *testing.T) {
	type family struct {
		*payments
		b             *bundle
		parent, child *durable.Function[int, int]
	}
	// The child charges, and ships; the parent tells.
	found := func(t *testing.T, compensates bool) *family {
		f := &family{payments: newPayments()}
		f.child = durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
			if err := f.step(ctx, "charge", "charge"); err != nil {
				return 0, err
			}
			err := f.step(ctx, "ship", "ship")
			if err != nil && compensates {
				err = errors.Join(err, f.step(ctx, "refund", "refund"))
			}
			return 7, err
		})
		middle := durable.Define("middle", func(ctx *durable.Context, n int) (int, error) { return durable.Invoke(ctx, "child", f.child, n) })
		f.parent = durable.Define("parent", func(ctx *durable.Context, n int) (int, error) {
			n, err := durable.Invoke(ctx, "middle", middle, n)
			if err != nil {
				return 0, err
			}
			return n, f.step(ctx, "tell", "tell")
		})
		f.b = setupWith(t, durable.Options{Retention: -1}, f.parent, middle, f.child)
		return f
	}
	run := func(f *family) (parent, child string) {
		f.down["ship"] = true
		parent = start(f.b, f.parent, 1).ID()
		require.Equal(f.b, durable.ExecutionFailed, ended(f.b, parent).Status)
		for x := range f.b.engine.Executions(f.b.ctx, durable.Query{Function: "child"}) {
			child = x.ID
		}
		return parent, child
	}
	inBubble(t, "ItsCallerKeepsWhatItHasFinished", func(t *testing.T) {
		f := found(t, false)
		parent, child := run(f)
		for _, id := range []string{child, f.b.describe(child).Parent} {
			_, err := f.b.engine.Retry(f.b.ctx, id)
			require.ErrorIs(t, err, durable.ErrInvoked)
			refusal, _ := errors.AsType[*durable.InvokedError](err)
			require.Equal(t, parent, refusal.Retry)
			require.Equal(t, f.b.describe(id).Parent, refusal.Caller)
			require.ErrorContains(t, err, "retry "+parent)
		}
		// Once more while it is down, and then it comes to its end.
		again := retry(f.b, parent, "")
		require.Equal(t, durable.ExecutionFailed, ended(f.b, again).Status)
		f.down["ship"] = false
		again = retry(f.b, again, "")
		require.JSONEq(t, "7", string(ended(f.b, again).Result))
		require.Equal(t, map[string]int{"charge": 1, "ship": 3, "tell": 1}, counts(f.keys))
		require.Equal(t, 1, f.distinct("ship"))
		for x := range f.b.engine.Executions(f.b.ctx, durable.Query{Function: "child", Limit: 1}) {
			require.NotEmpty(t, x.RestartOf)
			require.Equal(t, durable.ExecutionSucceeded, x.Status)
		}
	})
	inBubble(t, "WhatItWouldForgetIsAsked", func(t *testing.T) {
		f := found(t, true)
		parent, child := run(f)
		_, err := f.b.engine.Retry(f.b.ctx, parent)
		refusal, _ := errors.AsType[*durable.DropError](err)
		require.NotNil(t, refusal, "%v", err)
		require.Equal(t, []durable.DroppedOperation{{ExecutionID: child, OperationID: "3", Type: "STEP", Name: "refund", Status: durable.OperationSucceeded}}, refusal.Operations)
		f.down["ship"] = false
		// It was refunded, so it is charged once more, under another key.
		again, err := f.b.engine.RestartFrom(f.b.ctx, parent, "1", durable.WithNewIdempotencyKeys())
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(f.b, again).Status)
		require.Equal(t, 2, f.distinct("charge"))
	})
	inBubble(t, "ARestartMakesAllOfItAgainUnderTheSameKeys", func(t *testing.T) {
		f := found(t, false)
		parent, _ := run(f)
		f.down["ship"] = false
		again, err := f.b.engine.RestartFrom(f.b.ctx, parent, "")
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(f.b, again).Status)
		require.Equal(t, map[string]int{"charge": 2, "ship": 2, "tell": 1}, counts(f.keys))
		require.Equal(t, 1, f.distinct("charge"))
		require.Equal(t, 1, f.distinct("ship"))
	})
	inBubble(t, "ARetryUnderNewKeysKeepsWhatIsFinished", func(t *testing.T) {
		f := found(t, false)
		parent, _ := run(f)
		f.down["ship"] = false
		again, err := f.b.engine.Retry(f.b.ctx, parent, durable.WithNewIdempotencyKeys())
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(f.b, again).Status)
		require.Equal(t, map[string]int{"charge": 1, "ship": 2, "tell": 1}, counts(f.keys))
		require.Equal(t, 2, f.distinct("ship"))
	})
	inBubble(t, "OneThatIsGoneIsAsked", func(t *testing.T) {
		f := found(t, false)
		parent, child := run(f)
		middle := f.b.describe(child).Parent
		require.NoError(t, f.b.engine.Delete(f.b.ctx, child))
		_, err := f.b.engine.Retry(f.b.ctx, parent)
		refusal, _ := errors.AsType[*durable.DropError](err)
		require.NotNil(t, refusal, "%v", err)
		require.Equal(t, []durable.DroppedOperation{{ExecutionID: middle, OperationID: "1", Type: "CHAINED_INVOKE", Name: "child", Status: durable.OperationFailed, InvokedID: child}}, refusal.Operations)
		f.down["ship"] = false
		again, err := f.b.engine.Retry(f.b.ctx, parent, durable.AllowDrop())
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(f.b, again).Status)
		require.Equal(t, 2, f.distinct("charge"))
	})
	inBubble(t, "OneWhoseCallerIsGoneStandsAlone", func(t *testing.T) {
		f := found(t, false)
		_, child := run(f)
		require.NoError(t, f.b.engine.Delete(f.b.ctx, f.b.describe(child).Parent))
		f.down["ship"] = false
		again := retry(f.b, child, "")
		require.Equal(t, durable.ExecutionSucceeded, ended(f.b, again).Status)
		require.Equal(t, 1, f.distinct("ship"))
	})
	// The keys are there although the execution that had them is gone by the time.
	inBubble(t, "OneThatGoesInBetween", func(t *testing.T) {
		p := newPayments()
		parent, child := p.invoked()
		b := setupWith(t, durable.Options{Retention: -1}, parent, child)
		id := start(b, parent, 0).ID()
		ended(b, id)
		for range 2 {
			again, err := b.engine.RestartFrom(b.ctx, id, "")
			require.NoError(t, err)
			var gone string
			for x := range b.engine.Executions(b.ctx, durable.Query{Function: "child", Limit: 1}) {
				gone = x.ID
			}
			require.NoError(t, b.engine.Delete(b.ctx, gone))
			ended(b, again)
			id = again
		}
		require.Len(t, p.keys["charge"], 3)
		require.Equal(t, 1, p.distinct("charge"))
	})
	// Nothing is gone of what never was.
	inBubble(t, "OneThatWasNeverStarted", func(t *testing.T) {
		p := newPayments()
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 0, p.step(ctx, "charge", "charge") })
		parent := durable.Define("parent", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "child", child, 1) })
		m := newMachine(t)
		b := m.open(durable.Options{Retention: -1}, parent)
		id := start(b, parent, 0).ID()
		require.Equal(t, durable.ExecutionFailed, ended(b, id).Status)
		require.Empty(t, b.operation(id, "1").InvokedID)
		m.shutDown(b)
		b = m.open(durable.Options{Retention: -1}, parent, child)
		require.Equal(t, durable.ExecutionSucceeded, ended(b, retry(b, id, "")).Status)
	})
	// New keys are new also when the one that was to have them did not come there.
	inBubble(t, "OneThatWasToHaveNewKeys", func(t *testing.T) {
		p := newPayments()
		parent, child := p.invoked()
		b := setup(t, parent, child)
		id := start(b, parent, 0).ID()
		ended(b, id)
		again, err := b.engine.RestartFrom(b.ctx, id, "", durable.WithNewIdempotencyKeys())
		require.NoError(t, err)
		require.NoError(t, b.engine.Stop(b.ctx, again, ""))
		require.Equal(t, durable.ExecutionSucceeded, ended(b, retry(b, again, "")).Status)
		require.Equal(t, 2, p.distinct("charge"))
	})
	// One that was stopped with its caller goes on, whatever it does about its cancel.
	inBubble(t, "OneThatWasOpen", func(t *testing.T) {
		p := newPayments()
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
			if err := p.step(ctx, "charge", "charge"); err != nil {
				return 0, err
			}
			if err := durable.Wait(ctx, "wait", time.Hour); err != nil {
				return 0, err
			}
			return 0, p.step(ctx, "ship", "ship")
		})
		parent := durable.Define("parent", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "child", child, 1) })
		b := setupWith(t, durable.Options{Retention: -1}, parent, child)
		id := start(b, parent, 0).ID()
		time.Sleep(time.Minute)
		require.NoError(t, b.engine.Stop(b.ctx, id, ""))
		again := retry(b, id, "") // at once: the child is being cancelled
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
		require.Equal(t, map[string]int{"charge": 1, "ship": 1}, counts(p.keys))
	})
	// With another input it is another one: nothing is kept but the keys.
	inBubble(t, "OneWithAnotherInput", func(t *testing.T) {
		p := newPayments()
		input := 1
		var got []int
		child := durable.Define("child", func(ctx *durable.Context, n int) (int, error) {
			got = append(got, n)
			if err := p.step(ctx, "charge", "charge"); err != nil {
				return 0, err
			}
			return 0, p.step(ctx, "ship", "ship")
		})
		parent := durable.Define("parent", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "child", child, input) })
		b := setup(t, parent, child)
		p.down["ship"] = true
		id := start(b, parent, 0).ID()
		ended(b, id)
		p.down["ship"], input = false, 2
		again := retry(b, id, "")
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
		require.Equal(t, []int{1, 2}, got)
		require.Equal(t, map[string]int{"charge": 2, "ship": 2}, counts(p.keys))
		require.Equal(t, 1, p.distinct("charge"))
	})
	// A crash anywhere makes no difference.
	inBubble(t, "ACrashOnTheWay", func(t *testing.T) {
		for at := 1; ; at++ {
			p := newPayments()
			child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
				if err := p.step(ctx, "charge", "charge"); err != nil {
					return 0, err
				}
				return 7, p.step(ctx, "ship", "ship")
			})
			parent := durable.Define("parent", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "child", child, 1) })
			m := newMachine(t)
			b := m.open(durable.Options{Retention: -1}, parent, child)
			p.down["ship"] = true
			id := start(b, parent, 0).ID()
			ended(b, id)
			p.down["ship"] = false
			appends := 0
			m.set(func() {
				m.onAppend = func(*checkpoint.Append) error {
					if appends++; appends < at {
						return nil
					}
					hook(m, &m.tap).dead.Store(true)
					return checkpoint.ErrClosed
				}
			})
			again := retry(b, id, "")
			synctest.Wait()
			m.set(func() { m.onAppend = nil })
			m.kill(b)
			b = m.open(durable.Options{Retention: -1}, parent, child)
			require.JSONEq(t, "7", string(ended(b, again).Result))
			require.Equal(t, 1, p.distinct("charge"))
			require.Len(t, p.keys["charge"], 1)
			b.engine.Close()
			if appends < at {
				require.Greater(t, at, 3)
				return
			}
		}
	})
}
