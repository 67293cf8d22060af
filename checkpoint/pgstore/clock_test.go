package pgstore_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestClockSetBack has all leases end an hour later than they can, as if the server's clock
// had been set back by that: who is gone is found to be gone all the same, and who lives
// keeps what it has.
func TestClockSetBack(t *testing.T) {
	c := need(t)
	t.Parallel()
	schema := c.Schema()
	opts := pgstore.Options{Lease: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	longer := opts
	longer.Lease = time.Minute
	proxy := startProxy(t, c)
	gone := openAt(t, proxy.url(), schema, opts)
	lives, idle := open(t, schema, opts), open(t, schema, longer)
	hints := watched(lives)
	create(t, gone, "x", true)
	create(t, idle, "y", true)
	own, _ := lives.Lease()
	longest, _ := idle.Lease()
	proxy.cut()
	name := pgx.Identifier{schema}.Sanitize()
	c.exec(t, `UPDATE `+name+`.process SET lease_until = lease_until + 3600000000000::bigint`)
	claim := claimed(t, lives, hints, "x")
	require.True(t, claim.Lost)
	now, _ := lives.Lease()
	require.Equal(t, own, now, "it lives")
	now, _ = idle.Lease()
	require.Equal(t, longest, now, "it lives")
	require.EqualValues(t, 1, c.exec(t, `SELECT FROM `+name+`.process WHERE id = $1 AND lease_until BETWEEN
		extract(epoch FROM clock_timestamp()) * 1e9 + 40e9 AND extract(epoch FROM clock_timestamp()) * 1e9 + 61e9`, longest), "nobody has cut its lease short")
}
