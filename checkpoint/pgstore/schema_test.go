package pgstore_test

import (
	"strings"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// TestSchemaNames are those of tenants, perhaps, and nothing of them is SQL.
func TestSchemaNames(t *testing.T) {
	c := need(t)
	for _, name := range []string{`it's`, `"; DROP SCHEMA public; --`, `a'); --`, `$S.$1 \ %s`, "two\nlines", strings.Repeat("ü", 31)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, name, pgstore.Options{})
			sum := create(t, s, "x", true)
			require.NoError(t, begin(t, s).Commit(step(sum, 1)))
			size, err := s.Size(t.Context())
			require.NoError(t, err)
			require.Positive(t, size)
			_, err = s.Backlog(t.Context())
			require.NoError(t, err)
			counts, err := s.Count(t.Context(), checkpoint.Query{})
			require.NoError(t, err)
			require.Equal(t, map[checkpoint.Status]int{checkpoint.Running: 1}, counts)
			again := open(t, name, pgstore.Options{NoMigrate: true})
			require.Equal(t, s.Secret(), again.Secret())
		})
	}
	// The server would cut it off, and two tenants would share what is left.
	_, err := pgstore.Open(t.Context(), c.url, &pgstore.Options{Schema: strings.Repeat("t", 64)})
	require.ErrorContains(t, err, "63")
	_, err = pgstore.Open(t.Context(), c.url, &pgstore.Options{Schema: "a\x00b"})
	require.Error(t, err)
}
