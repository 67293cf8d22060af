package history_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/history"
)

// TestOperationIsSmall holds the size of an operation, of which there is one for each step,
// below what the garbage collector scans cheaply.
func TestOperationIsSmall(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, unsafe.Sizeof(history.Operation{}), uintptr(512))
}
