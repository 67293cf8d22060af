package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// testdata is a module with mistakes in it.
const testdata = "../../testdata"

func TestProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "durablelint")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	run := func(t *testing.T, name string, args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = testdata
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}

	t.Run("RunsAlone", func(t *testing.T) {
		t.Parallel()
		out, code := run(t, program, "./maprange")
		require.Equal(t, 3, code, out)
		require.Contains(t, out, "durable.Wait in a loop over prices: the order of a map")
		require.Contains(t, out, "(maprange)")
	})

	t.Run("RunsUnderGoVet", func(t *testing.T) {
		t.Parallel()
		out, code := run(t, "go", "vet", "-vettool="+program, "./maprange")
		require.Equal(t, 1, code, out)
		require.Contains(t, out, "durable.Wait in a loop over prices: the order of a map")
	})

	t.Run("RulesCanBeDisabled", func(t *testing.T) {
		t.Parallel()
		out, code := run(t, program, "-disable=maprange", "./maprange")
		require.Zero(t, code, out)
		out, code = run(t, "go", "vet", "-vettool="+program, "-disable=maprange", "./maprange")
		require.Zero(t, code, out)
	})

	t.Run("OtherPackagesAreNoneOfItsBusiness", func(t *testing.T) {
		t.Parallel()
		out, code := run(t, program, "-test=false", "time", "github.com/durable-go/durable")
		require.Zero(t, code, out)
	})
}
