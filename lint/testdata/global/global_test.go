package global

import (
	"context"
	"testing"

	"github.com/durable-go/durable"
)

// What a test does to a variable is no fault of the code under test.
func TestLimit(t *testing.T) {
	_ = durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		err := durable.Do(ctx, "lower", func(context.Context) error { limit = 0; return nil })
		return limit, err // want `handler code reads limit`
	})
}
