package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// memory is an engine that keeps everything in memory, for the examples.
func memory(functions ...durable.Definition) *durable.Engine {
	engine, err := durable.New(memstore.New(), &durable.Options{
		Functions: functions,
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return engine
}

func Example() {
	type Order struct{ Item string }

	checkout := durable.Define("checkout", func(ctx *durable.Context, o Order) (string, error) {
		// A step runs once; a replay returns what it returned.
		charge, err := durable.Step(ctx, "charge", func(context.Context) (string, error) {
			return "charged for " + o.Item, nil
		})
		if err != nil {
			return "", err
		}
		// A wait may take a month: the execution leaves memory meanwhile.
		if err := durable.Wait(ctx, "cool-off", 10*time.Millisecond); err != nil {
			return "", err
		}
		return charge, nil
	})

	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{checkout}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()

	receipt, err := checkout.Run(context.Background(), engine, Order{"a book"}, durable.WithExecutionID("order-42"))
	fmt.Println(receipt, err)
	// Output: charged for a book <nil>
}

// One file holds everything. Opened again, the engine goes on with what is in it.
func ExampleOpen() {
	greet := durable.Define("greet", func(ctx *durable.Context, name string) (string, error) {
		return durable.Step(ctx, "greet", func(context.Context) (string, error) { return "Hello, " + name + "!", nil })
	})
	dir, err := os.MkdirTemp("", "durable")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.db")

	for range 2 {
		engine, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{greet}})
		if err != nil {
			fmt.Println(err)
			return
		}
		// The same ID: the second time this attaches to the execution in the file.
		out, err := greet.Run(context.Background(), engine, "World", durable.WithExecutionID("greeting-1"))
		fmt.Println(out, err)
		if err := engine.Shutdown(context.Background()); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// Hello, World! <nil>
	// Hello, World! <nil>
}

func ExampleDefine() {
	// A handler is an ordinary function. Effects belong into steps.
	add := durable.Define("add", func(ctx *durable.Context, in [2]int) (int, error) {
		return durable.Step(ctx, "sum", func(context.Context) (int, error) { return in[0] + in[1], nil })
	})
	engine := memory(add)
	defer engine.Close()

	sum, err := add.Run(context.Background(), engine, [2]int{2, 3})
	fmt.Println(sum, err)
	// Output: 5 <nil>
}

// A plain function has no operations of its own. It can be started and invoked
// like any other.
func ExampleDefinePlain() {
	shout := durable.DefinePlain("shout", func(_ context.Context, s string) (string, error) {
		return strings.ToUpper(s), nil
	})
	engine := memory(shout)
	defer engine.Close()

	out, err := shout.Run(context.Background(), engine, "hello")
	fmt.Println(out, err)
	// Output: HELLO <nil>
}

// Start returns as soon as the execution is durable; Result waits for its end.
func ExampleFunction_Start() {
	nap := durable.Define("nap", func(ctx *durable.Context, d time.Duration) (string, error) {
		return "rested", durable.Wait(ctx, "nap", d)
	})
	engine := memory(nap)
	defer engine.Close()

	x, err := nap.Start(context.Background(), engine, 10*time.Millisecond, durable.WithExecutionID("nap-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("started", x.ID())
	out, err := x.Result(context.Background())
	fmt.Println(out, err)
	// Output:
	// started nap-1
	// rested <nil>
}

// Whoever knows the ID can wait for the result, in another request or after a restart.
func ExampleFunction_Attach() {
	nap := durable.Define("nap", func(ctx *durable.Context, d time.Duration) (string, error) {
		return "rested", durable.Wait(ctx, "nap", d)
	})
	engine := memory(nap)
	defer engine.Close()
	ctx := context.Background()

	if _, err := nap.Start(ctx, engine, time.Millisecond, durable.WithExecutionID("nap-1")); err != nil {
		fmt.Println(err)
	}
	out, err := nap.Attach(engine, "nap-1").Result(ctx)
	fmt.Println(out, err)

	_, err = nap.Attach(engine, "nap-2").Result(ctx)
	fmt.Println(errors.Is(err, durable.ErrExecutionNotFound))
	// Output:
	// rested <nil>
	// true
}

func ExampleStep() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.Step(ctx, "fetch", func(ctx context.Context) (string, error) {
			// A body gets a standard context: any client fits in here.
			return "fetched", ctx.Err()
		}, durable.WithTimeout(time.Minute), durable.WithAttemptTimeout(10*time.Second))
	})
	engine := memory(f)
	defer engine.Close()

	out, err := f.Run(context.Background(), engine, durable.None{})
	fmt.Println(out, err)
	// Output: fetched <nil>
}

func ExampleDo() {
	f := durable.Define("f", func(ctx *durable.Context, name string) (string, error) {
		// A step without a result.
		err := durable.Do(ctx, "notify", func(context.Context) error {
			fmt.Println("notified", name)
			return nil
		})
		return "done", err
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, "Ada"))
	// Output:
	// notified Ada
	// done <nil>
}

func ExampleCall() {
	// An existing function is a step as it is.
	double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }

	f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
		return durable.Call(ctx, "double", double, n)
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, 21))
	// Output: 42 <nil>
}

func ExampleAsStep() {
	double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }

	f := durable.Define("f", func(ctx *durable.Context, items []int) ([]int, error) {
		batch, err := durable.Map(ctx, "double", items, durable.AsStep(double), durable.WithMaxConcurrency(2))
		if err != nil {
			return nil, err
		}
		return batch.Values(), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, []int{1, 2, 3}))
	// Output: [2 4 6] <nil>
}

func ExampleWithRetry() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.Step(ctx, "flaky", func(ctx context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(ctx)
			if info.Attempt < 3 {
				return "", errors.New("not yet")
			}
			return fmt.Sprintf("attempt %d", info.Attempt), nil
		}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 5, Initial: time.Millisecond}))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: attempt 3 <nil>
}

func ExampleRetryPolicy_Delay() {
	p := durable.RetryPolicy{Initial: time.Second, Max: 5 * time.Second, Jitter: durable.NoJitter}
	for attempt := 1; attempt <= 4; attempt++ {
		fmt.Println(p.Delay(attempt))
	}
	// Output:
	// 1s
	// 2s
	// 4s
	// 5s
}

func ExamplePermanent() {
	f := durable.Define("f", func(ctx *durable.Context, card string) (string, error) {
		return durable.Step(ctx, "charge", func(context.Context) (string, error) {
			return "", durable.Permanent(errors.New("card declined")) // no use trying again
		})
	})
	engine := memory(f)
	defer engine.Close()

	_, err := f.Run(context.Background(), engine, "4242")
	failure, _ := errors.AsType[*durable.Failure](err)
	fmt.Println(failure.Message)
	// Output: card declined
}

func ExampleRetryAfter() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.Step(ctx, "call", func(ctx context.Context) (string, error) {
			if info, _ := durable.StepInfoFrom(ctx); info.Attempt == 1 {
				// The server said when to come back.
				return "", durable.RetryAfter(10*time.Millisecond, errors.New("429 too many requests"))
			}
			return "served", nil
		})
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: served <nil>
}

func ExampleAtMostOnce() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		// If a crash cuts it off, it has failed with ErrInterrupted, and does not run again.
		out, err := durable.Step(ctx, "print the cheque", func(context.Context) (string, error) { return "printed", nil }, durable.AtMostOnce())
		if errors.Is(err, durable.ErrInterrupted) {
			return "ask somebody to look into the tray", nil
		}
		return out, err
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: printed <nil>
}

// The key is the same for all attempts and replays of a step, and no other.
func ExampleStepInfoFrom() {
	keys := map[string]bool{}
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.Step(ctx, "pay", func(ctx context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(ctx)
			keys[info.IdempotencyKey] = true // send it to the payment provider
			if info.Attempt < 3 {
				return "", errors.New("timeout")
			}
			return fmt.Sprintf("%s, operation %s, attempt %d", info.Name, info.OperationID, info.Attempt), nil
		}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Millisecond}))
	})
	engine := memory(f)
	defer engine.Close()

	out, err := f.Run(context.Background(), engine, durable.None{})
	fmt.Println(out, err, len(keys))
	// Output: pay, operation 1, attempt 3 <nil> 1
}

func ExampleWait() {
	f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (bool, error) {
		began := durable.Now(ctx)
		if err := durable.Wait(ctx, "pause", d); err != nil {
			return false, err
		}
		return durable.Now(ctx).Sub(began) >= d, nil // it never returns early
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, 20*time.Millisecond))
	// Output: true <nil>
}

func ExampleWaitUntil() {
	f := durable.Define("f", func(ctx *durable.Context, at time.Time) (string, error) {
		return "on time", durable.WaitUntil(ctx, "departure", at)
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, time.Now().Add(10*time.Millisecond)))
	// Output: on time <nil>
}

func ExampleAfter() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		timer := durable.After(ctx, "at least this long", 20*time.Millisecond)
		out, err := durable.Step(ctx, "work", func(context.Context) (string, error) { return "worked", nil })
		if err != nil {
			return "", err
		}
		return out, timer.Await(ctx)
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: worked <nil>
}

// The state is recorded after each check and survives restarts.
func ExampleWaitForCondition() {
	type Job struct {
		Status string
		Checks int
	}
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (Job, error) {
		return durable.WaitForCondition(ctx, "job is done", Job{Status: "queued"},
			func(_ context.Context, j Job) (Job, error) {
				j.Checks++
				if j.Checks == 3 {
					j.Status = "done" // what the job's API says
				}
				return j, nil
			},
			durable.PollEvery(time.Millisecond, func(j Job) bool { return j.Status == "done" }))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: {done 3} <nil>
}

func ExamplePollBackoff() {
	never := func(int) bool { return false }
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (int, error) {
		return durable.WaitForCondition(ctx, "quorum", 0,
			func(_ context.Context, n int) (int, error) { return n + 1, nil },
			durable.PollBackoff(durable.RetryPolicy{MaxAttempts: 4, Initial: time.Millisecond, Jitter: durable.NoJitter}, never))
	})
	engine := memory(f)
	defer engine.Close()

	_, err := f.Run(context.Background(), engine, durable.None{})
	failure, _ := errors.AsType[*durable.Failure](err)
	fmt.Println(failure.Message)
	// Output: the condition was not met in 4 checks
}

func ExampleCreateCallback() {
	type Approval struct{ By string }

	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		callback, err := durable.CreateCallback[Approval](ctx, "approval", durable.WithTimeout(time.Hour))
		if err != nil {
			return "", err
		}
		// Send callback.ID() to whoever approves, in a step; then:
		approval, err := callback.Await(ctx)
		if err != nil {
			return "", err
		}
		return "approved by " + approval.By, nil
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The other side, minutes or days later.
	id, err := engine.CallbackID(ctx, x.ID(), "approval")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(engine.SucceedCallback(ctx, id, Approval{By: "Ada"}))
	fmt.Println(errors.Is(engine.SucceedCallback(ctx, id, Approval{By: "Bob"}), durable.ErrCallbackCompleted))

	fmt.Println(x.Result(ctx))
	// Output:
	// <nil>
	// true
	// approved by Ada <nil>
}

func ExampleWaitForCallback() {
	mailbox := make(chan string, 1)

	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.WaitForCallback[string](ctx, "answer", func(_ context.Context, id string) error {
			mailbox <- id // runs as a step: it is retried until it succeeds
			return nil
		}, durable.WithTimeout(time.Hour))
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.SucceedCallback(ctx, <-mailbox, "forty-two"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(x.Result(ctx))
	// Output: forty-two <nil>
}

func ExampleEngine_FailCallback() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		callback, err := durable.CreateCallback[string](ctx, "approval")
		if err != nil {
			return "", err
		}
		_, err = callback.Await(ctx)
		if failure, ok := errors.AsType[*durable.Failure](err); ok && errors.Is(err, durable.ErrCallbackFailed) {
			return failure.Type + ": " + failure.Message, nil
		}
		return "", err
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := engine.CallbackID(ctx, x.ID(), "approval")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.FailCallback(ctx, id, durable.Failure{Type: "Rejected", Message: "over budget"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(x.Result(ctx))
	// Output: Rejected: over budget <nil>
}

func ExampleParallel() {
	check := func(name string) durable.Branch[string] {
		return durable.Branch[string]{Name: name, Run: func(ctx *durable.Context) (string, error) {
			return durable.Step(ctx, "check", func(context.Context) (string, error) { return name + " ok", nil })
		}}
	}
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) ([]string, error) {
		batch, err := durable.Parallel(ctx, "checks", []durable.Branch[string]{check("stock"), check("credit"), check("address")})
		if err != nil {
			return nil, err
		}
		return batch.Values(), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: [stock ok credit ok address ok] <nil>
}

func ExampleMap() {
	f := durable.Define("f", func(ctx *durable.Context, words []string) ([]int, error) {
		batch, err := durable.Map(ctx, "lengths", words, func(ctx *durable.Context, word string, i int) (int, error) {
			return durable.Step(ctx, "length", func(context.Context) (int, error) { return len(word), nil })
		}, durable.WithMaxConcurrency(10))
		if err != nil {
			return nil, err
		}
		return batch.Values(), nil // in the order of the words
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, []string{"a", "list", "of", "words"}))
	// Output: [1 4 2 5] <nil>
}

// Some items may fail: the batch says which.
func ExampleBatch() {
	f := durable.Define("f", func(ctx *durable.Context, numbers []int) (string, error) {
		batch, err := durable.Map(ctx, "halve", numbers, func(ctx *durable.Context, n, _ int) (int, error) {
			if n%2 == 1 {
				return 0, fmt.Errorf("%d is odd", n)
			}
			return n / 2, nil
		}, durable.WithToleratedFailures(1), durable.WithItemNames(func(i int) string { return fmt.Sprintf("n%d", i) }))
		if err != nil {
			return "", err // more than one failed
		}
		var report strings.Builder
		for item := range batch.All() {
			fmt.Fprintf(&report, "%s %s %d; ", item.Name, item.Status, item.Value)
		}
		return report.String() + string(batch.Reason()), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, []int{2, 3, 4}))
	// Output: n0 SUCCEEDED 1; n1 FAILED 0; n2 SUCCEEDED 2; ALL_COMPLETED <nil>
}

// The first two answers are enough; the third is cancelled.
func ExampleWithMinSuccessful() {
	ask := func(name string, takes time.Duration) durable.Branch[string] {
		return durable.Branch[string]{Name: name, Run: func(ctx *durable.Context) (string, error) {
			return name, durable.Wait(ctx, "think", takes)
		}}
	}
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) ([]string, error) {
		batch, err := durable.Parallel(ctx, "ask", []durable.Branch[string]{
			ask("Ada", time.Millisecond), ask("Bob", time.Hour), ask("Eve", 2*time.Millisecond),
		}, durable.WithMinSuccessful(2))
		if err != nil {
			return nil, err
		}
		return batch.Values(), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: [Ada Eve] <nil>
}

func ExampleRunInChildContext() {
	f := durable.Define("f", func(ctx *durable.Context, city string) (string, error) {
		// What belongs together has a name, a scope and a timeout of its own.
		return durable.RunInChildContext(ctx, "book", func(ctx *durable.Context) (string, error) {
			hotel, err := durable.Step(ctx, "hotel", func(context.Context) (string, error) { return "hotel in " + city, nil })
			if err != nil {
				return "", err
			}
			flight, err := durable.Step(ctx, "flight", func(context.Context) (string, error) { return "flight to " + city, nil })
			return hotel + ", " + flight, err
		}, durable.WithTimeout(time.Hour))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, "Oslo"))
	// Output: hotel in Oslo, flight to Oslo <nil>
}

func ExampleGo() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		report := durable.Go(ctx, "report", func(ctx *durable.Context) (string, error) {
			return "report", durable.Wait(ctx, "render", 5*time.Millisecond)
		})
		// The handler goes on meanwhile.
		mail, err := durable.Step(ctx, "draft", func(context.Context) (string, error) { return "mail", nil })
		if err != nil {
			return "", err
		}
		attachment, err := report.Await(ctx)
		return mail + " with " + attachment, err
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: mail with report <nil>
}

// quote is a future of an offer that takes its time, for the examples.
func quote(ctx *durable.Context, shop string, takes time.Duration) *durable.Future[string] {
	return durable.Go(ctx, shop, func(ctx *durable.Context) (string, error) {
		return "offer of " + shop, durable.Wait(ctx, "think", takes)
	})
}

func ExampleAll() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) ([]string, error) {
		return durable.All(ctx, "all offers", quote(ctx, "A", 5*time.Millisecond), quote(ctx, "B", time.Millisecond))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: [offer of A offer of B] <nil>
}

func ExampleAny() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		closed := durable.Go(ctx, "C", func(*durable.Context) (string, error) { return "", errors.New("closed") })
		return durable.Any(ctx, "first good offer", closed, quote(ctx, "A", time.Millisecond))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: offer of A <nil>
}

func ExampleRace() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return durable.Race(ctx, "fastest", quote(ctx, "A", time.Hour), quote(ctx, "B", time.Millisecond))
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: offer of B <nil>
}

// Whichever comes first: the answer, or the time.
func ExampleSelect() {
	f := durable.Define("f", func(ctx *durable.Context, patience time.Duration) (string, error) {
		answer, err := durable.CreateCallback[string](ctx, "answer")
		if err != nil {
			return "", err
		}
		timer := durable.After(ctx, "patience", patience)
		first, err := durable.Select(ctx, "answer or patience", answer, timer)
		if err != nil {
			return "", err // it is cancelled: nobody has answered, and the time is not over
		}
		switch first {
		case answer:
			return answer.Await(ctx)
		case timer:
			return "no answer", nil
		}
		panic("Select returns one of those it was given")
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, 5*time.Millisecond))
	// Output: no answer <nil>
}

func ExampleSettled() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		offers := []*durable.Future[string]{quote(ctx, "A", 300*time.Millisecond), quote(ctx, "B", time.Millisecond), quote(ctx, "C", 150*time.Millisecond)}
		var order []string
		for first := range durable.Settled(ctx, "as they come", durable.Awaitables(offers)...) {
			order = append(order, first.Name()) // the order is recorded
		}
		return strings.Join(order, " "), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: B C A <nil>
}

func ExampleInvoke() {
	hello := durable.DefinePlain("hello", func(_ context.Context, name string) (string, error) {
		return "Hello, " + name + "!", nil
	})
	caller := durable.Define("caller", func(ctx *durable.Context, name string) (string, error) {
		// An execution of its own, started once, however often this is replayed.
		return durable.Invoke(ctx, "greet", hello, name)
	})
	engine := memory(hello, caller)
	defer engine.Close()

	fmt.Println(caller.Run(context.Background(), engine, "World"))
	// Output: Hello, World! <nil>
}

func ExampleInvokeByName() {
	hello := durable.DefinePlain("hello", func(_ context.Context, name string) (string, error) {
		return "Hello, " + name + "!", nil
	})
	caller := durable.Define("caller", func(ctx *durable.Context, function string) (string, error) {
		return durable.InvokeByName[string](ctx, "greet", function, "World")
	})
	engine := memory(hello, caller)
	defer engine.Close()

	fmt.Println(caller.Run(context.Background(), engine, "hello"))
	_, err := caller.Run(context.Background(), engine, "goodbye")
	fmt.Println(errors.Is(err, durable.ErrFunctionNotFound))
	// Output:
	// Hello, World! <nil>
	// true
}

// Time and randomness in handler code must be the same on every replay.
func ExampleNow() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (bool, error) {
		began := durable.Now(ctx)
		if err := durable.Wait(ctx, "pause", time.Millisecond); err != nil {
			return false, err
		}
		return durable.Now(ctx).After(began), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: true <nil>
}

func ExampleNewUUID() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (uuid.UUID, error) {
		return durable.NewUUID(ctx), nil
	})
	engine := memory(f)
	defer engine.Close()

	id, err := f.Run(context.Background(), engine, durable.None{})
	fmt.Println(id != uuid.Nil, id.Version(), err)
	// Output: true VERSION_4 <nil>
}

// Executions that passed this point before the change go the old way to their end.
func ExampleVersion() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		if durable.Version(ctx, "new carrier", 1) >= 1 {
			return durable.Step(ctx, "ship by bike", func(context.Context) (string, error) { return "on a bike", nil })
		}
		return durable.Step(ctx, "ship by truck", func(context.Context) (string, error) { return "on a truck", nil })
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: on a bike <nil>
}

// Undo what was done, also when the execution was cancelled.
func ExampleContext_WithoutCancel() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		err := durable.Wait(ctx, "delivery", time.Hour)
		if errors.Is(err, durable.ErrCanceled) {
			return durable.Step(ctx.WithoutCancel(), "refund", func(context.Context) (string, error) { return "refunded", nil })
		}
		return "delivered", err
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.Cancel(ctx, x.ID(), "the customer called"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(x.Result(ctx))
	// Output: refunded <nil>
}

// A line of the context's logger appears once, however often the handler is replayed.
func ExampleContext_Logger() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		ctx.Logger().Info("before")
		if err := durable.Wait(ctx, "pause", 5*time.Millisecond); err != nil {
			return "", err
		}
		ctx.Logger().Info("after")
		return "done", nil
	})
	plain := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	engine, err := durable.New(memstore.New(), &durable.Options{
		Functions: []durable.Definition{f},
		Logger:    slog.New(plain),
		ParkFor:   -1, // leave memory at each wait, so that it is replayed
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}, durable.WithExecutionID("order-42")))
	// Output:
	// msg=before execution=order-42 function=f
	// msg=after execution=order-42 function=f
	// done <nil>
}

func ExampleWithExecutionID() {
	charges := 0
	pay := durable.Define("pay", func(ctx *durable.Context, amount int) (int, error) {
		return durable.Step(ctx, "charge", func(context.Context) (int, error) { charges++; return amount, nil })
	})
	engine := memory(pay)
	defer engine.Close()
	ctx := context.Background()

	for range 3 { // a client that sends its request again
		fmt.Println(pay.Run(ctx, engine, 100, durable.WithExecutionID("order-42")))
	}
	_, err := pay.Run(ctx, engine, 200, durable.WithExecutionID("order-42"))
	fmt.Println(errors.Is(err, durable.ErrExecutionExists), charges)
	// Output:
	// 100 <nil>
	// 100 <nil>
	// 100 <nil>
	// true 1
}

func ExampleWithExecutionTimeout() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return "", durable.Wait(ctx, "for ever", 1000*time.Hour)
	}, durable.WithExecutionTimeout(10*time.Millisecond))
	engine := memory(f)
	defer engine.Close()

	_, err := f.Run(context.Background(), engine, durable.None{})
	fmt.Println(errors.Is(err, durable.ErrTimeout))
	// Output: true
}

func ExampleWithTimeout() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		_, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}, durable.WithTimeout(10*time.Millisecond))
		return fmt.Sprint("timed out: ", errors.Is(err, durable.ErrTimeout)), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: timed out: true <nil>
}

func ExampleOpError() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		_, err := durable.Step(ctx, "charge", func(context.Context) (string, error) {
			return "", durable.Permanent(&fs.PathError{Op: "open", Path: "key.pem", Err: fs.ErrNotExist})
		})
		op, _ := errors.AsType[*durable.OpError](err)
		failure, _ := errors.AsType[*durable.Failure](err)
		return fmt.Sprintf("%s %q failed with a %s: %s", op.Type, op.Name, failure.Type, failure.Message), nil
	})
	engine := memory(f)
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: STEP "charge" failed with a PathError: open key.pem: file does not exist <nil>
}

// Errors that Options.Errors lists are matched on the first run as on replay,
// through every operation.
func ExampleOptions_errors() {
	errSoldOut := errors.New("sold out")

	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		_, err := durable.Step(ctx, "reserve", func(context.Context) (string, error) {
			return "", durable.Permanent(fmt.Errorf("item 7: %w", errSoldOut))
		})
		if errors.Is(err, errSoldOut) {
			return "back-ordered", nil
		}
		return "", err
	})
	engine, err := durable.New(memstore.New(), &durable.Options{
		Functions: []durable.Definition{f},
		Errors:    []error{errSoldOut},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()

	fmt.Println(f.Run(context.Background(), engine, durable.None{}))
	// Output: back-ordered <nil>
}

func ExampleEngine_History() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		if _, err := durable.Step(ctx, "fetch", func(context.Context) (int, error) { return 7, nil }); err != nil {
			return "", err
		}
		return "done", durable.Wait(ctx, "pause", time.Millisecond)
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	if _, err := f.Run(ctx, engine, durable.None{}, durable.WithExecutionID("x")); err != nil {
		fmt.Println(err)
	}
	for event, err := range engine.History(ctx, "x") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.EventID, event.Type)
	}
	// Output:
	// 1 ExecutionStarted
	// 2 StepStarted
	// 3 StepSucceeded
	// 4 WaitStarted
	// 5 WaitSucceeded
	// 6 InvocationCompleted
	// 7 ExecutionSucceeded
}

func ExampleEngine_Operations() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		if _, err := durable.Step(ctx, "fetch", func(context.Context) (int, error) { return 7, nil }); err != nil {
			return "", err
		}
		return durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, _ := engine.CallbackID(ctx, x.ID(), "approval")
	_ = engine.SucceedCallback(ctx, id, "yes")
	_, _ = x.Result(ctx)

	operations, err := engine.Operations(ctx, x.ID())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range operations {
		fmt.Println(o.ID, o.Type, o.Name, o.Status, string(o.Result))
	}
	// Output:
	// 1 STEP fetch SUCCEEDED 7
	// 2 CONTEXT approval SUCCEEDED "yes"
	// 2-1 CALLBACK approval SUCCEEDED "yes"
	// 2-2 STEP approval SUCCEEDED {}
}

func ExampleEngine_Executions() {
	f := durable.Define("f", func(_ *durable.Context, fail bool) (string, error) {
		if fail {
			return "", errors.New("as it was told")
		}
		return "fine", nil
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	for i, fail := range []bool{false, true, false} {
		_, _ = f.Run(ctx, engine, fail, durable.WithExecutionID(fmt.Sprint("x-", i)))
	}
	for info, err := range engine.Executions(ctx, durable.Query{IDPrefix: "x-", Status: durable.ExecutionFailed}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(info.ID, info.Status, info.Failure)
	}
	// Output: x-1 FAILED as it was told
}

func ExampleEngine_Describe() {
	f := durable.Define("f", func(ctx *durable.Context, name string) (string, error) { return "Hello, " + name, nil })
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	if _, err := f.Run(ctx, engine, "Ada", durable.WithExecutionID("x")); err != nil {
		fmt.Println(err)
	}
	info, err := engine.Describe(ctx, "x")
	fmt.Println(info.Function, info.Status, string(info.Input), string(info.Result), err)
	// Output: f SUCCEEDED "Ada" "Hello, Ada" <nil>
}

func ExampleEngine_StartByName() {
	add := durable.Define("add", func(_ *durable.Context, in struct{ A, B int }) (int, error) { return in.A + in.B, nil })
	engine := memory(add)
	defer engine.Close()
	ctx := context.Background()

	id, err := engine.StartByName(ctx, "add", []byte(`{"A": 2, "B": 3}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := engine.ResultJSON(ctx, id)
	fmt.Println(string(result), err)
	// Output: 5 <nil>
}

func ExampleEngine_Stop() {
	f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (string, error) {
		return "", durable.Wait(ctx, "for ever", 1000*time.Hour)
	})
	engine := memory(f)
	defer engine.Close()
	ctx := context.Background()

	x, err := f.Start(ctx, engine, durable.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(engine.Stop(ctx, x.ID(), "wrong input"))
	_, err = x.Result(ctx)
	failure, _ := errors.AsType[*durable.Failure](err)
	fmt.Println(errors.Is(err, durable.ErrStopped), failure.Message)
	// Output:
	// <nil>
	// true stopped: wrong input
}
