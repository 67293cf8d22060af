package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/storetest"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) { harness((*boltstore.Store).DamageRecords).Run(t) }

// TestStoreWithDamagedRows has the rows damaged that say what an execution is.
func TestStoreWithDamagedRows(t *testing.T) { harness((*boltstore.Store).DamageRow).RunDamage(t) }

func harness(damage func(*boltstore.Store, testing.TB, string)) storetest.Harness {
	return storetest.Harness{
		Open: func(t *testing.T) checkpoint.Store {
			return open(t, filepath.Join(t.TempDir(), "store"))
		},
		// What another process finds after this one was killed.
		Reopen: func(t *testing.T, s checkpoint.Store) checkpoint.Store {
			copied := filepath.Join(t.TempDir(), "store")
			s.(*boltstore.Store).CopyAsKilled(t, copied)
			require.NoError(t, s.Close())
			return open(t, copied)
		},
		Damage: func(t *testing.T, s checkpoint.Store, id string) { damage(s.(*boltstore.Store), t, id) },
	}
}
