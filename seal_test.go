package durable_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// gcm is a sealer: AES-GCM with a random nonce, bound to the place.
type gcm struct{ aead cipher.AEAD }

func newGCM(t *testing.T, key byte) *gcm {
	block, err := aes.NewCipher(bytes.Repeat([]byte{key}, 32))
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return &gcm{aead}
}

func (g *gcm) data(p durable.Place) []byte {
	return fmt.Appendf(p.Incarnation[:], "\x00%s\x00%s", p.OperationID, p.Kind)
}

func (g *gcm) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	nonce := make([]byte, g.aead.NonceSize())
	rand.Read(nonce)
	return g.aead.Seal(append(dst, nonce...), nonce, plain, g.data(p)), nil
}

func (g *gcm) Open(dst, sealed []byte, p durable.Place) ([]byte, error) {
	n := g.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("too short")
	}
	return g.aead.Open(dst, sealed[:n], sealed[n:], g.data(p))
}

// spy keeps what a store was given.
type spy struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *spy) record(r *checkpoint.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(checkpoint.AppendRecord(nil, r))
	// Bytes that JSON hides in base64 are looked at as they are.
	fmt.Fprintf(&s.buf, "%s%s%s%s", r.Payload, r.Failure, r.Batch, r.Key)
}

func (s *spy) watch(m *machine) {
	m.onCreate = func(c *checkpoint.Creation) error {
		s.record(&c.Started)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.buf.Write(c.Digest)
		return nil
	}
	m.onAppend = func(a *checkpoint.Append) error {
		for i := range a.Records {
			s.record(&a.Records[i])
		}
		for i := range a.Deliver {
			s.record(&a.Deliver[i].Record)
		}
		if a.Release != nil && a.Release.Hold != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.buf.Write(a.Release.Hold.Failure)
		}
		return nil
	}
	m.onDeliver = func(d *checkpoint.Delivery) error { s.record(&d.Record); return nil }
	m.onEnd = func(e *checkpoint.Ending) error {
		s.record(&e.Record)
		for i := range e.Deliver {
			s.record(&e.Deliver[i].Record)
		}
		return nil
	}
}

// secrets are words that stand in everything that carries user data.
func secret(place string) string { return "TOP-SECRET-" + place }

// everything is a function that puts a secret into each kind of user data.
func everything() []durable.Definition {
	child := durable.Define("child", func(ctx *durable.Context, in string) (string, error) {
		if in == secret("invoke that fails") {
			return "", errors.New(secret("failure of an invoked execution"))
		}
		return secret("result of an invoked execution"), nil
	})
	sleeper := durable.Define("sleeper", func(ctx *durable.Context, in string) (string, error) {
		return "", durable.Wait(ctx, "sleep", 100*time.Hour)
	})
	f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
		once := durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Second})
		if _, err := durable.Step(ctx, "step", func(context.Context) (string, error) { return secret("step"), nil }); err != nil {
			return "", err
		}
		if _, err := durable.Step(ctx, "bytes", func(context.Context) ([]byte, error) { return []byte(secret("bytes")), nil }); err != nil {
			return "", err
		}
		_ = durable.Do(ctx, "fails", func(context.Context) error { return errors.New(secret("error")) }, once)
		_ = durable.Do(ctx, "panics", func(context.Context) error { panic(secret("panic")) }, once)
		_, _ = durable.WaitForCondition(ctx, "poll", "", func(_ context.Context, s string) (string, error) { return s + secret("state"), nil },
			durable.PollEvery(time.Second, func(s string) bool { return len(s) > 60 }))
		_, _ = durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return secret("child"), nil })
		_, _ = durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return "", errors.New(secret("child's error")) })
		items := []string{"a", "b"}
		fn := func(_ *durable.Context, item string, i int) (string, error) {
			if i == 1 {
				return "", errors.New(secret("item's error"))
			}
			return secret("item"), nil
		}
		_, _ = durable.Map(ctx, "map", items, fn, durable.WithToleratedFailures(2))
		_, _ = durable.Map(ctx, "flat", items, fn, durable.WithToleratedFailures(2), durable.Flat())
		_, _ = durable.Map(ctx, "whole", items, fn, durable.WithToleratedFailures(2), durable.WithBatchCodec(durable.JSON))
		_, _ = durable.Invoke(ctx, "invoke", child, secret("input of an invoke"))
		_, _ = durable.Invoke(ctx, "invoke", child, secret("invoke that fails"))
		_, _ = durable.Invoke(ctx, "invoke", sleeper, secret("x"), durable.WithTimeout(time.Minute))
		for _, name := range []string{"good", "bad"} {
			_, _ = durable.WaitForCallback[string](ctx, name, func(context.Context, string) error { return nil }, durable.WithTimeout(time.Hour))
		}
		_ = durable.Wait(ctx, "cancel me", 100*time.Hour)
		return secret("result") + in, nil
	})
	return []durable.Definition{f, child, sleeper}
}

func TestSealer(t *testing.T) {
	inBubble(t, "NoPlainTextReachesTheStore", func(t *testing.T) {
		m := newMachine(t)
		var s spy
		s.watch(m)
		defs := everything()
		f := defs[0].(*durable.Function[string, string])
		book := new(logBook)
		b := m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Logger: book.logger()}, defs...)
		x := start(b, f, secret("input"))
		for _, name := range []string{"good", "bad"} {
			id, err := b.engine.CallbackID(b.ctx, x.ID(), name)
			require.NoError(t, err)
			if name == "good" {
				require.NoError(t, b.engine.SucceedCallback(b.ctx, id, secret("callback")))
			} else {
				require.NoError(t, b.engine.FailCallback(b.ctx, id, durable.Failure{Type: "Bad", Message: secret("callback's message"),
					Data: json.RawMessage(`"` + secret("callback's data") + `"`), Stack: secret("callback's stack")}))
			}
		}
		time.Sleep(time.Hour)
		require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), secret("reason of a cancel")))
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Equal(t, secret("result")+secret("input"), out)

		// An execution that is stopped, one that fails, and one that is held.
		y := start(b, f, secret("input"))
		time.Sleep(time.Second)
		require.NoError(t, b.engine.Stop(b.ctx, y.ID(), secret("reason of a stop")))
		var entered atomic.Int32
		held := durable.Define("held", func(ctx *durable.Context, _ int) (int, error) {
			n, err := durable.Step(ctx, "x", func(context.Context) (string, error) { return secret("held"), nil })
			if entered.Add(1) > 1 {
				_, err = durable.Step(ctx, "another", func(context.Context) (int, error) { return 0, nil })
				return 0, err
			}
			_ = n
			return 0, errors.Join(err, durable.Wait(ctx, "sleep", time.Minute))
		})
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Logger: book.logger()}, append(defs, held)...)
		z := start(b, held, 0)
		time.Sleep(time.Hour)
		b.held(z.ID())

		given := s.buf.Bytes()
		require.Greater(t, len(given), 10000)
		word := []byte("TOP-SECRET")
		for i := bytes.Index(given, word); i >= 0; i = -1 {
			require.Fail(t, "plain text in the store", "%q", given[max(0, i-60):i+80])
		}
		for shift := range 3 { // in base64
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + "TOP-SECRET-xx"))[4:16]
			require.False(t, bytes.Contains(given, []byte(encoded)), "in base64")
		}

		// Whoever has the key sees all of it.
		var seen strings.Builder
		for _, id := range []string{x.ID(), y.ID()} {
			for ev := range b.events(id) {
				line, err := json.Marshal(ev)
				require.NoError(t, err)
				seen.Write(line)
			}
		}
		encoded, _ := json.Marshal([]byte(secret("bytes")))
		for _, place := range []string{"input", "step", "error", "panic", "state", "child", "child's error", "item", "item's error", "input of an invoke",
			"result of an invoked execution", "failure of an invoked execution", "callback", "callback's message", "callback's data", "reason of a cancel", "reason of a stop", "result"} {
			require.Contains(t, seen.String(), secret(place))
		}
		require.Contains(t, seen.String(), string(encoded))
		require.Empty(t, book.lines("TOP-SECRET"), "nor do they reach the log")
	})

	inBubble(t, "TheSameInputIsTheSame", func(t *testing.T) {
		echo := durable.Define("echo", func(ctx *durable.Context, in map[string]int) (int, error) { return in["a"], nil })
		m := newMachine(t)
		opts := durable.Options{Sealer: newGCM(t, 1)}
		b := m.open(opts, echo)
		id := durable.WithExecutionID("same")
		require.Equal(t, 7, run(b, echo, map[string]int{"a": 7}, id))
		require.Equal(t, 7, run(b, echo, map[string]int{"a": 7}, id), "although it is sealed differently each time")
		_, err := echo.Start(b.ctx, b.engine, map[string]int{"a": 8}, id)
		require.ErrorIs(t, err, durable.ErrExecutionExists)
		m.kill(b)
		b = m.open(opts, echo)
		require.Equal(t, 7, run(b, echo, map[string]int{"a": 7}, id))
	})

	inBubble(t, "APayloadIsBoundToItsPlace", func(t *testing.T) {
		// Two payloads change their places in the store.
		f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
			a, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return in + " a", nil })
			if err != nil {
				return "", err
			}
			b, err := durable.Step(ctx, "b", func(context.Context) (string, error) { return in + " b", nil })
			if err != nil {
				return "", err
			}
			return a + " " + b, durable.Wait(ctx, "sleep", time.Hour)
		})
		type from struct{ execution, operation string }
		for name, swap := range map[string]map[from]from{
			"Operations": {{"x", "1"}: {"x", "2"}, {"x", "2"}: {"x", "1"}},
			"Executions": {{"x", "1"}: {"y", "1"}},
			"Kinds":      {{"x", "1"}: {"x", ""}},
			"Inputs":     {{"x", ""}: {"y", ""}},
		} {
			m := newMachine(t)
			opts := durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}
			b := m.open(opts, f)
			start(b, f, "x", durable.WithExecutionID("x"))
			start(b, f, "y", durable.WithExecutionID("y"))
			time.Sleep(time.Minute)
			m.kill(b)
			payloads := map[from][]byte{}
			for _, id := range []string{"x", "y"} {
				for rec, err := range m.base.Records(b.ctx, id, 0) {
					require.NoError(t, err)
					if len(rec.Payload) > 0 {
						payloads[from{id, rec.OperationID}] = rec.Payload
					}
				}
			}
			m.set(func() {
				m.onRead = func(id string, r *checkpoint.Record) {
					if other, ok := swap[from{id, r.OperationID}]; ok && len(r.Payload) > 0 {
						r.Payload = payloads[other]
					}
				}
			})
			b = m.open(opts, f)
			time.Sleep(2 * time.Hour)
			why := b.held("x")
			require.NotContains(t, why.Message, "y a", name)
			out, err := within(b, f.Attach(b.engine, "y"), time.Minute)
			require.NoError(t, err, "the other one is as it was")
			require.Equal(t, "y a y b", out)
			m.set(func() { m.onRead = nil })
			require.NoError(t, b.engine.Resume(b.ctx, "x"))
			out, err = within(b, f.Attach(b.engine, "x"), time.Minute)
			require.NoError(t, err, "and so is it, with its own payloads")
			require.Equal(t, "x a x b", out)
			m.kill(b)
		}
	})

	inBubble(t, "WithoutTheKeyItIsHeld", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
			a, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return in + " a", nil })
			if err != nil {
				return "", err
			}
			return a, durable.Wait(ctx, "sleep", time.Hour)
		})
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}, f)
		x := start(b, f, "x")
		time.Sleep(time.Minute)
		m.kill(b)
		for _, sealer := range []durable.Sealer{nil, newGCM(t, 2)} {
			b = m.open(durable.Options{ParkFor: -1, Sealer: sealer, Build: fmt.Sprint(sealer)}, f)
			time.Sleep(2 * time.Hour)
			_, err := b.engine.Describe(b.ctx, x.ID())
			require.Error(t, err, "its input can't be shown")
			_, err = b.engine.Operations(b.ctx, x.ID())
			require.Error(t, err)
			m.kill(b)
		}
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}, f)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, "x a", out)
	})

	inBubble(t, "WhatWasWrittenBeforeIsRead", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
			a, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return in + " a", nil })
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
				return "", err
			}
			return durable.Step(ctx, "b", func(context.Context) (string, error) { return a + " b", nil })
		})
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, "x")
		time.Sleep(time.Minute)
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "x a b", out)
	})

	inBubble(t, "WhatCouldNotBeSealedIsNotRecordedAsNothing", func(t *testing.T) {
		// A body of another branch runs on while the execution is held for it.
		s := &moody{Sealer: newGCM(t, 1), how: "error"}
		f := durable.Define("f", func(ctx *durable.Context, in string) ([]string, error) {
			batch, err := durable.Parallel(ctx, "parallel", []durable.Branch[string]{
				{Name: "a", Run: func(ctx *durable.Context) (string, error) {
					return durable.Step(ctx, "a", func(context.Context) (string, error) {
						time.Sleep(time.Minute)
						s.down.Store(true)
						return "a", nil
					})
				}},
				{Name: "b", Run: func(ctx *durable.Context) (string, error) {
					return durable.Step(ctx, "b", func(context.Context) (string, error) { time.Sleep(time.Hour); return "b", nil })
				}},
			})
			if err != nil {
				return nil, err
			}
			return batch.Values(), nil
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Sealer: s}, f)
		x := start(b, f, "x")
		time.Sleep(30 * time.Minute)
		s.down.Store(false)
		s.always.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		out, err := within(b, x, 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, out)
	})

	for _, how := range []string{"error", "panic"} {
		inBubble(t, "ASealerThatFails/"+how, func(t *testing.T) {
			if how == "panic" {
			}
			s := &moody{Sealer: newGCM(t, 1), how: how}
			f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
				return durable.Step(ctx, "a", func(context.Context) (string, error) {
					s.down.Store(true)
					return in + " a", nil
				})
			})
			echo := durable.Define("echo", func(ctx *durable.Context, i int) (int, error) { return i, nil })
			b := setupWith(t, durable.Options{ParkFor: -1, Sealer: s}, f, echo)
			x := start(b, f, "x")
			time.Sleep(time.Minute)
			synctest.Wait()
			_, err := echo.Start(b.ctx, b.engine, 1)
			require.Error(t, err, "a start reports it")
			s.down.Store(false)
			require.Equal(t, 1, run(b, echo, 1), "the engine lives on")
			info := b.describe(x.ID())
			require.NotEqual(t, durable.ExecutionSucceeded, info.Status, "what could not be sealed is not recorded")
			if info.Status == durable.ExecutionRunning {
				// Held, or tried again by itself: the key service is back.
				require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
				s.always.Store(true)
				out, err := within(b, x, time.Hour)
				require.NoError(t, err)
				require.Equal(t, "x a", out)
			}
		})
	}
}

// moody is a sealer that fails while it is down.
type moody struct {
	durable.Sealer
	how          string
	down, always atomic.Bool // always: up
}

func (m *moody) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	if m.down.Load() && !m.always.Load() {
		if m.how == "panic" {
			panic("no key")
		}
		return nil, errors.New("no key")
	}
	return m.Sealer.Seal(dst, plain, p)
}

// onceSealer fails when it is told to.
type onceSealer struct{ fail atomic.Bool }

func (s *onceSealer) Seal(dst, plain []byte, _ durable.Place) ([]byte, error) {
	if s.fail.Swap(false) {
		return nil, errors.New("the key is away")
	}
	return append(dst, plain...), nil
}

func (s *onceSealer) Open(dst, sealed []byte, _ durable.Place) ([]byte, error) {
	return append(dst, sealed...), nil
}

// What could not be recorded is done again by a replay, once, and not from memory.
func TestABodyWhoseOutcomeCantBeSealedRunsOnceMore(t *testing.T) {
	inBubble(t, "Step", func(t *testing.T) {
		var sealer onceSealer
		var bodies atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "step", func(context.Context) (int, error) {
				sealer.fail.Store(bodies.Add(1) == 1)
				return 1, nil
			})
		})
		b := setupWith(t, durable.Options{Sealer: &sealer}, f)
		_, err := within(b, start(b, f, 0), time.Hour)
		require.NoError(t, err)
		require.EqualValues(t, 2, bodies.Load())
	})

	inBubble(t, "WhatDependsOnItWaits", func(t *testing.T) {
		var sealer onceSealer
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			one, err := durable.Step(ctx, "one", func(context.Context) (int, error) {
				n.add("one")
				sealer.fail.Store(len(n.all()) == 1)
				return len(n.all()), nil
			})
			if err != nil {
				return 0, err
			}
			return durable.Step(ctx, "two", func(context.Context) (int, error) { n.add("two after %d", one); return one, nil })
		})
		b := setupWith(t, durable.Options{Sealer: &sealer}, f)
		out, err := within(b, start(b, f, 0), time.Hour)
		require.NoError(t, err)
		require.Equal(t, 2, out)
		require.Equal(t, []string{"one", "one", "two after 2"}, n.all())
	})
}

// countingSealer seals nothing, and counts what it is given.
type countingSealer struct {
	mu    sync.Mutex
	seals map[durable.Place]int
}

func (s *countingSealer) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	s.mu.Lock()
	s.seals[p]++
	s.mu.Unlock()
	runtime.Gosched()
	return append(dst, plain...), nil
}

func (s *countingSealer) Open(dst, sealed []byte, p durable.Place) ([]byte, error) {
	return append(dst, sealed...), nil
}

// TestSealedOnce checks that what is recorded while something else is being sealed is sealed
// behind it, once: nothing is appended twice, which would have the execution replayed.
func TestSealedOnce(t *testing.T) {
	t.Parallel()
	const branches, steps = 8, 300
	sealer := &countingSealer{seals: make(map[durable.Place]int)}
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		list := make([]int, branches)
		_, err := durable.Map(ctx, "branches", list, func(ctx *durable.Context, _, _ int) (int, error) {
			for range steps {
				if _, err := durable.Step(ctx, "s", unhurried); err != nil {
					return 0, err
				}
			}
			return 0, nil
		})
		return 0, err
	})
	e, err := durable.New(&yieldingStore{memstore.New()}, &durable.Options{Functions: []durable.Definition{f}, Sealer: sealer})
	require.NoError(t, err)
	defer e.Close()
	_, err = f.Run(t.Context(), e, 0)
	require.NoError(t, err)
	sealer.mu.Lock()
	defer sealer.mu.Unlock()
	for p, n := range sealer.seals {
		require.Equal(t, 1, n, "the %s of operation %q", p.Kind, p.OperationID)
	}
}

// yieldingStore lets others go first when something is appended.
type yieldingStore struct{ checkpoint.Store }

func (s *yieldingStore) Append(a checkpoint.Append, done func(error)) {
	for range 20 {
		runtime.Gosched()
	}
	s.Store.Append(a, done)
}

// unhurried is a body that others overtake.
func unhurried(context.Context) (int, error) {
	for range mathrand.IntN(100) {
		runtime.Gosched()
	}
	return 1, nil
}
