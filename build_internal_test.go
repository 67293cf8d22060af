package durable

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinkerID compares what is read of executables with what go tool buildid prints.
func TestLinkerID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600))
	build := func(t *testing.T, system string, args ...string) string {
		path := filepath.Join(dir, strings.NewReplacer("/", "-", " ", "").Replace(t.Name()))
		cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), source)...)
		cmd.Env = append(os.Environ(), "GOARCH=amd64", "GOOS="+system)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return path
	}
	read := func(t *testing.T, path string) string {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		return string(linkerID(f))
	}
	for _, system := range []string{"linux", "darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("-short: builds for three systems")
			}
			path := build(t, system)
			want, err := exec.Command("go", "tool", "buildid", path).Output()
			require.NoError(t, err)
			require.Equal(t, strings.TrimSpace(string(want)), read(t, path))
		})
	}
	t.Run("None", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, read(t, build(t, "linux", "-ldflags=-buildid=")))
		require.Empty(t, read(t, source))
	})
}

// TestIdentityOf: what differs in anything is another build, whatever the linker was
// told to call it.
func TestIdentityOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(source, []byte("package main\n\nvar x string\n\nfunc main() { println(x) }\n"), 0o600))
	builds := 0
	identity := func(flags string) string {
		builds++
		path := filepath.Join(dir, strconv.Itoa(builds))
		out, err := exec.Command("go", "build", "-o", path, "-ldflags="+flags, source).CombinedOutput()
		require.NoError(t, err, string(out))
		id, err := identityOf(path)
		require.NoError(t, err)
		return id
	}
	for _, name := range []string{"", "-buildid= ", "-buildid=redacted ", "-buildid=a/b/c/d "} {
		a, b := identity(name+"-X main.x=a"), identity(name+"-X main.x=b")
		require.NotEqual(t, a, b, name)
		require.Equal(t, a, identity(name+"-X main.x=a"), name)
	}
}
