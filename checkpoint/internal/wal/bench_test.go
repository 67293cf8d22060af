package wal

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkWrite writes batches of 256 bytes with each method.
func BenchmarkWrite(b *testing.B) {
	for _, m := range Methods() {
		b.Run(m.Name, func(b *testing.B) {
			l, err := Create(filepath.Join(b.TempDir(), testDir), testID, 0, Options{Files: Disk{Method: m}})
			require.NoError(b, err)
			defer l.Close()
			content := make([]byte, 256-HeaderSize)
			for b.Loop() {
				seq, _, err := l.Write(append(l.Buffer(), content...))
				require.NoError(b, err)
				l.Release(seq)
			}
		})
	}
}
