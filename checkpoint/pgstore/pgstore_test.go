package pgstore_test

import (
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/storetest"
	"github.com/stretchr/testify/require"
)

func open(t testing.TB, schema string, opts pgstore.Options) *pgstore.Store {
	t.Helper()
	opts.Schema = schema
	s, err := pgstore.Open(t.Context(), need(t).url, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	need(t)
	schemas := make(chan map[checkpoint.Store]string, 1)
	schemas <- make(map[checkpoint.Store]string)
	opened := func(t *testing.T, schema string) checkpoint.Store {
		s := open(t, schema, pgstore.Options{})
		m := <-schemas
		m[s] = schema
		schemas <- m
		return s
	}
	storetest.Harness{
		Open: func(t *testing.T) checkpoint.Store { return opened(t, server.schema()) },
		Reopen: func(t *testing.T, s checkpoint.Store) checkpoint.Store {
			require.NoError(t, s.Close())
			m := <-schemas
			schema := m[s]
			schemas <- m
			return opened(t, schema)
		},
	}.Run(t)
}
