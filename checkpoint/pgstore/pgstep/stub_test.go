package pgstep_test

import (
	"context"
	"testing"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
	"github.com/stretchr/testify/require"
)

// A handler with transactional steps is tested without a database: stubs stand in.
func TestStubs(t *testing.T) {
	config := durabletest.Config{
		Functions: []durable.Definition{transfer},
		Steps: map[string]durabletest.Step{
			"book": func(context.Context, durable.StepInfo) (any, error) { return int64(42), nil },
		},
	}
	in := Transfer{From: "ada", To: "bob", Cents: 1999}
	durabletest.Test(t, config, func(t *testing.T, e *durabletest.Engine) {
		balance, err := transfer.Run(t.Context(), e.Engine, in)
		require.NoError(t, err)
		require.EqualValues(t, 42, balance)
	})
	durabletest.CrashEverywhere(t, config, transfer, in)
}
