package pgstore_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestFormerPrimaryLivesOn promotes a standby while the primary lives, and so do the
// connections of the pool to it. The writer goes to the new one; what the old one shows
// lacks that, and is not taken for the truth.
func TestFormerPrimaryLivesOn(t *testing.T) {
	need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("it starts servers of its own")
	}
	t.Parallel()
	ctx := t.Context()
	started, standby := startPair(t)
	proxy := startProxy(t, started)
	s := openAt(t, proxy.url(), "former", pgstore.Options{Lease: time.Minute, Poll: time.Hour, NoListen: true})
	x := create(t, s, "x", true)
	// shows asks all that there is to ask, on several connections at once.
	shows := func(want uint64, news int) {
		t.Helper()
		require.NoError(t, eightTimes(func() error {
			tail := uint64(0)
			for r, err := range s.Records(ctx, "x", 0) {
				if err != nil {
					return err
				}
				tail = r.Seq
			}
			sum, err := s.Get(ctx, "x")
			if err != nil {
				return err
			}
			entries, err := s.Inbox(ctx, "x", 0)
			if err == nil && (tail != want || sum.Tail != want || len(entries) != news) {
				err = fmt.Errorf("%d records, the summary says %d, %d entries in the inbox", tail, sum.Tail, len(entries))
			}
			return err
		}))
	}
	shows(1, 0) // there are connections that read

	at, err := pgx.Connect(ctx, standby.URL())
	require.NoError(t, err)
	defer at.Close(ctx)
	require.Eventually(t, func() bool {
		var yes bool
		err := at.QueryRow(ctx, `SELECT count(*) = 1 FROM former.execution`).Scan(&yes)
		return err == nil && yes
	}, patience, 10*time.Millisecond)
	require.NoError(t, standby.Promote())
	proxy.leadTo(standby.Port())
	old, err := pgx.Connect(ctx, started.url)
	require.NoError(t, err)
	defer old.Close(ctx)
	var ended int // the writer's connection is the first that a store makes
	require.NoError(t, old.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
		WHERE application_name = $1 ORDER BY backend_start LIMIT 1) writer`, proxy.name).Scan(&ended))
	require.Equal(t, 1, ended)

	number, _ := s.Lease()
	require.NoError(t, appendTo(s, step(x, 1)))
	transaction := begin(t, s)
	commits := 0
	proxy.onAnswer(func(answer []byte) bool {
		if bytes.Contains(answer, []byte("COMMIT\x00")) {
			commits++
			return commits == 1
		}
		return false
	})
	require.NoError(t, transaction.Commit(step(x, 2)), "what the old one says of it is no answer")
	require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	shows(3, 1)
	now, _ := s.Lease()
	require.Equal(t, number, now, "nothing was lost")
}
