package pgstore_test

import (
	"fmt"
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
			for try := 0; ; try++ {
				id := fmt.Sprint("x", try)
				create(t, a, id, true)
				deliver := func(s *pgstore.Store) {
					t.Helper()
					require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"}}))
				}
				told := checkpoint.Hint{Kind: checkpoint.HintInbox, ID: id}
				deliver(a)
				awaitHint(t, hints, told)
				deliver(b)
				awaitHint(t, hints, told)
				kept := a.Delivered(id, 0)
				entries, err := a.Inbox(t.Context(), id, 0)
				require.NoError(t, err)
				require.Len(t, entries, 2)
				if len(kept) > 0 && noListen && try < 50 {
					// The look that told was one of before: it told again of what this process has put there.
					require.Equal(t, entries[:1], kept)
					continue
				}
				require.Empty(t, kept, "there is more than this process has put there")
				if noListen {
					return // it looks at any time
				}
				deliver(a)
				require.Len(t, a.Delivered(id, 2), 1, "what comes behind it is known again")
				return
			}
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
	for try := 0; ; try++ {
		id := fmt.Sprint("x", try)
		create(t, s, id, true)
		deliver := func() {
			t.Helper()
			require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"}}))
		}
		deliver()
		p.dropAnswer()
		deliver()
		kept := s.Delivered(id, 0)
		entries, err := s.Inbox(t.Context(), id, 0)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		if len(kept) == 0 {
			return
		}
		// The answer that was dropped was that of something else that the process asked.
		require.Equal(t, entries, kept, "there is more than what was kept")
		require.Less(t, try, 20)
	}
}
