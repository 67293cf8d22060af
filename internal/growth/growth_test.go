package growth_test

import (
	"bufio"
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// What grows with the square is found by counting, not by the clock: a copy of this test
// binary, built to count how often each block of code runs, does each of growths with n
// and with 4n. Blocks of our code, and of the packages of the standard library that walk
// slices for us, may run four times as often then, or a little more (n log n). What runs
// sixteen times as often walks all of something for each of something.

const (
	size  = 200
	limit = 8  // halfway between four and sixteen
	few   = 20 // times that a block may run for each of n, whatever the others do

	module = "github.com/durable-go/durable"
	asked  = "DURABLE_GROWTH" // of the copy: which of growths, and n
)

// TestGrowth holds each of growths against the limit.
func TestGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary that counts")
	}
	binary := filepath.Join(t.TempDir(), "growth.test")
	counted := module + "," + module + "/checkpoint/...," + module + "/internal/...,slices,container/heap"
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "-cover", "-covermode=atomic", "-coverpkg="+counted, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range slices.Sorted(maps.Keys(growths)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var grown map[string]string
			for range 3 { // goroutines take turns as they like: what grows does so each time
				if again := grownIn(t, binary, name); grown == nil {
					grown = again
				} else {
					maps.DeleteFunc(grown, func(block, _ string) bool { return again[block] == "" })
				}
				if len(grown) == 0 {
					return
				}
			}
			for block, times := range grown {
				t.Errorf("%s runs %s", block, times)
			}
		})
	}
}

// grownIn returns the blocks that run too often with 4n, and how often they do.
func grownIn(t *testing.T, binary, name string) map[string]string {
	once, fourfold := countsOf(t, binary, name, size), countsOf(t, binary, name, 4*size)
	require.NotEmpty(t, once)
	grown := make(map[string]string)
	for block, times := range fourfold {
		if times > limit*max(once[block], few*size) {
			grown[block] = strconv.Itoa(once[block]) + " times for " + strconv.Itoa(size) + ", and " + strconv.Itoa(times) + " times for " + strconv.Itoa(4*size)
		}
	}
	return grown
}

// TestCounted is the copy's part.
func TestCounted(t *testing.T) {
	name, n, ok := strings.Cut(os.Getenv(asked), "=")
	if !ok {
		t.Skip("counts for TestGrowth")
	}
	size, err := strconv.Atoi(n)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) { growths[name](t, size) })
}

// countsOf has the copy do one of growths and returns how often each block ran.
func countsOf(t *testing.T, binary, name string, n int) map[string]int {
	profile := filepath.Join(t.TempDir(), "profile")
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestCounted$", "-test.coverprofile="+profile)
	cmd.Env = append(os.Environ(), asked+"="+name+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(profile)
	require.NoError(t, err)
	counts := make(map[string]int)
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		block, rest, _ := strings.Cut(lines.Text(), " ") // file:from,to statements times
		if _, times, ok := strings.Cut(rest, " "); ok && !strings.Contains(block, "_test.go") {
			counts[block], err = strconv.Atoi(times)
			require.NoError(t, err)
		}
	}
	return counts
}
