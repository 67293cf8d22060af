package pgstore_test

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// set has sessions of a role begin with a setting.
func (a *app) set(setting string) { a.c.exec(a.t, `ALTER ROLE `+a.name+` SET `+setting) }

// TestSettings gives a role what would harm the store.
func TestSettings(t *testing.T) {
	t.Run("AreTheStoresInItsSessions", func(t *testing.T) {
		t.Parallel()
		schema := need(t).Schema()
		a := newApp(t, schema)
		for _, s := range []string{"synchronous_commit = off", "default_transaction_isolation = serializable", "lock_timeout = 1", "statement_timeout = 3000"} {
			a.set(s)
		}
		s := openAt(t, a.url, schema, pgstore.Options{})
		quoted := pgx.Identifier{schema}.Sanitize()
		conn, err := pgx.Connect(t.Context(), a.url) // as the owner of the tables
		require.NoError(t, err)
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), strings.ReplaceAll(`CREATE TABLE $S.seen AS SELECT concat_ws(' ', 0) AS settings WHERE false;
			CREATE FUNCTION $S.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO $S.seen VALUES (concat_ws(' ', current_setting('synchronous_commit'), current_setting('transaction_isolation'), current_setting('lock_timeout'), current_setting('statement_timeout')));
				RETURN NULL;
			END $$;
			CREATE TRIGGER see AFTER INSERT ON $S.journal EXECUTE FUNCTION $S.see()`, "$S", quoted), pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		seen := func() (settings []string) {
			rows, err := conn.Query(t.Context(), `SELECT DISTINCT settings FROM `+quoted+`.seen`)
			require.NoError(t, err)
			settings, err = pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			return settings
		}
		sum := create(t, s, "x", true)
		require.NoError(t, appendTo(s, step(sum, 1)))
		require.Equal(t, []string{"on read committed 15s 0"}, seen())
		_, err = conn.Exec(t.Context(), `DELETE FROM `+quoted+`.seen`)
		require.NoError(t, err)
		tx := begin(t, s)
		require.NoError(t, tx.Commit(step(sum, 2)))
		require.Equal(t, []string{"on serializable 1ms 3s"}, seen(), "the body's own, but for what is acknowledged")
	})

	// Sessions that are idle for as long as the others are ended by the server.
	t.Run("SessionsMayBeIdle", func(t *testing.T) {
		t.Parallel()
		schema := need(t).Schema()
		a := newApp(t, schema)
		a.set("idle_session_timeout = 200")
		var log lines
		s := openAt(t, a.url, schema, pgstore.Options{Lease: time.Hour, Poll: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		create(t, s, "x", true)
		conn, err := pgx.Connect(t.Context(), a.url)
		require.NoError(t, err)
		_, err = conn.WaitForNotification(t.Context())
		require.ErrorContains(t, err, "57P05", "it was idle for as long as the store")
		create(t, s, "y", true)
		require.Zero(t, log.count("notifications have ended"))
		require.Zero(t, log.count("level="), log.text.String())
	})

	t.Run("AreRefused", func(t *testing.T) {
		t.Parallel()
		c := need(t)
		if *throughBouncer {
			t.Skip("PgBouncer does not know the database")
		}
		refused := func(url string, opts pgstore.Options, told ...string) {
			t.Helper()
			opts.Schema = c.Schema()
			s, err := pgstore.Open(t.Context(), url, &opts)
			if err == nil {
				s.Close()
			}
			for _, says := range told {
				require.ErrorContains(t, err, says)
			}
		}
		c.exec(t, `CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
		refused(c.database(t, "latin"), pgstore.Options{}, "encoding is LATIN1", "CREATE DATABASE")
		a := newApp(t, c.Schema())
		a.readOnly(false)
		refused(a.url, pgstore.Options{}, "takes no writes", "ALTER ROLE")
		a.writable()
		a.set("synchronous_commit = off")
		refused(a.url, pgstore.Options{NoListen: true}, "synchronous_commit is off", "ALTER ROLE")
		a.set("synchronous_commit = local")
		a.set("statement_timeout = 60000")
		var log lines
		openAt(t, a.url, c.Schema(), pgstore.Options{NoListen: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.Equal(t, 1, log.count("statement_timeout = 1min"))
	})
}

// TestSilentHost names a machine first that says nothing: the store finds the other one,
// at first and whenever it needs another connection.
func TestSilentHost(t *testing.T) {
	c := need(t)
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close() // the system takes connections, and nobody answers
	p := startProxy(t, c)
	url := strings.Replace(p.url(), "@", "@"+silent.Addr().String()+",", 1)
	s := openAt(t, url, c.Schema(), pgstore.Options{Lease: 3 * time.Second, Poll: 50 * time.Millisecond})
	hints := watched(s)
	sum := create(t, s, "x", true)
	require.NoError(t, begin(t, s).Commit(step(sum, 1)))
	p.reset()
	require.NoError(t, appendTo(s, step(sum, 2)))
	got, err := s.Get(t.Context(), "x")
	require.NoError(t, err)
	require.EqualValues(t, 3, got.Tail)

	// It takes longer than the lease until there is a server.
	number, _ := s.Lease()
	p.cut()
	require.ErrorIs(t, appendTo(s, step(sum, 3)), checkpoint.ErrFenced)
	p.mend()
	claim := claimed(t, s, hints, "x")
	require.True(t, claim.Lost)
	now, _ := s.Lease()
	require.NotEqual(t, number, now)
	require.NoError(t, appendTo(s, step(claim.Summary, claim.Tail)))
}
