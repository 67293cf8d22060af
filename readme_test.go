package durable_test

import (
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// readmeProgram is a block of the README that is a whole file: its name stands in a
// comment before it.
var readmeProgram = regexp.MustCompile("(?s)<!-- file: (\\S+) -->\n```go\n(.*?)```\n")

// TestReadme compiles the programs of the README in a module of their own, as a
// user would.
func TestReadme(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles programs")
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	files := readmeProgram.FindAllSubmatch(readme, -1)
	require.GreaterOrEqual(t, len(files), 3, "marked Go blocks in README.md")

	dir := t.TempDir()
	for _, f := range files {
		formatted, err := format.Source(f[2])
		require.NoError(t, err, "%s", f[1])
		require.Equal(t, string(formatted), string(f[2]), "%s is not formatted", f[1])
		path := filepath.Join(dir, filepath.FromSlash(string(f[1])))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, f[2], 0o600))
	}

	root, err := os.Getwd()
	require.NoError(t, err)
	sum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600))

	run := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off") // what this test was built with is at hand
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "GOPROXY=off") {
			t.Skip("the dependencies are not in the module cache:", string(out))
		}
		require.NoError(t, err, "go %s\n%s", strings.Join(args, " "), out)
	}
	run("mod", "edit", "-module=readme", "-require="+modulePath+"@v0.0.0", "-replace="+modulePath+"="+root)
	run("vet", "./...")
}

// TestGoTestLines checks that commands name the package first: go test takes a flag that
// it does not know for the end of the packages.
func TestGoTestLines(t *testing.T) {
	t.Parallel()
	own := regexp.MustCompile(`^go test (.*)-[a-z]+\.[a-z]+`)
	lines := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if m := own.FindStringSubmatch(line); m != nil {
				lines++
				require.Regexp(t, `^\.`, m[1], "%s: %s", path, line)
			}
		}
		return err
	}))
	require.NotZero(t, lines)
}
