package fault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/fault"
)

// TestSentinelsAreApart: none is another one, and each says whose it is.
func TestSentinelsAreApart(t *testing.T) {
	t.Parallel()
	all := []error{fault.ErrInvalidID, fault.ErrExecutionNotFound, fault.ErrExecutionSucceeded, fault.ErrWouldDrop, fault.ErrInvoked, fault.ErrOperationNotFound,
		fault.ErrFunctionNotFound, fault.ErrTimeout, fault.ErrCanceled, fault.ErrStopped, fault.ErrInterrupted, fault.ErrPanic, fault.ErrFailureToleranceExceeded,
		fault.ErrMinSuccessfulNotReached, fault.ErrPayloadTooLarge, fault.ErrCodec, fault.ErrCallbackNotFound, fault.ErrCallbackCompleted, fault.ErrCallbackAmbiguous,
		fault.ErrCallbackFailed, fault.ErrHeartbeatTimeout, fault.ErrNonDeterministic, fault.ErrConcurrentUse}
	texts := make(map[string]bool)
	for i, a := range all {
		require.True(t, strings.HasPrefix(a.Error(), "durable: "), a)
		require.False(t, texts[a.Error()], a)
		texts[a.Error()] = true
		for k, b := range all {
			require.Equal(t, i == k, errors.Is(a, b), "%s, %s", a, b)
		}
	}
}
