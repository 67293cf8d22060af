package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestBatchThatIsCancelled: Map and Parallel return what had succeeded beside the error,
// the same on each replay, whatever ends them and however their results are recorded.
func TestBatchThatIsCancelled(t *testing.T) {
	options := map[string][]durable.BatchOption{
		"Plain":       nil,
		"Flat":        {durable.Flat()},
		"BatchCodec":  {durable.WithBatchCodec(durable.JSON)},
		"Codec":       {durable.WithCodec(tagged("tagged"))},
		"OneAtATime":  {durable.WithMaxConcurrency(1)},
		"TwoAtATime":  {durable.Flat(), durable.WithMaxConcurrency(2)},
		"Tolerant":    {durable.WithToleratedFailures(9)},
		"Minimum":     {durable.WithMinSuccessful(4)},
		"FlatMinimum": {durable.Flat(), durable.WithMinSuccessful(4), durable.WithBatchCodec(durable.JSON)},
	}
	// ask asks five suppliers; the first two answer within ten minutes.
	ask := func(ctx *durable.Context, how string, opts []durable.BatchOption) (*durable.Batch[string], error) {
		supplier := func(ctx *durable.Context, i int) (string, error) {
			takes := time.Duration(i) * time.Minute
			if i > 1 {
				takes = 100 * time.Hour
			}
			if err := durable.Wait(ctx, "answer", takes); err != nil {
				return "", err
			}
			return strings.Repeat(fmt.Sprint("offer ", i, " "), 20), nil
		}
		if how == "Parallel" {
			var branches []durable.Branch[string]
			for i := range 5 {
				branches = append(branches, durable.Branch[string]{Name: fmt.Sprint(i), Run: func(ctx *durable.Context) (string, error) { return supplier(ctx, i) }})
			}
			return durable.Parallel(ctx, "ask", branches, opts...)
		}
		return durable.Map(ctx, "ask", []int{0, 1, 2, 3, 4}, func(ctx *durable.Context, i, _ int) (string, error) { return supplier(ctx, i) }, opts...)
	}
	ends := map[string]func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error{
		"FromOutside": func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error {
			ask(ctx)
			return nil
		},
		"ItsTimeout": func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error {
			ask(ctx, durable.WithTimeout(10*time.Minute))
			return nil
		},
		"TimeoutOfAChild": func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				ask(ctx)
				return 0, durable.Wait(ctx.WithoutCancel(), "look again", time.Hour)
			}, durable.WithTimeout(10*time.Minute))
			return onlyTimeout(err)
		},
		"InAnItem": func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error {
			_, err := durable.Map(ctx, "outer", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) {
				ask(ctx)
				return 0, durable.Wait(ctx.WithoutCancel(), "look again", time.Hour)
			}, durable.WithTimeout(10*time.Minute))
			return onlyTimeout(err)
		},
		"RebuiltWithItsChild": func(ctx *durable.Context, ask func(*durable.Context, ...durable.BatchOption)) error {
			_, err := durable.RunInChildContext(ctx, "large", func(ctx *durable.Context) (string, error) {
				ask(ctx, durable.WithTimeout(10*time.Minute))
				return strings.Repeat("large", 100), nil
			})
			return err
		},
	}
	for optsName, opts := range options {
		for endName, end := range ends {
			for _, how := range []string{"Map", "Parallel"} {
				for _, inline := range []int{50, 1 << 20} {
					bothWays(t, fmt.Sprint(optsName, "/", endName, "/", how, "/", inline), func(t *testing.T, parkFor time.Duration) {
						var mu sync.Mutex
						var seen []string
						f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
							err := end(ctx, func(ctx *durable.Context, more ...durable.BatchOption) {
								b, err := ask(ctx, how, slices.Concat(opts, more))
								var values []string
								for _, v := range b.Values() {
									values = append(values, v[:8])
								}
								saw := fmt.Sprint(values, " ", kindOf(err), " ", b.Reason(), " ", b.Succeeded(), b.Failed(), b.Len(), " ", errors.Is(b.Err(), durable.ErrTimeout) || errors.Is(b.Err(), durable.ErrCanceled))
								mu.Lock()
								seen = append(seen, saw)
								mu.Unlock()
							})
							if err != nil {
								return 0, err
							}
							return 0, durable.Wait(ctx.WithoutCancel(), "look again", time.Hour)
						})
						o := durable.Options{ParkFor: parkFor, InlineResult: inline, Codec: durable.JSON}
						b := setupWith(t, o, f)
						x := start(b, f, 0)
						begun := time.Now()
						if endName == "FromOutside" {
							time.Sleep(10 * time.Minute)
							b.cancel(x.ID())
						}
						_, err := within(b, x, 50*time.Hour)
						require.NoError(t, err)
						require.LessOrEqual(t, time.Since(begun), 3*time.Hour)
						rec, err := b.engine.Recording(b.ctx, x.ID())
						require.NoError(t, err)
						o.Functions = []durable.Definition{f}
						require.NoError(t, durable.Replay(b.ctx, rec, &o))
						kind, started := "Timeout", 5
						if endName == "FromOutside" {
							kind = "Canceled"
						}
						switch optsName {
						case "OneAtATime":
							started = 3
						case "TwoAtATime":
							started = 4
						}
						if optsName == "Tolerant" && endName != "ItsTimeout" && endName != "RebuiltWithItsChild" {
							kind = "<nil>" + string(durable.AllCompleted) // all have ended, and failures are tolerated
						}
						want := fmt.Sprint("[offer 0  offer 1 ] ", kind, "  2", started-2, started, " true")
						require.NotEmpty(t, seen)
						for _, s := range seen {
							require.Equal(t, strings.ReplaceAll(want, " ", ""), strings.ReplaceAll(s, " ", ""))
						}
						checkHistory(b, endName, x.ID())
					})
				}
			}
		}
	}

	bothWays(t, "ItemsThatCompensateAreWaitedFor", func(t *testing.T, parkFor time.Duration) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			b, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, i, _ int) (int, error) {
				err := durable.Wait(ctx, "wait", 100*time.Hour)
				if err2 := durable.Wait(ctx.WithoutCancel(), "calm down", time.Duration(i)*time.Hour); err2 != nil {
					return 0, err2
				}
				_, err2 := durable.Step(ctx.WithoutCancel(), "undo", n.body(fmt.Sprint(i)))
				return 0, errors.Join(err, err2)
			}, durable.WithTimeout(time.Hour)) // fails fast, but not behind a cancel
			return b.Failed(), err
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		_, err := within(b, start(b, f, 0), 50*time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.Equal(t, []string{"1", "2", "3"}, n.all())
	})

	bothWays(t, "OneThatBeganInACancelledScopeIsEmpty", func(t *testing.T, parkFor time.Duration) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			_ = durable.Wait(ctx, "wait", 100*time.Hour)
			b, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(*durable.Context, int, int) (int, error) { return 1, nil })
			return fmt.Sprint(b.Len(), b.Values(), b.Err(), kindOf(err)), durable.Wait(ctx.WithoutCancel(), "look again", time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		b.cancel(x.ID())
		out, err := within(b, x, 50*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "0[]<nil>Canceled", strings.ReplaceAll(out, " ", ""))
	})

	inBubble(t, "WhatEndsWellBehindTheCancelCounts", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) ([]int, error) {
			b, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, i, _ int) (int, error) {
				return durable.Step(ctx, "body", func(ctx context.Context) (int, error) {
					if i == 3 {
						<-ctx.Done()
						return 0, ctx.Err()
					}
					time.Sleep(time.Duration(i) * time.Hour) // does not heed it
					return i, nil
				})
			}, durable.WithTimeout(90*time.Minute))
			return b.Values(), onlyTimeout(err)
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 50*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []int{1, 2}, out)
	})
}
