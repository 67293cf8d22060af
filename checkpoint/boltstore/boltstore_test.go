package boltstore_test

import (
	"io"
	"os"
	"path/filepath"
	"sync"
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

func TestStore(t *testing.T) {
	var paths sync.Map // of stores
	openAt := func(t *testing.T, path string) checkpoint.Store {
		s := open(t, path)
		paths.Store(s, path)
		return s
	}
	storetest.Harness{
		Open: func(t *testing.T) checkpoint.Store {
			return openAt(t, filepath.Join(t.TempDir(), "store"))
		},
		// What another process finds after this one was killed: the file as it
		// is, not closed.
		Reopen: func(t *testing.T, s checkpoint.Store) checkpoint.Store {
			path, _ := paths.Load(s)
			copied := filepath.Join(t.TempDir(), "store")
			copyFile(t, path.(string), copied)
			require.NoError(t, s.Close())
			return openAt(t, copied)
		},
	}.Run(t)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}
