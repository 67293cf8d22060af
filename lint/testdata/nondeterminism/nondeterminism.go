package nondeterminism

import (
	"context"
	crand "crypto/rand"
	"log"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/durable-go/durable"
)

func newID() string { return "order-" + uuid.NewString() }

func anID() string { return newID() }

func deadline(d time.Duration) (time.Time, error) { return time.Now().Add(d), nil }

// measure looks at the clock and returns nothing of it.
func measure() int {
	began := time.Now()
	log.Println(time.Since(began))
	return 1
}

func bad(ctx *durable.Context, since time.Time) {
	_ = time.Now()                  // want `time.Now in handler code: the handler runs again .*; use durable.Now\(ctx\) \(nondeterminism\)`
	_ = time.Since(since)           // want `time.Since in handler code: .*; use durable.Now\(ctx\).Sub\(t\)`
	_ = time.Until(since)           // want `time.Until in handler code: .*; use t.Sub\(durable.Now\(ctx\)\)`
	time.Sleep(time.Second)         // want `time.Sleep in handler code: the time begins anew .*; use durable.Wait`
	<-time.After(time.Second)       // want `time.After in handler code: .*; use durable.After`
	_ = time.NewTimer(time.Second)  // want `time.NewTimer in handler code`
	_ = time.Tick(time.Second)      // want `time.Tick in handler code`
	_ = rand.Intn(6)                // want `rand.Intn in handler code: .*; do it in a step`
	_ = randv2.N(6)                 // want `randv2.N in handler code`
	_ = crand.Text()                // want `crand.Text in handler code`
	_ = uuid.New()                  // want `uuid.New in handler code: .*; use durable.NewUUID\(ctx\)`
	_ = uuid.Must(uuid.NewRandom()) // want `uuid.NewRandom in handler code`
	_ = os.Getenv("MODE")           // want `os.Getenv in handler code: .*; read it in a step, or take it with the input`
	_ = anID()                      // want `anID in handler code returns what comes from uuid.NewString: .*; call it in a step`
	_, _ = deadline(time.Hour)      // want `deadline in handler code returns what comes from time.Now`
	func() {
		_ = time.Now() // want `time.Now in handler code`
	}()
	_, _ = durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (time.Time, error) {
		return time.Now(), nil // want `time.Now in handler code`
	})
	_, _ = durable.Map(ctx, "named", []int{1}, durable.AsStep(func(_ context.Context, n int) (int, error) { return n, nil }),
		durable.WithItemNames(func(int) string { return uuid.NewString() })) // want `uuid.NewString in handler code`
	scoped(ctx, func(ctx *durable.Context) {
		_ = time.Now() // want `time.Now in handler code`
	})
	_ = durable.Do(ctx, uuid.NewString(), func(context.Context) error { return nil }) // want `uuid.NewString in handler code`
}

func good(ctx *durable.Context) {
	_ = durable.Now(ctx).Add(time.Hour)
	_ = durable.NewUUID(ctx)
	_ = time.Unix(0, 0)
	_ = time.Duration(5) * time.Second
	_ = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	_ = rand.New(rand.NewSource(1)).Intn(6) // the same each time
	_ = measure()
	ctx.Logger().Info("logged", "at", time.Now())
	log.Println("logged", time.Now())
	_, _ = durable.Step(ctx, "draw", func(context.Context) (int, error) {
		time.Sleep(time.Second)
		return rand.Intn(6), nil
	})
	fetch := func(context.Context) (time.Time, error) { return time.Now(), nil }
	_, _ = durable.Step(ctx, "fetch", fetch)
	_, _ = durable.WaitForCondition(ctx, "ready", time.Time{},
		func(context.Context, time.Time) (time.Time, error) { return time.Now(), nil },
		func(t time.Time, _ int) durable.Poll { return durable.PollAfter(time.Until(t)) })
	_ = once(ctx, func() string { return uuid.NewString() })
}

// once makes a step of a function without a context.
func once(ctx *durable.Context, fn func() string) string {
	out, _ := durable.Step(ctx, "once", func(context.Context) (string, error) { return fn(), nil })
	return out
}

// scoped runs fn in a context of its own.
func scoped(ctx *durable.Context, fn func(*durable.Context)) {
	_, _ = durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) { fn(ctx); return 0, nil })
}

func outside() (time.Time, uuid.UUID) { return time.Now(), uuid.New() }

var plain = durable.DefinePlain("plain", func(context.Context, int) (time.Time, error) { return time.Now(), nil })
