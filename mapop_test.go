package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// tagged is JSON behind a tag, so that the record shows which codec wrote it.
type tagged string

func (c tagged) Name() string { return string(c) }

func (c tagged) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append([]byte(c+":"), data...), err
}

func (c tagged) Decode(data []byte, v any) error {
	rest, ok := bytes.CutPrefix(data, []byte(c+":"))
	if !ok {
		return fmt.Errorf("%q is not of codec %q", data, c)
	}
	return json.Unmarshal(rest, v)
}

// results are the recorded results of the operations that ended well, by ID.
func results(b *bundle, id string) map[string]string {
	b.Helper()
	m := map[string]string{}
	for ev := range b.events(id) {
		if ev.Result != nil && ev.OperationID != "" {
			m[ev.OperationID] = string(ev.Result)
		}
	}
	return m
}

func TestMap(t *testing.T) {
	t.Parallel()
	flat := map[string][]durable.BatchOption{"Contexts": nil, "Flat": {durable.Flat()}}

	t.Run("KeepsInputOrder", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[[]string]{
					op: func(ctx *durable.Context) ([]string, error) {
						b, err := durable.Map(ctx, "m", []string{"c", "a", "b"}, func(ctx *durable.Context, item string, i int) (string, error) {
							if err := durable.Wait(ctx, "w", time.Duration(3-i)*time.Minute); err != nil {
								return "", err
							}
							return durable.Step(ctx, "s", body(item+strconv.Itoa(i)))
						}, opts...)
						return b.Values(), err
					},
					check: func(t *testing.T, got []string, err error) {
						require.NoError(t, err)
						require.Equal(t, []string{"c0", "a1", "b2"}, got)
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("History", func(t *testing.T) {
		t.Parallel()
		square := func(ctx *durable.Context, n, _ int) (int, error) { return durable.Step(ctx, "square", body(n*n)) }
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) {
				b, err := durable.Map(ctx, "m", []int{2, 3}, square, durable.WithMaxConcurrency(1))
				return b.Values(), err
			},
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Equal(t, []int{4, 9}, got)
			},
			history: []string{"ContextStarted 1 m",
				"ContextStarted 1-1", "StepStarted 1-1-1 square", "StepSucceeded 1-1-1 square", "ContextSucceeded 1-1",
				"ContextStarted 1-2", "StepStarted 1-2-1 square", "StepSucceeded 1-2-1 square", "ContextSucceeded 1-2",
				"ContextSucceeded 1 m"},
		}.run(t)
	})

	t.Run("SubTypesParentsAndSummary", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				b, err := durable.Map(ctx, "m", []int{0, 1, 2}, func(ctx *durable.Context, n, _ int) (int, error) {
					if n == 1 {
						return 0, errors.New("no")
					}
					return durable.Step(ctx, "s", body(n))
				}, durable.WithMaxConcurrency(1), durable.WithToleratedFailures(1))
				return b.Len(), err
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.NoError(t, err)
			var lines []string
			for ev := range b.events(x.ID()) {
				if ev.OperationID != "" {
					lines = append(lines, fmt.Sprintf("%s %s %s<%s %s", ev.Type, ev.SubType, ev.OperationID, ev.ParentID, string(ev.Result)))
				}
			}
			require.Equal(t, []string{
				"ContextStarted Map 1< ",
				"ContextStarted MapIteration 1-1<1 ", "StepStarted Step 1-1-1<1-1 ", "StepSucceeded Step 1-1-1<1-1 0", "ContextSucceeded MapIteration 1-1<1 0",
				"ContextStarted MapIteration 1-2<1 ", "ContextFailed MapIteration 1-2<1 ",
				"ContextStarted MapIteration 1-3<1 ", "StepStarted Step 1-3-1<1-3 ", "StepSucceeded Step 1-3-1<1-3 2", "ContextSucceeded MapIteration 1-3<1 2",
				`ContextSucceeded Map 1< {"completionReason":"ALL_COMPLETED","totalCount":3,"successCount":2,"failureCount":1,"startedCount":0}`,
			}, lines)
		})
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				for _, items := range [][]int{nil, {}} {
					trial[[]int]{
						op: func(ctx *durable.Context) ([]int, error) {
							b, err := durable.Map(ctx, "m", items, func(*durable.Context, int, int) (int, error) { panic("there is none") }, opts...)
							return b.Values(), err
						},
						check: func(t *testing.T, got []int, err error) {
							require.NoError(t, err)
							require.Equal(t, []int{}, got)
						},
						history: []string{"ContextStarted 1 m", "ContextSucceeded 1 m"},
					}.run(t)
				}
			})
		}
	})

	t.Run("ValuesAreThoseOfTheRecord", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[[]*point]{
					op: func(ctx *durable.Context) ([]*point, error) {
						b, err := durable.Map(ctx, "m", []int{0, 1}, func(_ *durable.Context, n, _ int) (*point, error) {
							if n == 0 {
								return nil, nil
							}
							return &point{n, n, "lost"}, nil
						}, opts...)
						return b.Values(), err
					},
					check: func(t *testing.T, got []*point, err error) {
						require.NoError(t, err)
						require.Equal(t, []*point{nil, {X: 1, Y: 1}}, got)
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("ItemNames", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				b, err := durable.Map(ctx, "named", []int{1, 2}, func(_ *durable.Context, n, _ int) (int, error) { return 10 * n, nil },
					durable.WithMaxConcurrency(1), durable.WithItemNames(func(i int) string { return fmt.Sprint("item-", i+1) }))
				var names []string
				for it := range b.All() {
					names = append(names, it.Name)
				}
				if strings.Join(names, " ") != "item-1 item-2" {
					return 0, fmt.Errorf("names %q", names)
				}
				return b.Len(), err
			},
			check: func(t *testing.T, _ int, err error) { require.NoError(t, err) },
			history: []string{"ContextStarted 1 named", "ContextStarted 1-1 item-1", "ContextSucceeded 1-1 item-1", "ContextStarted 1-2 item-2", "ContextSucceeded 1-2 item-2",
				"ContextSucceeded 1 named"},
		}.run(t)
	})

	t.Run("ItemNamesOverrideThoseOfBranches", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				b, err := durable.Parallel(ctx, "p", branches(job{}), durable.WithItemNames(func(int) string { return "better" }))
				return look(b).Items, err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "0better=SUCCEEDED", got)
			},
		}.run(t)
	})

	t.Run("BadItemName", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				_, err := durable.Map(ctx, "m", []int{1}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil },
					durable.WithItemNames(func(int) string { return strings.Repeat("x", 257) }))
				return 0, err
			},
			check:   func(t *testing.T, _ int, err error) { require.ErrorIs(t, err, durable.ErrInvalidID) },
			history: []string{},
		}.run(t)
	})

	t.Run("AllCanBeLeft", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				b, err := durable.Map(ctx, "m", []int{1, 2, 3}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil })
				for it := range b.All() {
					if it.Index == 1 {
						return it.Value, err
					}
				}
				return 0, err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 2, got)
			},
		}.runLoosely(t)
	})

	t.Run("FailuresOfItems", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[[]string]{
					opts: durable.Options{MaxPayload: 1000, Errors: []error{errSoldOut}},
					op: func(ctx *durable.Context) ([]string, error) {
						b, err := durable.Map(ctx, "m", []string{"fine", "error", "panic", "too large", "not encodable", "not decodable", "goes through", "bad name"},
							func(ctx *durable.Context, item string, _ int) (any, error) {
								switch item {
								case "error":
									return nil, fmt.Errorf("item: %w", errSoldOut)
								case "panic":
									panic(item)
								case "too large":
									return strings.Repeat("x", 999), nil
								case "not encodable":
									return func() {}, nil
								case "not decodable":
									return badUnmarshaler{}, nil
								case "goes through":
									return durable.Step(ctx, "s", fails[any]("inside"))
								case "bad name":
									return durable.Step(ctx, "\n", body[any](1))
								}
								return item, nil
							}, append(opts, durable.WithMaxConcurrency(1), durable.WithToleratedFailures(99))...)
						var seen []string
						for it := range b.All() {
							s := fmt.Sprint(it.Index, " ", it.Status, " ", it.Value)
							if it.Err != nil {
								s += fmt.Sprint(" ", opError(it.Err).OperationID, " ", failure(it.Err).Type, " ", matching(it.Err), " ", errors.Is(it.Err, errSoldOut))
							}
							seen = append(seen, s)
						}
						return seen, err
					},
					check: func(t *testing.T, got []string, err error) {
						require.NoError(t, err)
						require.Equal(t, []string{"0 SUCCEEDED fine",
							"1 FAILED <nil> 1-2 error  true", "2 FAILED <nil> 1-3 Panic ErrPanic false", "3 FAILED <nil> 1-4 PayloadTooLarge ErrPayloadTooLarge false",
							"4 FAILED <nil> 1-5 Codec ErrCodec false", "5 SUCCEEDED <nil>", "6 FAILED <nil> 1-7 error  false", "7 FAILED <nil> 1-8 InvalidID ErrInvalidID false"}, got)
					},
				}.run(t)
			})
		}
	})

	t.Run("ItemThatCannotBeDecodedFails", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[string]{
					op: func(ctx *durable.Context) (string, error) {
						b, err := durable.Map(ctx, "m", []int{0, 1}, func(ctx *durable.Context, n, _ int) (badUnmarshaler, error) {
							if n == 0 {
								return badUnmarshaler{}, errors.New("no")
							}
							return badUnmarshaler{}, nil
						}, append(opts, durable.WithMaxConcurrency(1), durable.WithToleratedFailures(9))...)
						if err != nil {
							return "", err
						}
						return fmt.Sprint(b.Failed(), " ", errors.Is(b.Err(), durable.ErrCodec)), nil
					},
					check: func(t *testing.T, got string, err error) {
						require.NoError(t, err)
						require.Equal(t, "2 true", got)
					},
				}.run(t)
			})
		}
	})

	t.Run("EachItemMayHaveMaxPayload", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[int]{
					opts: durable.Options{MaxPayload: 1000},
					op: func(ctx *durable.Context) (int, error) {
						b, err := durable.Map(ctx, "m", make([]int, 10), func(*durable.Context, int, int) (string, error) { return strings.Repeat("x", 998), nil }, opts...)
						total := 0
						for _, v := range b.Values() {
							total += len(v)
						}
						return total, err
					},
					check: func(t *testing.T, got int, err error) {
						require.NoError(t, err)
						require.Equal(t, 9980, got)
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("LargeItemsAreRebuilt", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				var handler, steps atomic.Int32
				tr := trial[int]{
					opts: durable.Options{InlineResult: 100},
					op: func(ctx *durable.Context) (int, error) {
						b, err := durable.Map(ctx, "m", []int{10, 500, 20}, func(ctx *durable.Context, n, _ int) (string, error) {
							handler.Add(1)
							s, err := durable.Step(ctx, "s", func(context.Context) (string, error) { steps.Add(1); return strings.Repeat("x", n), nil })
							return s + "!", err
						}, append(opts, durable.WithMaxConcurrency(1))...)
						var total string
						for _, v := range b.Values() {
							total += v
						}
						return len(total), err
					},
					check: func(t *testing.T, got int, err error) {
						require.NoError(t, err)
						require.Equal(t, 533, got)
						require.EqualValues(t, 3, steps.Swap(0), "a step never runs again")
					},
				}
				tr.run(t)
			})
		}
	})

	t.Run("LargeSumOfItemsIsFine", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[string]{
					opts: durable.Options{InlineResult: 1000},
					op: func(ctx *durable.Context) (string, error) {
						b, err := durable.Map(ctx, "m", make([]int, 4), func(ctx *durable.Context, _, i int) (string, error) {
							return durable.Step(ctx, "s", body(strings.Repeat(strconv.Itoa(i), 900)))
						}, opts...)
						return fmt.Sprint(b.Succeeded(), len(strings.Join(b.Values(), "")), b.Values()[3][:3]), err
					},
					check: func(t *testing.T, got string, err error) {
						require.NoError(t, err)
						require.Equal(t, "43600"+"333", strings.ReplaceAll(got, " ", ""))
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("LargeItemWithFailedAndStartedNeighbours", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[string]{
					opts: durable.Options{InlineResult: 100},
					op: func(ctx *durable.Context) (string, error) {
						b, err := durable.Map(ctx, "m", make([]int, 4), func(ctx *durable.Context, _, i int) (string, error) {
							if err := durable.Wait(ctx, "w", time.Duration(i+1)*time.Minute); err != nil {
								return "", err
							}
							if i == 0 {
								return "", errors.New("no")
							}
							return strings.Repeat("x", 300*i), nil
						}, append(opts, durable.WithMinSuccessful(2))...)
						var s []string
						for it := range b.All() {
							s = append(s, fmt.Sprint(it.Status, len(it.Value)))
						}
						return strings.Join(s, " "), err
					},
					check: func(t *testing.T, got string, err error) {
						require.NoError(t, err)
						require.Equal(t, "FAILED 0 SUCCEEDED 300 SUCCEEDED 600 STARTED 0", strings.NewReplacer("D0", "D 0", "D3", "D 3", "D6", "D 6").Replace(got))
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("WithCodec", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				everyLife(t, func(t *testing.T, life durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
						b, err := durable.Map(ctx, "m", []string{"x", "base64:eA=="}, func(_ *durable.Context, item string, _ int) (string, error) { return strings.ToUpper(item), nil },
							append(opts, durable.WithCodec(tagged("tag")), durable.WithMaxConcurrency(1))...)
						if err != nil {
							return nil, err
						}
						return b.Values(), durable.Wait(ctx, "w", time.Hour)
					})
					b := setupWith(t, life, f)
					x := start(b, f, 1)
					out, err := finish(b, x)
					require.NoError(t, err)
					require.Equal(t, []string{"X", "BASE64:EA=="}, out)
					if form == "Contexts" {
						require.JSONEq(t, `"tag:\"X\""`, results(b, x.ID())["1-1"])
					}
				})
			})
		}
	})

	t.Run("FlatKeepsAnyPayload", func(t *testing.T) {
		t.Parallel()
		for _, value := range []string{"", "base64:", "base64:eA==", "\"", "null", "{}", "\xff"} {
			trial[[]string]{
				op: func(ctx *durable.Context) ([]string, error) {
					b, err := durable.Map(ctx, "m", []string{value}, func(_ *durable.Context, s string, _ int) (string, error) { return s, nil }, durable.Flat(), durable.WithCodec(bare{}))
					return b.Values(), err
				},
				check: func(t *testing.T, got []string, err error) {
					require.NoError(t, err)
					require.Equal(t, []string{value}, got)
				},
			}.run(t)
		}
	})

	t.Run("WithBatchCodec", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				everyLife(t, func(t *testing.T, life durable.Options) {
					codec := &joined{}
					f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
						b, err := durable.Map(ctx, "m", []string{"x", "bad", "y"}, func(_ *durable.Context, item string, _ int) (string, error) {
							if item == "bad" {
								return "", errors.New(item)
							}
							return strings.ToUpper(item), nil
						}, append(opts, durable.WithBatchCodec(codec), durable.WithMaxConcurrency(1), durable.WithToleratedFailures(1))...)
						if err != nil {
							return nil, err
						}
						if b.Errors()[0] == nil || failure(b.Errors()[0]).Message != "bad" {
							return nil, errors.New("the failure is lost")
						}
						return b.Values(), durable.Wait(ctx, "w", time.Hour)
					})
					b := setupWith(t, life, f)
					x := start(b, f, 1)
					out, err := finish(b, x)
					require.NoError(t, err)
					require.Equal(t, []string{"X", "Y"}, out)
					require.JSONEq(t, `"OPSERDE:X,Y"`, results(b, x.ID())["1"])
					require.EqualValues(t, 1, codec.encoded.Load())
					if life.ParkFor < 0 {
						require.GreaterOrEqual(t, codec.decoded.Load(), int32(2), "the first run decodes it as well")
					}
				})
			})
		}
	})

	t.Run("BatchCodecThatFails", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				b, err := durable.Map(ctx, "m", []int{1}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil }, durable.WithBatchCodec(broken{}))
				return b == nil, err
			},
			check: func(t *testing.T, none bool, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.True(t, none)
				require.Equal(t, "m", opError(err).Name)
			},
			history: []string{"ContextStarted 1 m", "ContextStarted 1-1", "ContextSucceeded 1-1", "ContextFailed 1 m"},
		}.run(t)
	})

	t.Run("LargeBatchCodecResultIsRebuilt", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				trial[[]string]{
					opts: durable.Options{InlineResult: 10},
					op: func(ctx *durable.Context) ([]string, error) {
						b, err := durable.Map(ctx, "m", []string{"abc", "def", "large itself"}, func(_ *durable.Context, s string, _ int) (string, error) { return s, nil },
							append(opts, durable.WithBatchCodec(&joined{}), durable.WithMaxConcurrency(1))...)
						return b.Values(), err
					},
					check: func(t *testing.T, got []string, err error) {
						require.NoError(t, err)
						require.Equal(t, []string{"abc", "def", "large itself"}, got)
					},
				}.run(t)
			})
		}
	})

	t.Run("Flat", func(t *testing.T) {
		t.Parallel()

		t.Run("OperationsStandUnderTheBatch", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				f := durable.Define("f", func(ctx *durable.Context, _ int) ([]int, error) {
					b, err := durable.Map(ctx, "m", []int{2, 3}, func(ctx *durable.Context, n, _ int) (int, error) {
						if _, err := durable.Step(ctx, "first", body(n)); err != nil {
							return 0, err
						}
						return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "second", body(n*n)) })
					}, durable.Flat(), durable.WithMaxConcurrency(1))
					return b.Values(), err
				})
				b := setupWith(t, opts, f)
				x := start(b, f, 1)
				out, err := finish(b, x)
				require.NoError(t, err)
				require.Equal(t, []int{4, 9}, out)
				ops, err := b.engine.Operations(b.ctx, x.ID())
				require.NoError(t, err)
				var lines []string
				for _, o := range ops {
					lines = append(lines, fmt.Sprintf("%s<%s %s %s %s", o.ID, o.ParentID, o.Name, o.SubType, o.Status))
				}
				require.Equal(t, []string{"1< m Map SUCCEEDED",
					"1-1-1<1 first Step SUCCEEDED", "1-1-2<1 child RunInChildContext SUCCEEDED", "1-1-2-1<1-1-2 second Step SUCCEEDED",
					"1-2-1<1 first Step SUCCEEDED", "1-2-2<1 child RunInChildContext SUCCEEDED", "1-2-2-1<1-2-2 second Step SUCCEEDED"}, lines)
				require.Contains(t, results(b, x.ID())["1"], `"successCount":2`)
			})
		})

		t.Run("StepsAreNotRunAgain", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				var steps atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, _ int) ([]int, error) {
					b, err := durable.Map(ctx, "m", []int{1, 2, 3}, func(ctx *durable.Context, n, i int) (int, error) {
						v, err := durable.Step(ctx, "s", func(context.Context) (int, error) { steps.Add(1); return n, nil })
						if err != nil {
							return 0, err
						}
						return v, durable.Wait(ctx, "w", time.Duration(i)*time.Hour)
					}, durable.Flat())
					return b.Values(), err
				})
				d := newDisk(t)
				b := boot(t, d, opts, f)
				x := start(b, f, 1)
				time.Sleep(90 * time.Minute)
				b.crash()
				b = boot(t, d, opts, f)
				out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.NoError(t, err)
				require.Equal(t, []int{1, 2, 3}, out)
				require.EqualValues(t, 3, steps.Load())
			})
		})

		t.Run("VersionsAreThoseOfTheItem", func(t *testing.T) {
			trial[[]int]{
				op: func(ctx *durable.Context) ([]int, error) {
					b, err := durable.Map(ctx, "m", []int{1, 2}, func(ctx *durable.Context, n, _ int) (int, error) {
						v := durable.Version(ctx, "change", n)
						return v, durable.Wait(ctx, "w", time.Minute)
					}, durable.Flat())
					return b.Values(), err
				},
				check: func(t *testing.T, got []int, err error) {
					require.NoError(t, err)
					require.Equal(t, []int{1, 2}, got)
				},
			}.runLoosely(t)
		})

		t.Run("UnawaitedFuturesOfAnItemEndWithIt", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.Map(ctx, "m", []int{1, 2}, func(ctx *durable.Context, n, _ int) (int, error) {
							durable.Go(ctx, "left", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 10*time.Hour) })
							return n, durable.Wait(ctx, "short", time.Duration(n)*time.Minute)
						}, durable.Flat())
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.NoError(t, err)
					require.Equal(t, 2*time.Minute, took)
				},
			}.runLoosely(t)
		})
	})

	t.Run("ManyItems", func(t *testing.T) {
		t.Parallel()
		const n = 2000
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				everyLife(t, func(t *testing.T, life durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
						b, err := durable.Map(ctx, "m", make([]int, n), func(ctx *durable.Context, _, i int) (int, error) { return durable.Step(ctx, "s", body(i)) }, opts...)
						if err != nil {
							return 0, err
						}
						if err := durable.Wait(ctx, "w", time.Hour); err != nil {
							return 0, err
						}
						sum := 0
						for _, v := range b.Values() {
							sum += v
						}
						return sum, nil
					})
					b := setupWith(t, life, f)
					require.Equal(t, n*(n-1)/2, run(b, f, 1))
				})
			})
		}
	})

	t.Run("AsStepInAFlatBatch", func(t *testing.T) {
		t.Parallel()
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) {
				b, err := durable.Map(ctx, "m", []int{1, 2}, durable.AsStep(func(_ context.Context, n int) (int, error) { return 2 * n, nil }),
					durable.Flat(), durable.WithMaxConcurrency(1), durable.WithItemNames(func(i int) string { return fmt.Sprint("n", i) }))
				return b.Values(), err
			},
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Equal(t, []int{2, 4}, got)
			},
			history: []string{"ContextStarted 1 m", "StepStarted 1-1-1 n0", "StepSucceeded 1-1-1 n0", "StepStarted 1-2-1 n1", "StepSucceeded 1-2-1 n1", "ContextSucceeded 1 m"},
		}.run(t)
	})

	t.Run("ItemNameThatPanicsFailsTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				_, err := durable.Map(ctx, "m", []int{1}, func(*durable.Context, int, int) (int, error) { return 1, nil }, durable.WithItemNames(func(int) string { panic("boom") }))
				return 1, err
			})
			b := setupWith(t, opts, f)
			_, err := finish(b, start(b, f, 1))
			require.ErrorIs(t, err, durable.ErrPanic)
		})
	})

	t.Run("SurvivesRestarts", func(t *testing.T) {
		t.Parallel()
		for form, opts := range flat {
			t.Run(form, func(t *testing.T) {
				everyLife(t, func(t *testing.T, life durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) ([]int, error) {
						b, err := durable.Map(ctx, "m", make([]int, 20), func(ctx *durable.Context, _, i int) (int, error) {
							if err := durable.Wait(ctx, "w", time.Duration(i*7%20)*time.Minute); err != nil {
								return 0, err
							}
							return durable.Step(ctx, "s", body(i))
						}, append(opts, durable.WithMaxConcurrency(5))...)
						return b.Values(), err
					})
					d := newDisk(t)
					b := boot(t, d, life, f)
					x := start(b, f, 1)
					for range 10 {
						time.Sleep(5*time.Minute + time.Second)
						b.crash()
						b = boot(t, d, life, f)
					}
					out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
					require.NoError(t, err)
					require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, out)
				})
			})
		}
	})

	t.Run("OtherItemsThanRecordedAreNoticed", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			then, now []string
			wait      bool // inside the items: the batch has not ended when the code changes
		}{
			"FewerWhileItRuns": {[]string{"a", "b", "c"}, []string{"a"}, true},
			"FewerAfterItsEnd": {[]string{"a", "b", "c"}, []string{"a"}, false},
			"OtherNames":       {[]string{"a", "b"}, []string{"a", "z"}, true},
			"MoreAfterItsEnd":  {[]string{"a", "b"}, []string{"a", "b", "c"}, false},
			"NamesAfterItsEnd": {[]string{"a", "b"}, []string{"a", "z"}, false},
		} {
			t.Run(name, func(t *testing.T) {
				for form, opts := range flat {
					if form == "Flat" && strings.Contains(name, "Names") {
						continue // names of flat items are not recorded
					}
					t.Run(form, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							var code atomic.Value
							code.Store(c.then)
							f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
								items := code.Load().([]string)
								_, err := durable.Map(ctx, "m", items, func(ctx *durable.Context, s string, _ int) (string, error) {
									if !c.wait {
										return s, nil
									}
									return s, durable.Wait(ctx, "w", time.Hour)
								}, append(opts, durable.WithItemNames(func(i int) string { return items[i] }))...)
								if err != nil {
									return 0, err
								}
								return 1, durable.Wait(ctx, "after", time.Hour)
							})
							b := setup(t, f)
							x := start(b, f, 1)
							time.Sleep(time.Minute)
							code.Store(c.now) // a deploy
							time.Sleep(3 * time.Hour)
							info := b.describe(x.ID())
							require.Equal(t, durable.ExecutionRunning, info.Status)
							require.NotNil(t, info.Held)
							require.ErrorIs(t, info.Held, durable.ErrNonDeterministic)
							code.Store(c.then)
							require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
							_, err := finish(b, x)
							require.NoError(t, err)
						})
					})
				}
			})
		}
	})
}

// badUnmarshaler encodes well and does not come back.
type badUnmarshaler struct{}

func (badUnmarshaler) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

func (*badUnmarshaler) UnmarshalJSON([]byte) error { return errors.New("not back again") }

// bare writes strings as they are.
type bare struct{}

func (bare) Name() string                 { return "bare" }
func (bare) Encode(v any) ([]byte, error) { return []byte(v.(string)), nil }
func (bare) Decode(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

// joined is a codec for whole results.
type joined struct{ encoded, decoded atomic.Int32 }

func (c *joined) Name() string { return "joined" }

func (c *joined) Encode(v any) ([]byte, error) {
	c.encoded.Add(1)
	return []byte("OPSERDE:" + strings.Join(v.([]string), ",")), nil
}

func (c *joined) Decode(data []byte, v any) error {
	c.decoded.Add(1)
	*v.(*[]string) = strings.Split(strings.TrimPrefix(string(data), "OPSERDE:"), ",")
	return nil
}

// broken is a codec that can't.
type broken struct{}

func (broken) Name() string               { return "broken" }
func (broken) Encode(any) ([]byte, error) { return nil, errors.New("broken") }
func (broken) Decode([]byte, any) error   { return errors.New("broken") }
