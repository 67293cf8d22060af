package durabletest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

const childVariable = "DURABLETEST_CHILD"

// inChild reports whether this process was started by child.
func inChild() bool { return os.Getenv(childVariable) != "" }

// child runs tests of this package in a process of its own.
func child(t *testing.T, pattern string, flags ...string) (string, error) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, append([]string{"-test.run=" + pattern, "-test.v", "-test.timeout=5m"}, flags...)...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	output, err := cmd.CombinedOutput()
	return string(output), err
}
