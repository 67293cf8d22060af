package pgstore_test

import (
	_ "embed"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// What made the versions that were released, each from the one before.
var (
	//go:embed testdata/version-1.sql
	version1 string
	//go:embed testdata/version-2.sql
	version2 string
)

// older has a program of before the schema's version 3 live for an hour, or until endsOlder.
func older(t *testing.T, at, schema string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `INSERT INTO `+pgx.Identifier{schema}.Sanitize()+`.process (id, lease_until, round) OVERRIDING SYSTEM VALUE
		VALUES (7, (extract(epoch FROM clock_timestamp()) * 1e9)::bigint + 3600000000000, 0)`)
	require.NoError(t, err)
}

// endsOlder ends it.
func endsOlder(t *testing.T, c *cluster, schema string) {
	t.Helper()
	require.EqualValues(t, 1, c.exec(t, `DELETE FROM `+pgx.Identifier{schema}.Sanitize()+`.process WHERE id = 7`))
}

// empty makes the tables of an older version.
func empty(t *testing.T, at, schema string, version int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	name := pgx.Identifier{schema}.Sanitize()
	sql := fmt.Sprintf(`CREATE SCHEMA $S; CREATE TABLE $S.meta (one boolean PRIMARY KEY, version integer NOT NULL, secret bytea); INSERT INTO $S.meta VALUES (true, %d, NULL);`, version) +
		strings.Join([]string{version1, version2}[:version], "")
	_, err = conn.Exec(t.Context(), strings.NewReplacer("'$S", "'"+name, "$S", name).Replace(sql))
	require.NoError(t, err)
}

// old makes the tables of an older version, with all that a store holds.
func old(t *testing.T, at, schema string, version int) {
	t.Helper()
	empty(t, at, schema, version)
	empty(t, at, schema+" new", 2)
	older(t, at, schema+" new") // so that what is written is what it writes
	full := openAt(t, at, schema+" new", pgstore.Options{})
	for i := range 3 {
		sum := create(t, full, fmt.Sprint("x", i), true)
		require.NoError(t, appendTo(full, checkpoint.Append{ID: sum.ID, Epoch: sum.Epoch, Tail: sum.Tail, Release: &checkpoint.Release{}, Records: []checkpoint.Record{
			{Seq: sum.Tail + 1, EventID: sum.LastEvent + 1, Events: 1, Type: checkpoint.CallbackStarted, OperationID: "1", HeartbeatTimeout: int64(time.Hour), Time: full.Now().UnixNano()},
		}}))
	}
	create(t, full, "due", false)
	require.NoError(t, full.Close())
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	name, from := pgx.Identifier{schema}.Sanitize(), pgx.Identifier{schema + " new"}.Sanitize()
	sql := `UPDATE $S.meta SET secret = (SELECT secret FROM $N.meta);
		INSERT INTO $S.process (lease_until, round) SELECT lease_until, round FROM $N.process WHERE id <> 7; SELECT setval('$S.execution_number', nextval('$N.execution_number'));
		INSERT INTO $S.execution SELECT * FROM $N.execution; INSERT INTO $S.journal SELECT * FROM $N.journal; INSERT INTO $S.inbox SELECT * FROM $N.inbox;
		INSERT INTO $S.callback SELECT number, operation, timeout_at, heartbeat_timeout, heartbeat_at, closed FROM $N.callback`
	_, err = conn.Exec(t.Context(), strings.NewReplacer("'$S", "'"+name, "$S", name, "$N", from).Replace(sql))
	require.NoError(t, err)
}

// Tables that an older program made, and filled, are those of a new one afterwards:
// whoever migrates them, on a server that replicates them all.
func TestMigrate(t *testing.T) {
	at := published(t)
	ways := map[string]func(t *testing.T, conn *pgx.Conn, schema string, version int){
		"Open": func(*testing.T, *pgx.Conn, string, int) {},
		"ByHand": func(t *testing.T, conn *pgx.Conn, schema string, version int) {
			_, err := conn.Exec(t.Context(), pgstore.SQLFrom(schema, version))
			require.NoError(t, err)
		},
		"KeysThatSomebodyMade": func(t *testing.T, conn *pgx.Conn, schema string, version int) {
			_, err := conn.Exec(t.Context(), "ALTER TABLE "+pgx.Identifier{schema}.Sanitize()+".callback ADD COLUMN id bigserial PRIMARY KEY")
			require.NoError(t, err)
		},
		"IdentityThatSomebodySet": func(t *testing.T, conn *pgx.Conn, schema string, version int) {
			_, err := conn.Exec(t.Context(), "ALTER TABLE "+pgx.Identifier{schema}.Sanitize()+".callback REPLICA IDENTITY FULL")
			require.NoError(t, err)
		},
	}
	migrated := func(t *testing.T, version int, name string) {
		migrate := ways[name]
		t.Run(fmt.Sprintf("From%d/%s", version, name), func(t *testing.T) {
			t.Parallel()
			schema := server.Schema()
			old(t, at, schema, version)
			_, err := pgstore.Open(t.Context(), at, &pgstore.Options{Schema: schema, NoMigrate: true, NoListen: *throughBouncer})
			require.ErrorContains(t, err, fmt.Sprintf("pgstore.SQLFrom(%q, %d)", schema, version))
			conn, err := pgx.Connect(t.Context(), at)
			require.NoError(t, err)
			defer conn.Close(t.Context())
			migrate(t, conn, schema, version)
			for range 2 {
				s := openAt(t, at, schema, pgstore.Options{NoMigrate: name == "ByHand"})
				for i := range 3 {
					id := fmt.Sprint("x", i)
					sum, err := s.Get(t.Context(), id)
					require.NoError(t, err)
					require.NotZero(t, sum.WakeAt, "its heartbeat is known")
					require.NoError(t, s.Heartbeat(t.Context(), checkpoint.CallbackRef{ID: id, OperationID: "1"}))
				}
				require.NoError(t, s.Close())
			}
			s := openAt(t, at, schema, pgstore.Options{})
			claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
			require.NoError(t, err)
			require.Len(t, claims, 1)
			require.Equal(t, "due", claims[0].ID)
			require.NoError(t, appendTo(s, waits(s, claims[0].Summary)))
			reads(t, s, "due", 3)
			_, created, err := s.Create(t.Context(), creation("due", "f", false))
			require.NoError(t, err)
			require.False(t, created, "it is there")
			require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: "x0", Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"}}))
			_, err = s.End(t.Context(), checkpoint.Ending{ID: "x1", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
			require.NoError(t, s.Delete(t.Context(), "x1"))
			create(t, s, "x3", false)
			n, err := s.Expire(t.Context(), s.Now().Add(time.Hour), 10)
			require.NoError(t, err)
			require.Zero(t, n)
		})
	}
	for name := range ways {
		migrated(t, 1, name)
	}
	migrated(t, 2, "Open")
	migrated(t, 2, "ByHand")
	require.Empty(t, pgstore.SQLFrom("", 3), "there is nothing to do")
	require.Contains(t, pgstore.SQLFrom("s", 1), strings.NewReplacer("'$S", "'\"s\"", "$S", `"s"`).Replace(version2), "what was released is never changed")
	require.True(t, strings.HasSuffix(pgstore.SQL(""), pgstore.SQLFrom("", 0)))
	require.Contains(t, pgstore.SQL("s"), strings.ReplaceAll(version1, "$S", `"s"`), "what was released is never changed")
}

// A role that may use the tables and does not own them says what to do.
func TestMigrateAsSomebodyElse(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer does not know the role")
	}
	schema := c.Schema()
	old(t, c.url, schema, 1)
	name, role := pgx.Identifier{schema}.Sanitize(), pgx.Identifier{schema + "_app"}.Sanitize()
	c.exec(t, fmt.Sprintf(`CREATE ROLE %[2]s LOGIN; GRANT USAGE ON SCHEMA %[1]s TO %[2]s; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %[1]s TO %[2]s`, name, role))
	at, err := url.Parse(c.url)
	require.NoError(t, err)
	at.User = url.User(schema + "_app")
	_, err = pgstore.Open(t.Context(), at.String(), &pgstore.Options{Schema: schema})
	require.ErrorContains(t, err, "this role may not migrate it: open it once as the owner of its tables")
	require.NoError(t, open(t, schema, pgstore.Options{}).Close())
	require.NoError(t, openAt(t, at.String(), schema, pgstore.Options{}).Close())
}

// Each table has what its rows can be named by, so that it can be replicated.
func TestEachTableHasAPrimaryKey(t *testing.T) {
	at := published(t)
	s := openAt(t, at, server.Schema(), pgstore.Options{})
	require.NoError(t, s.Close())
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)`)
	require.NoError(t, err)
	without, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, without)
}
