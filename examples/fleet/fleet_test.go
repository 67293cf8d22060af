//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// TestDemo builds the program and runs its demo on a server of its own.
func TestDemo(t *testing.T) {
	server, err := pgtest.Start()
	if err != nil {
		t.Skip("there is no server: " + err.Error())
	}
	defer server.Close()
	program := filepath.Join(t.TempDir(), "fleet")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, program, "-n", "6", "-lease", "3s", "demo")
	demo.Env = append(os.Environ(), "DATABASE_URL="+server.URL())
	out, err = demo.CombinedOutput()
	text := string(out)
	require.NoError(t, err, text)
	require.Contains(t, text, "killed (-9)")
	require.Contains(t, text, "6 of 6 executions have their result")

	// What is recorded, whoever ran it.
	s := settings{db: server.URL(), schema: "fleet_example", lease: 3 * time.Second}
	e, err := s.open(ctx, durable.Options{})
	require.NoError(t, err)
	defer e.Close()
	executions := 0
	for info, err := range e.Executions(ctx, durable.Query{Function: workflow.Function.Name()}) {
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, info.Status)
		executions++
		operations, err := e.Operations(ctx, info.ID)
		require.NoError(t, err)
		var stages []string
		for _, o := range operations {
			if o.ParentID == "" && o.Name != "" {
				stages = append(stages, o.Name)
			}
		}
		require.Equal(t, workflow.Stages[:], stages)
	}
	require.Equal(t, 6, executions)
	t.Logf("one of three workers killed; %d executions ended, lines printed: %d", executions, strings.Count(text, "\n"))
}

func TestUsage(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	require.ErrorContains(t, run(t.Context(), []string{"demo"}), "DATABASE_URL")
	require.ErrorContains(t, run(t.Context(), []string{"-db", "x"}), "which command")
	require.ErrorContains(t, run(t.Context(), []string{"-db", "postgres://127.0.0.1:1/x", "worker"}), "connect")
}
