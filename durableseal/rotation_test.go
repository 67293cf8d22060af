package durableseal_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durableseal"
)

// keptOpen is a store that outlives its engines.
type keptOpen struct{ checkpoint.Store }

func (keptOpen) Close() error { return nil }

// TestRotation seals with a key, goes on with a new one, loses the older one, and
// gets it back.
func TestRotation(t *testing.T) {
	t.Parallel()
	nap := durable.Define("nap", func(ctx *durable.Context, in string) (string, error) {
		first, err := durable.Step(ctx, "first", func(context.Context) (string, error) { return in + " first", nil })
		if err != nil {
			return "", err
		}
		if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
			return "", err
		}
		second, err := durable.Step(ctx, "second", func(context.Context) (string, error) { return first + " second", nil })
		if err != nil {
			return "", err
		}
		return second, durable.Wait(ctx, "sleep again", time.Hour)
	})
	for name, givenBack := range map[string]struct {
		build  string
		resume bool
	}{
		"ByResume":       {"1", true},
		"ByAnotherBuild": {"2", false},
		"ByTheSameBuild": {"1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memstore.New()
				defer store.Close()
				open := func(build string, s *durableseal.Sealer) *durable.Engine {
					e, err := durable.New(keptOpen{store}, &durable.Options{Functions: []durable.Definition{nap}, ParkFor: -1, Build: build, Sealer: s,
						Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
					require.NoError(t, err)
					return e
				}
				start := func(e *durable.Engine, id string) {
					_, err := nap.Start(t.Context(), e, id, durable.WithExecutionID(id))
					require.NoError(t, err)
				}
				pass := func(e *durable.Engine, d time.Duration) {
					time.Sleep(d)
					synctest.Wait()
					require.NoError(t, e.Shutdown(t.Context()))
				}

				e := open("1", sealer(t, "a"))
				start(e, "old")
				pass(e, time.Minute)

				e = open("1", sealer(t, "b", "a"))
				start(e, "new")
				pass(e, 90*time.Minute) // "old" has values of both keys now

				e = open("1", sealer(t, "b"))
				time.Sleep(3 * time.Hour)
				var unknown *durableseal.UnknownKeyError
				_, err := e.Describe(t.Context(), "old")
				require.ErrorAs(t, err, &unknown)
				require.Equal(t, "a", unknown.KeyID)
				out, err := nap.Attach(e, "new").Result(t.Context())
				require.NoError(t, err, "one without values of the key goes on")
				require.Equal(t, "new first second", out)
				left := 0
				for info, err := range e.Executions(t.Context(), durable.Query{Status: durable.ExecutionRunning}) {
					require.ErrorAs(t, err, &unknown, "and listing them goes on behind it")
					require.Equal(t, "old", info.ID)
					left++
				}
				require.Equal(t, 1, left)
				pass(e, 0)

				e = open(givenBack.build, sealer(t, "b", "a"))
				if givenBack.resume {
					info, err := e.Describe(t.Context(), "old")
					require.NoError(t, err)
					require.NotNil(t, info.Held)
					require.Contains(t, info.Held.Message, `"a"`)
					require.NoError(t, e.Resume(t.Context(), "old"))
				}
				out, err = nap.Attach(e, "old").Result(t.Context())
				require.NoError(t, err)
				require.Equal(t, "old first second", out)
				pass(e, 0)
			})
		})
	}
}
