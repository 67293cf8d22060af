package browsertest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/durableui"
)

// Order is the input of the workflow of nine stages.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
	Card  string `json:"card"`
}

// service is an engine behind the console, under a prefix.
type service struct {
	*durable.Engine
	url      string
	declines atomic.Bool // the bank declines cards
	code     atomic.Int32
}

var greet = durable.Define("greet", func(ctx *durable.Context, name string) (string, error) {
	return durable.Step(ctx, "compose", func(context.Context) (string, error) { return "Hello, " + name + "!", nil })
})

// report waits for a long time.
var report = durable.Define("nightly-report", func(ctx *durable.Context, day string) (string, error) {
	if err := durable.Do(ctx, "collect", func(ctx context.Context) error { return work(ctx, 30) }); err != nil {
		return "", err
	}
	return "sent", durable.Wait(ctx, "until-morning", 6*time.Hour+12*time.Minute)
})

// wide does one step for each of n items.
var wide = durable.Define("import-rows", func(ctx *durable.Context, n int) (int, error) {
	b, err := durable.Map(ctx, "rows", make([]int, n), durable.AsStep(func(context.Context, int) (int, error) { return 1, nil }))
	return b.Len(), err
})

// quick is one call, many times.
var quick = durable.DefinePlain("ping", func(context.Context, int) (int, error) { return 1, nil })

// parcel waits for somebody who must give signs of life.
var parcel = durable.Define("parcel", func(ctx *durable.Context, _ struct{}) (string, error) {
	return durable.WaitForCallback[string](ctx, "delivered", func(context.Context, string) error { return nil }, durable.WithHeartbeatTimeout(time.Hour))
})

func work(ctx context.Context, ms int) error {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// order has nine stages: step, wait, map, parallel with retries, condition, invoke,
// child context, callback, and a step that may fail.
func (s *service) order() durable.Definition {
	return durable.Define("order", func(ctx *durable.Context, in Order) (map[string]any, error) {
		items, err := durable.Step(ctx, "validate", func(ctx context.Context) ([]int, error) { return []int{1, 2, 3}, work(ctx, 60) })
		if err != nil {
			return nil, err
		}
		if err := durable.Wait(ctx, "cool-off", 350*time.Millisecond); err != nil {
			return nil, err
		}
		if _, err := durable.Map(ctx, "pick", items, durable.AsStep(func(ctx context.Context, i int) (int, error) { return i, work(ctx, 40*i) }),
			durable.WithMaxConcurrency(2), durable.WithItemNames(func(i int) string { return []string{"frame", "shade", "bulb"}[i] })); err != nil {
			return nil, err
		}
		if _, err := durable.Parallel(ctx, "checks", []durable.Branch[string]{
			{Name: "stock", Run: func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "reserve", func(ctx context.Context) (string, error) { return "ok", work(ctx, 90) })
			}},
			{Name: "fraud", Run: func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "score", func(ctx context.Context) (string, error) {
					info, _ := durable.StepInfoFrom(ctx)
					if work(ctx, 50); info.Attempt < 3 {
						return "", errors.New("the scoring service answered 503 Service Unavailable")
					}
					return "low", nil
				}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 5, Initial: 100 * time.Millisecond, Multiplier: 2, Jitter: durable.NoJitter}))
			}},
		}); err != nil {
			return nil, err
		}
		if _, err := durable.WaitForCondition(ctx, "stock-ready", 0, func(ctx context.Context, n int) (int, error) { return n + 1, work(ctx, 20) },
			durable.PollEvery(80*time.Millisecond, func(n int) bool { return n >= 3 })); err != nil {
			return nil, err
		}
		greeting, err := durable.Invoke(ctx, "greeting", greet, in.Item)
		if err != nil {
			return nil, err
		}
		if _, err := durable.RunInChildContext(ctx, "packing", func(ctx *durable.Context) (int, error) {
			return in.Count, durable.Do(ctx, "pack", func(ctx context.Context) error { return work(ctx, 70) })
		}); err != nil {
			return nil, err
		}
		by, err := durable.WaitForCallback[string](ctx, "approval", func(ctx context.Context, _ string) error { return work(ctx, 30) }, durable.WithTimeout(48*time.Hour))
		if err != nil {
			return nil, err
		}
		err = durable.Do(ctx, "charge", func(ctx context.Context) error {
			if work(ctx, 80); s.declines.Load() {
				return durable.Permanent(errors.New("the bank declined the card"))
			}
			return nil
		})
		return map[string]any{"approvedBy": by, "greeting": greeting, "charged": 12345678901234567.0}, err
	})
}

// moved does another step than the one that is recorded, when its code has changed.
func (s *service) moved() durable.Definition {
	return durable.Define("payout", func(ctx *durable.Context, _ struct{}) (string, error) {
		name := []string{"transfer", "transfer-v2"}[s.code.Load()]
		if err := durable.Do(ctx, name, func(context.Context) error { return nil }); err != nil {
			return "", err
		}
		return durable.WaitForCallback[string](ctx, "settled", func(context.Context, string) error { return nil })
	})
}

// trip fails behind what it has paid for, and gives that back; agency invokes it.
func (s *service) trip() durable.Definition {
	return durable.Define("trip", func(ctx *durable.Context, _ struct{}) (string, error) {
		done := func(context.Context) error { return nil }
		if err := durable.Do(ctx, "pay", done); err != nil {
			return "", err
		}
		err := durable.Do(ctx, "book", func(context.Context) error {
			if s.declines.Load() {
				return durable.Permanent(errors.New("the hotel is full"))
			}
			return nil
		})
		if err != nil {
			return "", errors.Join(err, durable.Do(ctx, "give back", done))
		}
		return "booked", nil
	})
}

var agency = durable.Define("agency", func(ctx *durable.Context, _ struct{}) (string, error) {
	return durable.InvokeByName[string](ctx, "trip", "trip", struct{}{})
})

// serve opens an engine and serves its console below /ops/console/.
func serve(t *testing.T, opts durablehttp.AdminOptions) *service {
	t.Helper()
	s := new(service)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	s.Engine, err = durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{s.order(), s.moved(), s.trip(), agency, greet, report, wide, quick, hostile, parcel}, Logger: quiet, ParkFor: 50 * time.Millisecond})
	require.NoError(t, err)
	opts.AllowUnauthenticated, opts.Logger = true, quiet
	mux := http.NewServeMux()
	mux.Handle("/ops/console/", http.StripPrefix("/ops/console", durableui.Handler(durablehttp.Admin(s.Engine, &opts))))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		server.CloseClientConnections()
		server.Close()
	})
	s.url = server.URL + "/ops/console/"
	return s
}

// start starts a function under an ID.
func (s *service) start(t *testing.T, function, input, id string, opts ...durable.StartOption) {
	t.Helper()
	_, err := s.StartByName(t.Context(), function, []byte(input), append(opts, durable.WithExecutionID(id))...)
	require.NoError(t, err)
}

// ends waits until an execution has ended.
func (s *service) ends(t *testing.T, id string) durable.ExecutionInfo {
	t.Helper()
	s.ResultJSON(t.Context(), id) // an error is an end as well
	info, err := s.Describe(t.Context(), id)
	require.NoError(t, err)
	require.NotEqual(t, durable.ExecutionRunning, info.Status)
	return info
}

// awaitsApproval starts an order and waits until it waits for its callback.
func (s *service) awaitsApproval(t *testing.T, id string) {
	t.Helper()
	s.start(t, "order", `{"item":"lamp","count":2,"card":"4111"}`, id)
	_, err := s.CallbackID(t.Context(), id, "approval")
	require.NoError(t, err)
}

func (s *service) approve(t *testing.T, id string) { s.complete(t, id, "approval") }

func (s *service) complete(t *testing.T, id, name string) {
	t.Helper()
	callback, err := s.CallbackID(t.Context(), id, name)
	require.NoError(t, err)
	require.NoError(t, s.SucceedCallback(t.Context(), callback, "ann"))
}
