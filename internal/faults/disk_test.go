//go:build linux

package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

var full = flag.Bool("faults.full", false, "let each kind of fault fall on each of the first 60 calls, and stop processes 300 times")

// injection lets system calls on the store's files fail, by strace.
type injection struct {
	call, fault string
	file        string // "": the bbolt file; else a segment of the log
	fatal       bool   // the store must fail, and write nothing any more
}

func (i injection) args(trace, store string, dir string, when int) []string {
	args := []string{"strace", "-f", "-qq", "-s", "200", "-o", trace, "-e", "trace=pwrite64,fdatasync,fsync,ftruncate,write,openat", "-e", "signal=none",
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", i.call, i.fault, when), "-P", filepath.Join(dir, "log")}
	if i.file != "" {
		return append(args, "-P", store+"-wal/"+i.file)
	}
	return append(args, "-P", store)
}

// TestInjectedFaults lets one call of the operating system fail for the whole
// engine in a process of its own.
func TestInjectedFaults(t *testing.T) {
	if out, err := exec.Command("strace", "-qq", "-e", "inject=getcwd:error=EIO", "true").CombinedOutput(); err != nil {
		t.Skipf("strace can't be used: %v %s", err, out)
	}
	whens := []int{1, 3, 8}
	if testing.Short() {
		whens = []int{1}
	}
	if *full {
		whens = nil
		for n := range 60 {
			whens = append(whens, n+1)
		}
	}
	injected, failed, orders := 0, 0, 0
	for name, i := range map[string]injection{
		"AFlushOfBboltFails":        {"fdatasync", "error=EIO", "", true},
		"AWriteOfBboltFails":        {"pwrite64", "error=EIO", "", true},
		"ThereIsNoRoomForBbolt":     {"pwrite64", "error=ENOSPC", "", false},
		"AWriteOfTheLogFails":       {"pwrite64", "error=EIO", "1", true},
		"AFlushOfANewSegmentFails":  {"fsync", "error=EIO", "1.new", false},
		"ASegmentCantBeOpened":      {"openat", "error=EMFILE", "1", false},
		"AnInterruptedFlushOfBbolt": {"fdatasync", "error=EINTR", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			reached := 0
			for _, when := range whens {
				dir := t.TempDir()
				store := filepath.Join(dir, "orders.db")
				if when > 1 { // else the fault falls on the making of the file, too
					e, _, err := open(store, witness{})
					require.NoError(t, err)
					require.NoError(t, e.Close())
				}
				trace := filepath.Join(dir, "trace")
				p := begin(t, dir, store, i.args(trace, store, dir, when)...)
				for ended := false; !ended && len(said(t, dir, "result")) < 12; {
					select {
					case <-p.ended:
						ended = true
					default:
						runtime.Gosched()
					}
				}
				p.stdin.Close()
				p.await(t)
				b, err := os.ReadFile(trace)
				require.NoError(t, err)
				hits := strings.Count(string(b), "(INJECTED)")
				reached += hits
				log, err := os.ReadFile(p.log.Name())
				require.NoError(t, err)
				require.NotContains(t, string(log), "panic:")
				require.NotContains(t, string(log), "fatal error:")
				complaints := append(said(t, dir, "error"), said(t, dir, "refused")...)
				for _, c := range complaints {
					require.Contains(t, c, store, "the error does not say where")
				}
				if hits > 0 && i.fatal {
					require.NotEmpty(t, complaints, "%s", log)
					require.Contains(t, strings.Join(complaints, " "), "input/output error")
				}
				if len(said(t, dir, "refused")) == 0 {
					require.Equal(t, []string{"0 0"}, said(t, dir, "closed"), "goroutines and handles that are left")
				}
				if writesAfterFailure(string(b)) > 0 {
					require.Fail(t, "the store wrote after it had failed", "%s", b)
				}
				if strings.Contains(string(log), "the store failed") {
					failed++
				}
				orders += recovered(t, dir, store)
			}
			require.NotZero(t, reached)
			injected += reached
		})
	}
	t.Logf("%d faults injected in system calls of 7 kinds, the store failed %d times, %d orders went on to their end", injected, failed, orders)
	require.NotZero(t, failed)
}

var wroteIt = regexp.MustCompile(`(pwrite64|fdatasync|ftruncate)\(`)

// writesAfterFailure counts what a traced process writes into its store after it
// said that the store has failed.
func writesAfterFailure(trace string) (n int) {
	_, after, said := strings.Cut(trace, "durable: the store failed: close it")
	if !said {
		return 0
	}
	for l := range strings.Lines(after) {
		if wroteIt.MatchString(l) {
			n++
		}
	}
	return n
}

// What the checks must see.
func TestTheChecksSee(t *testing.T) {
	t.Run("AWriteAfterAFailure", func(t *testing.T) {
		trace := "1 pwrite64(7, x) = -1 EIO (INJECTED)\n1 write(2, \"durable: the store failed: close it and\")\n"
		require.Zero(t, writesAfterFailure(trace))
		require.Equal(t, 1, writesAfterFailure(trace+"2 pwrite64(7, x) = 4096\n"))
	})
	t.Run("WhatIsLostOrDoneTwice", func(t *testing.T) {
		dir := t.TempDir()
		good := "\nstart a .\ncallback a .\neffect a x .\nrecorded a x .\nresult a yes .\n"
		for says, lines := range map[string]string{
			"":                   good,
			"is not there":       good + "\nstart b .\n",
			"callback was ackno": good + "\ncallback b .\n",
			"the result was":     good + "\nresult a no .\n",
			"ran again":          good + "\neffect a x .\n",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "witness"), []byte(lines), 0o600))
			err := compare(t, dir, map[string]string{"a": "yes"})
			if says == "" {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, says)
		}
	})
	t.Run("Leaks", func(t *testing.T) {
		store := filepath.Join(t.TempDir(), "orders.db")
		e, _, err := open(store, witness{})
		require.NoError(t, err)
		require.NotEmpty(t, ownGoroutines(0))
		require.NotEmpty(t, handlesOf(store))
		require.NoError(t, e.Close())
		noLeaks(t, store)
	})
}

// smallDisk mounts a file system of some megabytes.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes what room there is.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(name)) }
}

// TestFullDisk fills the disk under a running engine, and frees it. Errors say so,
// and everything goes on without opening the store again.
func TestFullDisk(t *testing.T) {
	work, disk := t.TempDir(), smallDisk(t, "96m")
	store := filepath.Join(disk, "orders.db")
	f, err := os.Create(filepath.Join(work, "witness"))
	require.NoError(t, err)
	defer f.Close()
	free := fill(t, disk)
	_, _, err = open(store, witness{f})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, store)
	noLeaks(t, disk+"/orders")
	left, err := os.ReadDir(disk)
	require.NoError(t, err)
	require.Len(t, left, 1, "what could not be made leaves nothing")
	free()

	big := strings.Repeat("x", 300<<10)
	ingest := durable.Define("ingest", func(ctx *durable.Context, _ string) (int, error) {
		for n := range 3 {
			if _, err := durable.Step(ctx, fmt.Sprint("part", n), func(_ context.Context) (string, error) { return big, nil }); err != nil {
				return 0, err
			}
		}
		return 3, nil
	})
	e, err := durable.Open(store, &durable.Options{Functions: []durable.Definition{ingest}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	defer e.Close()
	refused, rounds := 0, 2
	for round := range rounds {
		acknowledged := []string{fmt.Sprint("big-", round)}
		_, err := ingest.Start(t.Context(), e, big, durable.WithExecutionID(acknowledged[0]))
		require.NoError(t, err)
		free := fill(t, disk)
		var failure error
		for i := 0; failure == nil; i++ { // until the log's room is used up
			id := fmt.Sprint("big-", round, "-", i)
			if _, failure = ingest.Start(t.Context(), e, big, durable.WithExecutionID(id)); failure == nil {
				acknowledged = append(acknowledged, id)
			}
		}
		refused++
		require.ErrorIs(t, failure, syscall.ENOSPC)
		require.NotErrorIs(t, failure, durable.ErrStoreFailed)
		require.ErrorContains(t, failure, store)
		_, err = e.Describe(t.Context(), acknowledged[0])
		require.NoError(t, err, "reading goes on")
		free()
		for _, id := range acknowledged {
			out, err := ingest.Attach(e, id).Result(t.Context())
			require.NoError(t, err)
			require.Equal(t, 3, out)
			require.NoError(t, e.Delete(t.Context(), id))
		}
	}
	require.NoError(t, e.Shutdown(t.Context()))
	noLeaks(t, store)
	t.Logf("the disk was full %d times, %d starts were refused; everything went on when it was freed", rounds+1, refused)
}

// TestRemovedFiles removes what a running engine works on.
func TestRemovedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		remove func(store string) error
		says   string
	}{
		"TheFile": {os.Remove, "orders.db"},
		"TheFileReplaced": {func(store string) error {
			return errors.Join(os.Rename(store, store+".old"), os.WriteFile(store, nil, 0o600))
		}, "orders.db"},
		"TheLog":    {func(store string) error { return os.RemoveAll(store + "-wal") }, "orders.db-wal"},
		"ASegment":  {func(store string) error { return os.Remove(store + "-wal/1") }, "orders.db-wal"},
		"TheFolder": {func(store string) error { return os.RemoveAll(filepath.Dir(store)) }, "orders.db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			store := filepath.Join(t.TempDir(), "folder", "orders.db")
			f, err := os.Create(filepath.Join(work, "witness"))
			require.NoError(t, err)
			defer f.Close()
			e, fn, err := open(store, witness{f})
			require.NoError(t, err)
			_, err = fn.Start(t.Context(), e, 1, durable.WithExecutionID("before"))
			require.NoError(t, err)
			require.NoError(t, c.remove(store))
			var failure error
			for i := 0; failure == nil; i++ {
				_, failure = fn.Start(t.Context(), e, i, durable.WithExecutionID(fmt.Sprint("after-", i)))
			}
			require.ErrorIs(t, failure, durable.ErrStoreFailed)
			require.ErrorContains(t, failure, c.says)
			require.ErrorContains(t, failure, "removed")
			_, err = fn.Attach(e, "before").Result(t.Context())
			require.ErrorIs(t, err, durable.ErrStoreFailed, "nobody waits for ever")
			e.Close()
			require.Empty(t, handlesOf(store))
		})
	}
}

// TestReadOnly opens stores that can't be written.
func TestReadOnly(t *testing.T) {
	disk := smallDisk(t, "24m")
	work := t.TempDir()
	store := filepath.Join(disk, "orders.db")
	f, err := os.Create(filepath.Join(work, "witness"))
	require.NoError(t, err)
	defer f.Close()
	e, fn, err := open(store, witness{f})
	require.NoError(t, err)
	_, err = fn.Start(t.Context(), e, 1, durable.WithExecutionID("before"))
	require.NoError(t, err)
	require.NoError(t, e.Close())
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=24m"))
	for _, path := range []string{store, filepath.Join(disk, "new.db"), filepath.Join(disk, "new", "new.db")} {
		_, _, err = open(path, witness{f})
		require.ErrorIs(t, err, syscall.EROFS)
		require.ErrorContains(t, err, path)
	}
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=24m"))

	// As another user: on this thread alone, which is not used again.
	refused := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			refused <- err
			return
		}
		_, err := boltstore.Open(store, nil)
		_, other := boltstore.Open(filepath.Join(disk, "new.db"), nil)
		refused <- errors.Join(err, other)
	}()
	err = <-refused
	require.ErrorIs(t, err, syscall.EACCES)
	require.ErrorContains(t, err, store)
	require.ErrorContains(t, err, "new.db")
	noLeaks(t, disk)
	require.Positive(t, recovered(t, work, store))
	t.Logf("5 openings of what can't be written were refused")
}

// TestTwoProcesses lets a second process open what another one has.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "orders.db")
	const rounds = 3
	for range rounds {
		before := len(said(t, dir, "opened"))
		first := begin(t, dir, store)
		until(t, first, dir, "opened", before+1)
		refuse := func() {
			begun := time.Now()
			second := begin(t, dir, store)
			second.await(t)
			require.Less(t, time.Since(begun), 30*time.Second) // bbolt would wait for ever
			lines := said(t, dir, "refused")
			require.Contains(t, lines[len(lines)-1], store)
			require.Contains(t, lines[len(lines)-1], checkpoint.ErrLocked.Error())
			_, _, err := open(store, witness{})
			require.ErrorIs(t, err, durable.ErrLocked)
		}
		refuse()
		require.NoError(t, first.Process.Signal(syscall.SIGSTOP))
		refuse() // also while it stands still
		require.NoError(t, first.Process.Signal(syscall.SIGCONT))
		require.NoError(t, first.Process.Kill())
		<-first.ended
		recovered(t, dir, store)
	}
	noLeaks(t, store)
	t.Logf("%d processes and %d engines were refused a file that another process had; after its death it opened", 2*rounds, 2*rounds)
}
