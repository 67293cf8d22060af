package durable_test

import (
	"bufio"
	"bytes"
	"cmp"
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
	growthSize  = 200
	growthLimit = 8 // halfway between four and sixteen
	growthFew   = 5 // times that a block may run for each of n, whatever the others do
	growthEnv   = "DURABLE_GROWTH"
)

// TestGrowth holds each of growths against the limit.
func TestGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary that counts")
	}
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "growth.test")
	counted := modulePath + "," + modulePath + "/checkpoint/...," + modulePath + "/internal/...,slices,container/heap"
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "-cover", "-covermode=atomic", "-coverpkg="+counted, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range slices.Sorted(maps.Keys(growths)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			once, fourfold := countsOf(t, binary, name, growthSize), countsOf(t, binary, name, 4*growthSize)
			require.NotEmpty(t, once)
			worst := slices.SortedFunc(maps.Keys(fourfold), func(a, b string) int { return cmp.Compare(fourfold[b], fourfold[a]) })
			for _, block := range worst {
				if fourfold[block] > growthLimit*max(once[block], growthFew*growthSize) {
					t.Errorf("%s runs %d times for %d, and %d times for %d", block, once[block], growthSize, fourfold[block], 4*growthSize)
				}
			}
		})
	}
}

// TestGrowthCounted is the copy's part.
func TestGrowthCounted(t *testing.T) {
	name, n, ok := strings.Cut(os.Getenv(growthEnv), "=")
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
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestGrowthCounted$", "-test.coverprofile="+profile)
	cmd.Env = append(os.Environ(), growthEnv+"="+name+"="+strconv.Itoa(n))
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
