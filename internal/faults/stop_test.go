//go:build linux

package faults

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStoppedProcesses stops a process in the middle, for longer than its timers, and
// has it go on. It is killed while it stands still at the end.
func TestStoppedProcesses(t *testing.T) {
	stops := 25
	if testing.Short() {
		stops = 5
	}
	if *full {
		stops = 300
	}
	dir := t.TempDir()
	store := filepath.Join(dir, "orders.db")
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	p := begin(t, dir, store)
	until(t, p, dir, "opened", 1)
	for n := range stops {
		until(t, p, dir, "result", 3*(n+1))
		time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond) // any moment
		require.NoError(t, p.Process.Signal(syscall.SIGSTOP))
		time.Sleep(time.Duration(random.IntN(5)) * nap) // what is due becomes overdue
		require.NoError(t, p.Process.Signal(syscall.SIGCONT))
	}
	p.stdin.Close()
	p.await(t)
	require.Empty(t, said(t, dir, "error"))
	require.Equal(t, []string{"0 0"}, said(t, dir, "closed"), "goroutines and handles that are left")
	orders := recovered(t, dir, store)

	p = begin(t, dir, store)
	until(t, p, dir, "opened", 2)
	require.NoError(t, p.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, p.Process.Kill())
	<-p.ended
	orders += recovered(t, dir, store)
	for _, l := range said(t, dir, "result") {
		require.Contains(t, strings.Fields(l)[1], "yes")
	}
	t.Logf("stopped %d times and killed once while it stood still; %d orders went on to their end", stops, orders)
}
