package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// notifications are the server's, as stores see them whose connection string has them: they
// can be refused, delayed, and counted.
type notifications struct {
	c    *cluster
	name string
	url  string
}

func fakeNotifications(t *testing.T, c *cluster) *notifications {
	if *throughBouncer {
		t.Skip("PgBouncer does not pass the search_path on")
	}
	n := &notifications{c: c, name: strings.ReplaceAll(c.Schema(), " ", "_") + "_server"}
	n.url = c.url + "&search_path=" + n.name + ",pg_catalog"
	c.exec(t, `CREATE SCHEMA `+n.name)
	n.exec(t, `CREATE TABLE $.queue (usage float8 NOT NULL); INSERT INTO $.queue VALUES (0); CREATE SEQUENCE $.sent;
		CREATE TABLE $.deferred (n integer);
		CREATE FUNCTION $.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT usage FROM $.queue'`)
	n.does(t, `PERFORM pg_catalog.pg_notify(channel, payload)`)
	t.Cleanup(func() { // one that takes long would be a long transaction beside the other tests
		c.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = '`+n.name+`.sent'::regclass`)
	})
	return n
}

func (n *notifications) exec(t *testing.T, sql string) {
	for _, statement := range strings.Split(sql, ";") {
		n.c.exec(t, strings.ReplaceAll(statement, "$.", n.name+"."))
	}
}

// does says what a notification does that is no greeting.
func (n *notifications) does(t *testing.T, sql string) {
	n.c.exec(t, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %[1]s.pg_notify(channel text, payload text) RETURNS void LANGUAGE plpgsql AS $f$
		BEGIN IF payload LIKE '%% 0 ' THEN PERFORM pg_catalog.pg_notify(channel, payload); ELSE PERFORM nextval('%[1]s.sent'); %[2]s; END IF; END $f$`, n.name, sql))
}

// defers says what the commit of a transaction does that has put a row into deferred.
func (n *notifications) defers(t *testing.T, sql string) {
	n.c.exec(t, fmt.Sprintf(`CREATE FUNCTION %s.at_commit() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN %s; RETURN NULL; END $f$`, n.name, sql))
	n.exec(t, `CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON $.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION $.at_commit()`)
}

// sent is how many were sent, or tried; greetings are not counted.
func (n *notifications) sent(t *testing.T) (sent int) {
	return int(n.c.exec(t, `SELECT FROM generate_series(1, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+n.name+`.sent))`))
}

// use makes changes of all kinds on a, of what b owns, or may claim.
func use(t *testing.T, a, b *pgstore.Store, id string) {
	t.Helper()
	create(t, a, id+" due", false)
	owned := create(t, b, id+" owned", true)
	require.NoError(t, a.Deliver(t.Context(), checkpoint.Delivery{ID: owned.ID, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	create(t, a, id+" ended", false)
	ended, err := a.End(t.Context(), checkpoint.Ending{ID: id + " ended", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
	require.NoError(t, err)
	require.True(t, ended)
}

// all are the hints that b gets of it.
func all(id string) []checkpoint.Hint {
	return []checkpoint.Hint{{Kind: checkpoint.HintDue}, {Kind: checkpoint.HintInbox, ID: id + " owned"}, {Kind: checkpoint.HintEnded, ID: id + " ended"}}
}

// awaitHints waits for hints, in any order.
func awaitHints(t *testing.T, hints <-chan checkpoint.Hint, want ...checkpoint.Hint) {
	t.Helper()
	missing := make(map[checkpoint.Hint]bool)
	for _, h := range want {
		missing[h] = true
	}
	timeout := time.After(patience)
	for len(missing) > 0 {
		select {
		case h := <-hints:
			delete(missing, h)
		case <-timeout:
			t.Fatalf("no hint of %+v", missing)
		}
	}
}

// TestNotificationsStopNoCommit: whatever becomes of a notification, what it tells of is
// made, soon, and found by others when they look.
func TestNotificationsStopNoCommit(t *testing.T) {
	c := need(t)
	for name, does := range map[string]string{
		"TheQueueIsFull":            `RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'`,
		"TheQueueIsFullAtItsCommit": `INSERT INTO $.deferred VALUES (1)`,
		"TheyAreRefused":            `RAISE 'permission denied for function pg_notify' USING ERRCODE = '42501'`,
		"TheyGetLost":               `NULL`,
		"TheyTakeLong":              `PERFORM pg_sleep(3600)`,
		"TheyWaitAtTheirCommit":     `INSERT INTO $.deferred VALUES (1)`,
		"TheSessionEnds":            `PERFORM pg_terminate_backend(pg_backend_pid())`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fakeNotifications(t, c)
			schema := c.Schema()
			var log lines
			opts := pgstore.Options{Poll: 20 * time.Millisecond, Lease: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			a := openAt(t, server.url, schema, opts)
			opts.Logger = slog.New(slog.DiscardHandler)
			b := openAt(t, server.url, schema, opts)
			hints := watched(b)
			full := strings.HasPrefix(name, "TheQueueIsFull")
			switch { // as the server does at a commit
			case full && does[:5] != "RAISE":
				server.defers(t, `RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'`)
			case name == "TheyWaitAtTheirCommit":
				const gate = 4712
				shut, err := pgx.Connect(t.Context(), c.url)
				require.NoError(t, err)
				defer shut.Close(context.Background())
				_, err = shut.Exec(t.Context(), fmt.Sprintf(`SELECT pg_advisory_lock(%d)`, gate))
				require.NoError(t, err)
				server.defers(t, fmt.Sprintf(`PERFORM pg_advisory_xact_lock(%d)`, gate))
			}
			sent := server.sent(t)
			server.does(t, strings.ReplaceAll(does, "$.", server.name+"."))
			if full { // it says so when it is asked, too
				c.exec(t, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %[1]s.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT is_called::integer::float8 FROM %[1]s.sent'`, server.name))
			}
			for i := range 20 {
				use(t, a, b, fmt.Sprint(i))
				awaitHints(t, hints, all(fmt.Sprint(i))...)
			}
			require.Greater(t, server.sent(t), sent, "it was to notify")
			fills, untold := log.count("the server's queue of notifications fills up"), log.count("other processes are not told what happens here, they")
			if full {
				require.Equal(t, 1, fills)
				require.Zero(t, untold)
				require.EqualValues(t, 1, a.NotificationQueue())
			} else {
				require.Zero(t, fills)
				require.LessOrEqual(t, untold, 1, "once, not for each")
			}
		})
	}
}

// TestANotificationFollowsItsRound: what a round of few commands tells of is told by the
// session that has made it, behind its commit: the process need not come back to it.
func TestANotificationFollowsItsRound(t *testing.T) {
	c := need(t)
	t.Parallel()
	server := fakeNotifications(t, c)
	server.exec(t, `CREATE TABLE $.senders (pid integer NOT NULL)`)
	schema := c.Schema()
	a, b := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour}), openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour})
	hints := watched(b)
	for i := 0; server.sent(t) == 0; i++ { // until a knows that it is not alone
		use(t, a, b, fmt.Sprint("first ", i))
	}
	server.does(t, `INSERT INTO `+server.name+`.senders VALUES (pg_backend_pid()); PERFORM pg_catalog.pg_notify(channel, payload)`)
	for i := range 10 {
		id := fmt.Sprint(i)
		create(t, a, id, false)
		_, err := a.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: id})
	}
	require.ErrorIs(t, a.Disown(t.Context(), "nobody", 1), nil) // the session's last statement is one of the writer's
	require.Zero(t, c.exec(t, `SELECT FROM `+server.name+`.senders s LEFT JOIN pg_stat_activity p ON p.pid = s.pid AND p.query = 'rollback'`+
		` WHERE p.pid IS NULL`), "sent by somebody else")
	require.NotZero(t, c.exec(t, `SELECT FROM `+server.name+`.senders`))
}

// TestANotificationThatWaitsIsTold: one behind a round that is refused, as it would have to
// wait, is told by the notifier, though nothing else is written.
func TestANotificationThatWaitsIsTold(t *testing.T) {
	c := need(t)
	for gate, name := range map[int]string{4712: "ByOneThatIsIdle", 4713: "ByOneThatCloses"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fakeNotifications(t, c)
			schema := c.Schema()
			opts := pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: slog.New(slog.DiscardHandler)}
			a, b := openAt(t, server.url, schema, opts), openAt(t, server.url, schema, opts)
			hints := watched(b)
			use(t, a, b, "first")
			awaitHints(t, hints, all("first")...)
			create(t, a, "x", false)
			shut, err := pgx.Connect(t.Context(), c.url)
			require.NoError(t, err)
			defer shut.Close(context.Background())
			_, err = shut.Exec(t.Context(), fmt.Sprintf(`SELECT pg_advisory_lock(%d)`, gate))
			require.NoError(t, err)
			server.does(t, fmt.Sprintf(`PERFORM pg_advisory_xact_lock_shared(%d); PERFORM pg_catalog.pg_notify(channel, payload)`, gate))
			_, err = a.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
			closed := make(chan error, 1)
			if name == "ByOneThatCloses" {
				go func() { closed <- a.Close() }()
			} else {
				closed <- nil
			}
			require.Eventually(t, func() bool { // the notifier does, for longer than what is behind a round may
				return c.exec(t, `SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE l.locktype = 'advisory' AND l.objid = $1 AND NOT l.granted
					AND clock_timestamp() - a.query_start > interval '100 ms'`, gate) == 1
			}, patience, 10*time.Millisecond)
			require.NoError(t, shut.Close(t.Context()))
			require.NoError(t, <-closed)
			awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "x"})
		})
	}
}

// TestNotificationsAreKept: what can't be told for a while is told then.
func TestNotificationsAreKept(t *testing.T) {
	c := need(t)
	for name, does := range map[string]string{
		"TheSessionEnds": `PERFORM pg_terminate_backend(pg_backend_pid())`,
		"TheyTakeLong":   `PERFORM pg_sleep(3600)`,
		"TheyAreRefused": `RAISE 'permission denied for function pg_notify' USING ERRCODE = '42501'`,
		"ItOnlyReads":    `RAISE 'cannot execute NOTIFY in a read-only transaction' USING ERRCODE = '25006'`,
		"TheQueueIsFull": `RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fakeNotifications(t, c)
			schema := c.Schema()
			quiet := slog.New(slog.DiscardHandler)
			a := openAt(t, server.url, schema, pgstore.Options{Poll: 20 * time.Millisecond, Lease: 2 * time.Second, Logger: quiet})
			b := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet}) // it does not look by itself
			hints := watched(b)
			use(t, a, b, "first")
			awaitHints(t, hints, all("first")...) // each knows of the other
			server.does(t, does)
			sent := server.sent(t)
			use(t, a, b, "x")
			for i := 0; server.sent(t) < sent+2 && (name != "TheQueueIsFull" || i == 0); i++ { // nor does it go through when it is tried again
				use(t, a, b, fmt.Sprint("y", i))
			}
			server.does(t, `PERFORM pg_catalog.pg_notify(channel, payload)`)
			use(t, a, b, "z")
			awaitHints(t, hints, append(all("x"), all("z")...)...)
		})
	}
}

// TestTheLastNotificationIsKept: what a process has done last is told although it did not go
// through behind its round, and nothing else happens.
func TestTheLastNotificationIsKept(t *testing.T) {
	c := need(t)
	t.Parallel()
	server := fakeNotifications(t, c)
	schema := c.Schema()
	quiet := slog.New(slog.DiscardHandler)
	a := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet})
	b := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet})
	hints := watched(b)
	use(t, a, b, "first")
	awaitHints(t, hints, all("first")...) // each knows of the other
	create(t, a, "x", true)
	server.does(t, `PERFORM pg_terminate_backend(pg_backend_pid())`)
	sent := server.sent(t)
	require.NoError(t, appendTo(a, checkpoint.Append{ID: "x", Epoch: 1, Tail: 1, Status: checkpoint.Succeeded, Records: []checkpoint.Record{{Seq: 2, Type: checkpoint.ExecutionSucceeded}}}))
	require.Eventually(t, func() bool { return server.sent(t) >= sent+2 }, patience, 5*time.Millisecond, "it is not tried again")
	server.does(t, `PERFORM pg_catalog.pg_notify(channel, payload)`)
	awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "x"})
}

// TestWhoComesIsTold: what a process did that believed to be alone is found by who came
// meanwhile, and what one did that ended before it told is found by who is left.
func TestWhoComesIsTold(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("nobody listens")
	}
	quiet := slog.New(slog.DiscardHandler)
	ends := func(t *testing.T, s *pgstore.Store, id string) checkpoint.Hint {
		create(t, s, id, false)
		_, err := s.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		return checkpoint.Hint{Kind: checkpoint.HintEnded, ID: id}
	}
	t.Run("WhileNobodyHeardOfIt", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		// It is not greeted, as it does not listen, and looks who is there in a quarter of a lease.
		a := openAt(t, c.url, schema, pgstore.Options{Poll: time.Hour, Lease: 8 * time.Second, NoListen: true, Logger: quiet})
		ends(t, a, "before")
		b := openAt(t, c.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet})
		hints := watched(b)
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintDue}) // it listens, and has looked
		awaitHints(t, hints, ends(t, a, "x"))
	})
	t.Run("NotOfAllThatItDidAlone", func(t *testing.T) { // who was alone for long must not look for all of that when somebody comes
		t.Parallel()
		a := openAt(t, c.url, c.Schema(), pgstore.Options{Poll: 10 * time.Millisecond, Logger: quiet})
		for range 3 {
			was := a.Looked()
			require.Eventually(t, func() bool { return a.Looked().After(was) }, patience, time.Millisecond)
		}
	})
	t.Run("WhileNobodyIsLeft", func(t *testing.T) {
		t.Parallel()
		server := fakeNotifications(t, c)
		schema := c.Schema()
		b := openAt(t, server.url, schema, pgstore.Options{Poll: 500 * time.Millisecond, Lease: time.Minute, Logger: quiet})
		hints := watched(b)
		for i := range 3 {
			a := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet})
			server.does(t, `NULL`)
			h := ends(t, a, fmt.Sprint(i))
			require.NoError(t, a.Close())
			awaitHints(t, hints, h)
		}
	})
}

// TestNotificationsAreCoalesced: what comes while one message to the server is under way
// goes with the next.
func TestNotificationsAreCoalesced(t *testing.T) {
	c := need(t)
	t.Parallel()
	server := fakeNotifications(t, c)
	schema := c.Schema()
	a, b := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour}), openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour})
	hints := watched(b)
	const gate = 4711
	server.does(t, fmt.Sprintf(`PERFORM pg_advisory_xact_lock_shared(%d); PERFORM pg_catalog.pg_notify(channel, payload)`, gate))
	shut, err := pgx.Connect(t.Context(), c.url)
	require.NoError(t, err)
	defer shut.Close(t.Context())
	_, err = shut.Exec(t.Context(), fmt.Sprintf(`SELECT pg_advisory_lock(%d)`, gate))
	require.NoError(t, err)
	for i := 0; server.sent(t) == 0; i++ { // until a knows that it is not alone
		id := fmt.Sprint("first ", i)
		create(t, a, id, false)
		_, err := a.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
	}
	const n = 300
	var want []checkpoint.Hint
	for i := range n {
		id := fmt.Sprint(i)
		create(t, a, id, false)
		_, err := a.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		want = append(want, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: id})
	}
	before := server.sent(t)
	_, err = shut.Exec(t.Context(), fmt.Sprintf(`SELECT pg_advisory_unlock(%d)`, gate))
	require.NoError(t, err)
	awaitHints(t, hints, append(want, checkpoint.Hint{Kind: checkpoint.HintDue})...)
	require.LessOrEqual(t, server.sent(t)-before, 3, "%d executions were made and ended", n)
}

// TestQueueOfNotificationsIsWatched: notifications end before the queue is full, and come
// again when it is emptied.
func TestQueueOfNotificationsIsWatched(t *testing.T) {
	c := need(t)
	t.Parallel()
	server := fakeNotifications(t, c)
	schema := c.Schema()
	var log lines
	a := openAt(t, server.url, schema, pgstore.Options{Poll: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b := openAt(t, server.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	hints := watched(b)
	const fills, empty = "the server's queue of notifications fills up", "the server's queue of notifications is emptied"
	n := 0
	var untold []checkpoint.Hint
	check := func(usage float64, sends bool, filled, emptied int) {
		t.Helper()
		server.exec(t, fmt.Sprint(`UPDATE $.queue SET usage = `, usage))
		require.Eventually(t, func() bool { return a.NotificationQueue() == usage }, patience, 5*time.Millisecond)
		require.Eventually(t, func() bool { return log.count(fills) == filled && log.count(empty) == emptied }, patience, 5*time.Millisecond)
		before := server.sent(t)
		n++
		id := fmt.Sprint(n)
		use(t, a, b, id)
		if sends {
			awaitHints(t, hints, append(untold, all(id)...)...)
			untold = nil // b does not look by itself, it was told to
		} else {
			untold = append(untold, all(id)...)
			require.Equal(t, before, server.sent(t), "nothing is sent")
		}
	}
	check(0.01, true, 0, 0)
	check(0.49, true, 0, 0)
	check(0.51, false, 1, 0)
	check(0.9, false, 1, 0)
	check(0.26, false, 1, 0)
	check(0.24, true, 1, 1)
	check(0.4, true, 1, 1)
	check(0.6, false, 2, 1)
	check(0.1, true, 2, 2)
}

// TestCloseTellsOthers: what a store did last is told before it has closed.
func TestCloseTellsOthers(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("nobody listens")
	}
	t.Parallel()
	schema := c.Schema()
	hints := watched(openAt(t, c.url, schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour}))
	for i := range 10 {
		a := openAt(t, c.url, schema, pgstore.Options{})
		create(t, a, fmt.Sprint(i), false)
		_, err := a.End(t.Context(), checkpoint.Ending{ID: fmt.Sprint(i), Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		require.NoError(t, a.Close())
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: fmt.Sprint(i)})
	}
}
