package boltstore

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

var everyBit = flag.Bool("boltstore.flips", false, "flip one bit of every byte of a file, not some")

// dump is all that a file holds.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	var all bytes.Buffer
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			all.Write(append(name, '\n'))
			return b.ForEach(func(k, v []byte) error {
				all.Write(append(append(bytes.Clone(k), ' '), v...))
				return all.WriteByte('\n')
			})
		})
	}))
	return all.String()
}

// TestVerifyFindsFlippedBits flips bits everywhere. Verify must say so, or the file
// must hold what it did.
func TestVerifyFindsFlippedBits(t *testing.T) {
	path := mixed(t, 1)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	want := dump(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	damaged := filepath.Join(t.TempDir(), "damaged")
	require.NoError(t, os.WriteFile(damaged, good, 0o600))
	file, err := os.OpenFile(damaged, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	write := func(at int, b byte) {
		_, err := file.WriteAt([]byte{b}, int64(at))
		require.NoError(t, err)
	}
	flips, reported := 0, 0
	flip := func(at int) {
		bad := good[at] ^ 1<<random.IntN(8)
		write(at, bad)
		defer write(at, good[at])
		flips++
		if found, _ := problems(t, damaged); len(found) > 0 {
			reported++
			require.Contains(t, found[0].String(), damaged)
		} else if dump(t, damaged) != want {
			t.Errorf("the byte %d, in page %d, was changed from %#02x to %#02x: not reported, and not without effect", at, at/os.Getpagesize(), good[at], bad)
		}
	}
	if *everyBit {
		for at := range good {
			flip(at)
		}
	} else {
		n := 1500
		if testing.Short() {
			n = 150
		}
		for i := range n { // every other one in the structure of a page
			at := random.IntN(len(good))
			if i%2 == 0 {
				at = at/os.Getpagesize()*os.Getpagesize() + random.IntN(256)
			}
			flip(at)
		}
	}
	require.NotZero(t, reported)
	t.Logf("%d bits flipped in %d bytes: %d reported, %d without effect", flips, len(good), reported, flips-reported)
}

// TestVerifyBearsGarbage writes garbage, zeros and other parts of the file over parts of
// it: Verify must come to an end, and say what is wrong.
func TestVerifyBearsGarbage(t *testing.T) {
	path := mixed(t, 4)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	want := dump(t, path)
	random := rand.New(rand.NewPCG(5, 6))
	damaged := filepath.Join(t.TempDir(), "damaged")
	rounds, reported := 300, 0
	for i := range rounds {
		bad := bytes.Clone(good)
		size := 1 + random.IntN(6000)
		at := random.IntN(len(bad) - size)
		switch part := bad[at : at+size]; i % 3 {
		case 0:
			clear(part)
		case 1:
			copy(part, good[random.IntN(len(good)-size):])
		default:
			for j := range part {
				part[j] = byte(random.Uint32())
			}
		}
		require.NoError(t, os.WriteFile(damaged, bad, 0o600))
		if found, _ := problems(t, damaged); len(found) > 0 {
			reported++
		} else {
			require.Equal(t, want, dump(t, damaged))
		}
	}
	t.Logf("%d times garbage: %d reported, %d where nothing was", rounds, reported, rounds-reported)
	require.Greater(t, reported, rounds/2)
}
