package boltstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/stretchr/testify/require"
)

func TestDiskCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := boltstore.DiskCheck(t.Context(), dir)
	require.NoError(t, err)
	require.NotEmpty(t, r.Methods)
	for _, l := range append(r.Methods, r.Floor) {
		require.NotEmpty(t, l.Method)
		require.Positive(t, l.P50)
		require.GreaterOrEqual(t, l.P99, l.P50)
		require.Positive(t, l.Writes)
		require.Contains(t, r.String(), l.Method)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = boltstore.DiskCheck(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
	_, err = boltstore.DiskCheck(t.Context(), dir+"/missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func ExampleDiskCheck() {
	report, err := boltstore.DiskCheck(context.Background(), os.TempDir())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the floor was measured:", report.Floor.P50 > 0)
	fmt.Println("the store has a way to flush:", len(report.Methods) > 0)
	// Output:
	// the floor was measured: true
	// the store has a way to flush: true
}
