package pgstore_test

import (
	"flag"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/storetest"
	"github.com/stretchr/testify/require"
)

func open(t testing.TB, schema string, opts pgstore.Options) *pgstore.Store {
	t.Helper()
	return openAt(t, need(t).url, schema, opts)
}

func openAt(t testing.TB, url, schema string, opts pgstore.Options) *pgstore.Store {
	t.Helper()
	opts.Schema = schema
	s, err := pgstore.Open(t.Context(), url, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestStore keeps the contract, and TestStorePooled without prepared statements and
// notifications, as it has to be behind PgBouncer in transaction mode.
func TestStore(t *testing.T) { testStore(t, need(t).url, pgstore.Options{}) }

func TestStorePooled(t *testing.T) {
	if !*pooled {
		t.Skip("it takes as long as TestStore: -pgstore.pooled")
	}
	testStore(t, need(t).url+"&default_query_exec_mode=exec", pgstore.Options{NoListen: true})
}

var pooled = flag.Bool("pgstore.pooled", false, "check the store without prepared statements and notifications, too")

func testStore(t *testing.T, url string, opts pgstore.Options) {
	schemas := make(chan map[checkpoint.Store]string, 1)
	schemas <- make(map[checkpoint.Store]string)
	opened := func(t *testing.T, schema string) checkpoint.Store {
		s := openAt(t, url, schema, opts)
		m := <-schemas
		m[s] = schema
		schemas <- m
		return s
	}
	storetest.Harness{
		Open: func(t *testing.T) checkpoint.Store { return opened(t, server.Schema()) },
		Reopen: func(t *testing.T, s checkpoint.Store) checkpoint.Store {
			require.NoError(t, s.Close())
			m := <-schemas
			schema := m[s]
			schemas <- m
			return opened(t, schema)
		},
	}.Run(t)
}
