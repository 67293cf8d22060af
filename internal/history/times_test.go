package history_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/history"
)

func TestAfter(t *testing.T) {
	t.Parallel()
	const never = math.MaxInt64
	for _, c := range []struct{ now, d, want int64 }{
		{0, 0, 0},
		{100, 5, 105},
		{100, -5, 95},
		{100, never, never},
		{never, 1, never},
		{never - 5, 5, never},
		{never - 5, 4, never - 1},
		{never, -1, never - 1},
	} {
		require.Equal(t, c.want, history.After(c.now, c.d), "%d after %d", c.d, c.now)
	}
}

func TestEarliest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want int64 }{
		{0, 0, 0}, // none
		{0, 5, 5},
		{5, 0, 5},
		{3, 5, 3},
		{5, 3, 3},
		{5, 5, 5},
	} {
		require.Equal(t, c.want, history.Earliest(c.a, c.b), "%d and %d", c.a, c.b)
	}
}
