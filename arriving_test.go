package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// arrival is a store between whose answer, that an execution is the engine's, and the
// engine something happens.
type arrival struct {
	*member
	meanwhile func()
	broken    int // so many summaries can't be read
}

func (a *arrival) happens(n int) {
	if f := a.meanwhile; n > 0 && f != nil {
		a.meanwhile = nil
		f()
		synctest.Wait()
	}
}

func (a *arrival) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	claims, err := a.member.Claim(ctx, r)
	a.happens(len(claims))
	return claims, err
}

func (a *arrival) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	sum, created, err := a.member.Create(ctx, c)
	if created && c.Claim {
		a.happens(1)
	}
	return sum, created, err
}

func (a *arrival) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	if a.broken > 0 {
		a.broken--
		return checkpoint.Summary{}, errors.New("the store is at its limit")
	}
	return a.member.Get(ctx, id)
}

// TestEndedByOthersAsItArrives: what another process ends before the engine knows that it
// has it does not stay in memory, and who waits for it is told.
func TestEndedByOthersAsItArrives(t *testing.T) {
	body := durable.DefinePlain("body", func(ctx context.Context, _ int) (int, error) { // nothing is recorded that could be refused
		<-ctx.Done()
		return 0, ctx.Err()
	})
	for _, c := range []struct {
		name   string
		starts bool // or another one does
		broken int
		others int // that end meanwhile
	}{
		{name: "Claimed"},
		{name: "Started", starts: true},
		{name: "TheStoreIsAtItsLimit", broken: 3},
		{name: "AmongMany", others: 3000},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			f := newFleet(t)
			store := &arrival{member: &member{Store: f.base, f: f}}
			f.all = append(f.all, store.member)
			e, err := durable.New(store, &durable.Options{Functions: []durable.Definition{body}, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			t.Cleanup(func() { e.Close() })
			runner := &bundle{T: t, ctx: t.Context(), engine: e, store: store}
			client, _ := f.open(true, durable.Options{})
			store.meanwhile = func() {
				require.NoError(t, client.engine.Stop(t.Context(), "x", ""))
				synctest.Wait()
				for i := range c.others {
					store.watch(checkpoint.Hint{Kind: checkpoint.HintEnded, ID: fmt.Sprint(i)})
				}
				store.broken = c.broken
			}
			starter := client
			if c.starts {
				starter = runner
			}
			before := time.Now()
			x := start(starter, body, 0, durable.WithExecutionID("x"))
			if c.broken == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = runner.engine.ResultJSON(ctx, x.ID())
				require.ErrorIs(t, err, durable.ErrStopped)
			}
			for s := e.Stats(); s.Invocations == 0 || s.Resident > 0; s = e.Stats() {
				require.Less(t, time.Since(before), time.Second, "it stays in memory")
				time.Sleep(10 * time.Millisecond)
			}
			_, err = runner.engine.ResultJSON(t.Context(), x.ID())
			require.ErrorIs(t, err, durable.ErrStopped)
			require.Less(t, time.Since(before), time.Second)
		})
	}
}
