package pgstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestDeliveredByOthers: what others have put into an inbox is found by whoever is told of
// it, whatever this process has put there itself.
func TestDeliveredByOthers(t *testing.T) {
	c := need(t)
	t.Parallel()
	for name, poll := range map[string]time.Duration{"Told": time.Hour, "Looked": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noListen := name == "Looked"
			if *throughBouncer && !noListen {
				t.Skip("nobody listens")
			}
			schema := c.Schema()
			a := openAt(t, c.url, schema, pgstore.Options{Poll: poll, Lease: time.Hour, NoListen: noListen})
			b := openAt(t, c.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, NoListen: noListen})
			hints := watched(a)
			create(t, a, "x", true)
			deliver := func(s *pgstore.Store) {
				t.Helper()
				require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"}}))
			}
			told := checkpoint.Hint{Kind: checkpoint.HintInbox, ID: "x"}
			deliver(a)
			awaitHint(t, hints, told)
			deliver(b)
			awaitHint(t, hints, told)
			require.Empty(t, a.Delivered("x", 0), "there is more than this process has put there")
			entries, err := a.Inbox(t.Context(), "x", 0)
			require.NoError(t, err)
			require.Len(t, entries, 2)
			if noListen {
				return // it looks at any time
			}
			deliver(a)
			require.Len(t, a.Delivered("x", 2), 1, "what comes behind it is known again")
		})
	}
}

// TestDeliveredWhoseAnswerIsLost: what a round has put into an inbox whose answer did not
// arrive is found, too.
func TestDeliveredWhoseAnswerIsLost(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer stands between")
	}
	t.Parallel()
	p := startProxy(t, c)
	s := openAt(t, p.url(), c.Schema(), pgstore.Options{Poll: time.Hour, Lease: time.Minute, NoListen: true})
	create(t, s, "x", true)
	deliver := func() {
		t.Helper()
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"}}))
	}
	deliver()
	p.dropAnswer()
	deliver()
	require.EqualValues(t, 1, p.dropped.Load())
	require.Empty(t, s.Delivered("x", 0), "there is more than what was kept")
	entries, err := s.Inbox(t.Context(), "x", 0)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}
