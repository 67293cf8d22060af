package pgstore_test

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/internal/lan"
)

// TestFsyncIsTold starts a server that does not flush, and one that does.
func TestFsyncIsTold(t *testing.T) {
	need(t)
	t.Parallel()
	n := lan.New()
	defer n.Close()
	dir, err := machinesDir()
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	s, err := newSite(n, "one", dir)
	if errors.Is(err, lan.ErrNotPossible) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, s.fill())
	for _, fsync := range []string{"off", "on"} {
		s.settings = []string{"fsync=" + fsync}
		require.NoError(t, s.start())
		var log lines
		store, err := s.open(t, &pgstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, store.Close())
		require.Equal(t, map[string]int{"off": 1, "on": 0}[fsync], log.count("level=ERROR"), log.text.String())
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGINT))
		<-s.gone
	}
}
