package pgstore_test

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/storetest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func open(t testing.TB, schema string, opts pgstore.Options) *pgstore.Store {
	t.Helper()
	return openAt(t, need(t).url, schema, opts)
}

func openAt(t testing.TB, url, schema string, opts pgstore.Options) *pgstore.Store {
	t.Helper()
	opts.Schema = schema
	opts.NoListen = opts.NoListen || *throughBouncer
	s, err := pgstore.Open(t.Context(), url, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestStore keeps the contract, and TestStorePooled without prepared statements and
// notifications, as it has to be behind PgBouncer in transaction mode.
func TestStore(t *testing.T) { testStore(t, published(t), pgstore.Options{}) }

// published is a database of which everything is replicated logically, as whoever
// captures changes asks for: the server then refuses UPDATE and DELETE on a table whose
// rows it can't name.
func published(t testing.TB) (at string) {
	t.Helper()
	c := need(t)
	if *throughBouncer {
		return c.url // PgBouncer knows no other database
	}
	name := fmt.Sprintf("published_%d", publications.Add(1))
	c.exec(t, "CREATE DATABASE "+name)
	at = c.database(t, name)
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CREATE PUBLICATION everything FOR ALL TABLES")
	require.NoError(t, err)
	return at
}

var publications atomic.Int64

func TestStorePooled(t *testing.T) {
	if !*pooled {
		t.Skip("it takes as long as TestStore: -pgstore.pooled")
	}
	testStore(t, need(t).url+"&default_query_exec_mode=exec", pgstore.Options{NoListen: true})
}

var pooled = flag.Bool("pgstore.pooled", false, "check the store without prepared statements and notifications, too")

func testStore(t *testing.T, url string, opts pgstore.Options) {
	harness(url, opts, damageRecord).Run(t)
}

// TestStoreMigrated is TestStore with tables that an older program has used: their keys are
// long ones.
func TestStoreMigrated(t *testing.T) {
	c := need(t)
	if testing.Short() {
		t.Skip("it takes as long as TestStore")
	}
	h := harness(c.url, pgstore.Options{}, damageRecord, func(t *testing.T, schema string) {
		empty(t, c.url, schema, 2)
		c.exec(t, `INSERT INTO `+pgx.Identifier{schema}.Sanitize()+`.process (lease_until, round) VALUES (0, 0)`)
	})
	h.Run(t)
}

// TestStoreOnDamagedDisk has the server find the damage, in its own files.
func TestStoreOnDamagedDisk(t *testing.T) {
	c := need(t)
	conn, err := pgx.Connect(t.Context(), c.Cluster.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `CREATE EXTENSION IF NOT EXISTS pg_surgery`); err != nil {
		t.Skip("what damages pages is not installed: " + err.Error())
	}
	harness(c.url, pgstore.Options{}, damageDisk).RunDamage(t)
}

// damageRecord makes the first record of a journal one that nobody can decode.
const damageRecord = `UPDATE $S.journal SET data = '\x00' WHERE seq = 1 AND number = (SELECT number FROM $S.execution WHERE id = $1)`

// damageDisk makes it a large one, and loses the pages that it is in.
const damageDisk = `UPDATE $S.journal SET data = (SELECT string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 400) i)
	WHERE seq = 1 AND number = (SELECT number FROM $S.execution WHERE id = $1);
DO $do$ DECLARE toast regclass; BEGIN SELECT reltoastrelid::regclass INTO toast FROM pg_class WHERE oid = '$S.journal'::regclass;  EXECUTE format('SELECT heap_force_kill(%L::regclass, ARRAY(SELECT ctid FROM %s))', toast, toast); END $do$`

func harness(url string, opts pgstore.Options, damage string, before ...func(t *testing.T, schema string)) storetest.Harness {
	schemas := make(chan map[checkpoint.Store]string, 1)
	schemas <- make(map[checkpoint.Store]string)
	opened := func(t *testing.T, schema string) checkpoint.Store {
		s := openAt(t, url, schema, opts)
		m := <-schemas
		m[s] = schema
		schemas <- m
		return s
	}
	return storetest.Harness{
		Open: func(t *testing.T) checkpoint.Store {
			schema := server.Schema()
			for _, f := range before {
				f(t, schema)
			}
			return opened(t, schema)
		},
		Reopen: func(t *testing.T, s checkpoint.Store) checkpoint.Store {
			require.NoError(t, s.Close())
			m := <-schemas
			schema := m[s]
			schemas <- m
			return opened(t, schema)
		},
		Damage: func(t *testing.T, s checkpoint.Store, id string) {
			m := <-schemas
			name := pgx.Identifier{m[s]}.Sanitize()
			schemas <- m
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(t.Context())
			for statement := range strings.SplitSeq(strings.ReplaceAll(damage, "$S", name), ";\n") {
				var args []any
				if strings.Contains(statement, "$1") {
					args = append(args, []byte(id))
				}
				_, err = conn.Exec(t.Context(), statement, args...)
				require.NoError(t, err)
			}
		},
	}
}

// A hint that something is due comes for what is due earlier than all that is known.
func TestHintsOfReleases(t *testing.T) {
	s := open(t, need(t).Schema(), pgstore.Options{Poll: time.Hour, NoListen: true})
	var due atomic.Int64
	s.Watch(func(h checkpoint.Hint) {
		if h.Kind == checkpoint.HintDue {
			due.Add(1)
		}
	})
	hints := func(in ...time.Duration) int64 {
		before := due.Load()
		for i, d := range in {
			sum := create(t, s, fmt.Sprint(d, i), true)
			a := step(sum, 1)
			a.Release = &checkpoint.Release{WakeAt: s.Now().Add(d).UnixNano()}
			require.NoError(t, appendTo(s, a))
		}
		// What the store calls, it calls in order: the hints of the last but this one came before.
		require.NoError(t, appendTo(s, step(create(t, s, fmt.Sprint("last", in), true), 1)))
		return due.Load() - before
	}
	require.EqualValues(t, 1, hints(time.Hour, 2*time.Hour, 3*time.Hour))
	require.EqualValues(t, 2, hints(30*time.Minute, 40*time.Minute, 20*time.Minute))
	require.EqualValues(t, 1, hints(-time.Second))
	claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.EqualValues(t, 1, hints(25*time.Minute), "what was earliest was taken")
}
