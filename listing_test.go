package durable_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestListing lists what can't be read in whole, too.
func TestListing(t *testing.T) {
	inBubble(t, "ListingGoesOnBehindAnExecutionThatCanNotBeOpened", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) })
		b := m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Build: "1"}, f)
		start(b, f, 0, durable.WithExecutionID("old"))
		time.Sleep(time.Minute)
		m.shutDown(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 2), Build: "2"}, f)
		start(b, f, 0, durable.WithExecutionID("a"))
		time.Sleep(time.Minute)
		start(b, f, 0, durable.WithExecutionID("b"))
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Build: "1"}, f)
		var seen []string
		for info, _ := range b.engine.Executions(b.ctx, durable.Query{}) {
			seen = append(seen, info.ID)
		}
		require.Len(t, seen, 3)
	})
}
