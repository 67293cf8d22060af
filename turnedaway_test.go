package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestShutdownTurnsBodiesAway: a body asks the engine for something, or waits for it,
// while the engine shuts down, and is refused. Whatever it makes of that is no result of
// its: it runs again when the store is opened again.
func TestShutdownTurnsBodiesAway(t *testing.T) {
	asks := map[string]func(ctx context.Context, e *durable.Engine) error{
		"Start": func(ctx context.Context, e *durable.Engine) error { _, err := nap.Start(ctx, e, 0); return err },
		"StartByName": func(ctx context.Context, e *durable.Engine) error {
			_, err := e.StartByName(ctx, "nap", json.RawMessage("0"))
			return err
		},
		"Run": func(ctx context.Context, e *durable.Engine) error { _, err := nap.Run(ctx, e, 0); return err },
		"RunWithALifeOfItsOwn": func(ctx context.Context, e *durable.Engine) error {
			_, err := nap.Run(context.WithoutCancel(ctx), e, 0)
			return err
		},
		"Result": func(ctx context.Context, e *durable.Engine) error {
			_, err := nap.Attach(e, "other").Result(ctx)
			return err
		},
		"ResultJSON": func(ctx context.Context, e *durable.Engine) error { _, err := e.ResultJSON(ctx, "other"); return err },
		"CallbackID": func(ctx context.Context, e *durable.Engine) error {
			_, err := e.CallbackID(ctx, "other", "cb")
			return err
		},
		"Follow": func(ctx context.Context, e *durable.Engine) (err error) {
			for _, err = range e.Follow(ctx, "other", 0) {
			}
			return err
		},
	}
	makes := map[string]func(err error) (int, error){
		"PassesItOn":       func(err error) (int, error) { return 1, fmt.Errorf("asked: %w", err) },
		"SaysItInItsWords": func(err error) (int, error) { return 1, fmt.Errorf("asked: %v", err) },
		"GivesUp":          func(error) (int, error) { return 1, durable.Permanent(errors.New("nobody answers")) },
		"HasAnotherAnswer": func(error) (int, error) { return 1, nil },
	}
	once := durable.WithRetry(durable.NoRetry())
	kinds := map[string]func(body func(context.Context) (int, error)) *durable.Function[int, int]{
		"Step": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Step(ctx, "ask", body, once) })
		},
		"StepWithTimeout": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "ask", body, once, durable.WithTimeout(time.Hour))
			})
		},
		"Condition": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.WaitForCondition(ctx, "ask", 0, func(ctx context.Context, _ int) (int, error) { return body(ctx) },
					func(int, int) durable.Poll { return durable.PollDone() })
			})
		},
		"Submitter": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.WaitForCallback[int](ctx, "ask", func(ctx context.Context, id string) error {
					v, err := body(ctx)
					if err == nil {
						info, _ := durable.StepInfoFrom(ctx)
						err = info.Engine.SucceedCallback(ctx, id, v)
					}
					return err
				}, once)
			})
		},
		"Branch": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "ask", body, once) }).Await(ctx)
			})
		},
		"Item": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				batch, err := durable.Map(ctx, "map", []int{1}, durable.AsStep(func(ctx context.Context, _ int) (int, error) { return body(ctx) }, once))
				if err != nil {
					return 0, err
				}
				return batch.Values()[0], nil
			})
		},
		"Plain": func(body func(context.Context) (int, error)) *durable.Function[int, int] {
			return durable.DefinePlain("f", func(ctx context.Context, _ int) (int, error) { return body(ctx) })
		},
	}
	for ask, call := range asks {
		for made, makes := range makes {
			for kind, define := range kinds {
				if kind == "Submitter" && made == "HasAnotherAnswer" {
					continue // it has completed its callback, which is no result of its own
				}
				inBubble(t, ask+"/"+made+"/"+kind, func(t *testing.T) {
					var n notes
					f := define(func(ctx context.Context) (int, error) {
						n.add("body")
						if len(n.all()) > 1 {
							return 42, nil
						}
						if err := rest(ctx, 10*time.Minute); err != nil {
							return 0, err
						}
						info, _ := durable.StepInfoFrom(ctx)
						if err := call(ctx, info.Engine); err != nil {
							return makes(err)
						}
						return 0, errors.New("it was not refused")
					})
					m := newMachine(t)
					b := m.open(durable.Options{}, f, nap)
					start(b, nap, 0, durable.WithExecutionID("other"))
					x := start(b, f, 0)
					synctest.Wait()
					began := time.Now()
					m.shutDown(b)
					require.Equal(t, 10*time.Minute, time.Since(began))
					b = m.open(durable.Options{}, f, nap)
					out, err := within(b, f.Attach(b.engine, x.ID()), 10*time.Hour)
					require.NoError(t, err)
					require.Equal(t, 42, out)
					require.Equal(t, []string{"body", "body"}, n.all())
				})
			}
		}
	}

	inBubble(t, "AndTheirTransactionIsRolledBack", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.TransactionalStep(ctx, "a", func(ctx context.Context, tx any) (string, error) {
				tx.(*sale).sell("a")
				info, _ := durable.StepInfoFrom(ctx)
				_, err := nap.Run(ctx, info.Engine, 0)
				return fmt.Sprint(err), nil
			})
		})
		b, s := openTill(t, durable.Options{}, f, nap)
		start(b, f, 0)
		time.Sleep(time.Minute)
		require.NoError(t, b.engine.Shutdown(b.ctx))
		require.Empty(t, s.sold())
	})

	inBubble(t, "BeforeItsClaimsHaveReturned", func(t *testing.T) {
		// The shutdown has begun, and the store does not answer the claim loop.
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "ask", func(ctx context.Context) (int, error) {
				n.add("body")
				info, _ := durable.StepInfoFrom(ctx)
				if err := rest(ctx, 10*time.Minute); err != nil {
					return 0, err
				}
				_, err := nap.Start(ctx, info.Engine, 0)
				return len(n.all()), ignore(err)
			})
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f, nap)
		x := start(b, f, 0)
		synctest.Wait()
		claiming, claimed := make(chan struct{}, 1), make(chan struct{})
		m.set(func() {
			m.onClaim = func() error {
				select {
				case claiming <- struct{}{}:
				default:
				}
				<-claimed
				return nil
			}
		})
		<-claiming
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, b.engine.Shutdown(context.Background())) })
		time.Sleep(20 * time.Minute)
		close(claimed)
		wg.Wait()
		m.set(func() { m.onClaim = nil })
		m.kill(b)
		b = m.open(durable.Options{}, f, nap)
		out, err := within(b, f.Attach(b.engine, x.ID()), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 2, out)
	})
}
