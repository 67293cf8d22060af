package durable_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// leaks runs f and returns what it left behind: a stack for each goroutine that
// was started in it, by whomever, and has not ended, and each file below dir that
// is still open. A goroutine inherits the label of the one that starts it, so
// other tests may run meanwhile, and f may open a bubble. Both are given time to
// end, because nothing tells when a goroutine has.
func leaks(name, dir string, f func()) (left []string) { return leaksAfter(time.Minute, name, dir, f) }

func leaksAfter(patience time.Duration, name, dir string, f func()) (left []string) {
	label := `"leaks":"` + name + `"`
	pprof.Do(context.Background(), pprof.Labels("leaks", name), func(context.Context) { f() })
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if left = append(goroutinesWith(label), openFiles(dir)...); len(left) == 0 || time.Since(begun) > patience {
			return left
		}
	}
}

// goroutinesWith are the entries of the goroutine profile that have a label.
func goroutinesWith(label string) (found []string) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		panic(err)
	}
	for entry := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(entry, label) {
			found = append(found, entry)
		}
	}
	return found
}

// openFiles are the files below dir that this process has open, on a system that
// tells; "" is no folder.
func openFiles(dir string) (open []string) {
	if dir == "" {
		return nil
	}
	descriptors, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range descriptors {
		if path, err := os.Readlink(fd); err == nil && strings.HasPrefix(path, dir+string(filepath.Separator)) {
			open = append(open, path)
		}
	}
	return open
}

// noLeaks runs f in a bubble. It fails if a goroutine is left behind: a bubble ends
// when all of its goroutines have, and those that can't are a deadlock.
func noLeaks(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// TestLeaks plants leaks and sees them found.
func TestLeaks(t *testing.T) {
	t.Parallel()
	t.Run("AGoroutineOfAGoroutine", func(t *testing.T) {
		t.Parallel()
		end := make(chan struct{})
		inner := make(chan struct{})
		found := leaksAfter(0, t.Name(), "", func() {
			go func() { go func() { close(inner); <-end }() }()
			<-inner
		})
		require.NotEmpty(t, found)
		require.Contains(t, found[len(found)-1], "leak_test.go")
		close(end)
		require.Empty(t, leaks(t.Name(), "", func() {}), "it has ended now")
	})
	t.Run("InABubble", func(t *testing.T) {
		t.Parallel()
		said := func() (p any) {
			defer func() { p = recover() }()
			noLeaks(t, func(*testing.T) {
				never := make(chan struct{})
				go func() { <-never }()
			})
			return nil
		}()
		require.ErrorContains(t, said.(error), "blocked goroutines remain")
	})
	t.Run("AFile", func(t *testing.T) {
		t.Parallel()
		if _, err := os.Stat("/proc/self/fd"); err != nil {
			t.Skip("this system does not tell which files a process has open")
		}
		dir := t.TempDir()
		var file *os.File
		found := leaksAfter(0, t.Name(), dir, func() {
			var err error
			file, err = os.Create(filepath.Join(dir, "left"))
			require.NoError(t, err)
		})
		require.Equal(t, []string{file.Name()}, found)
		require.NoError(t, file.Close())
		require.Empty(t, leaks(t.Name(), dir, func() {}))
	})
	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		require.Empty(t, leaks(t.Name(), t.TempDir(), func() { go close(ended); <-ended }))
	})
}
