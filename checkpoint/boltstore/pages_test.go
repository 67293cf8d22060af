package boltstore

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

var fullDamage = flag.Bool("damage.full", false, "flip every bit of every page of a file, and put every page in the place of every other one")

// pages is a small file that gets damaged again and again.
type pages struct {
	*testing.T
	w              written
	good           []byte
	path           string
	tried, noticed map[string]int
}

// try damages the file, before it is opened or while it is open, and uses it.
func (p *pages) try(kind, what string, open bool, bad []byte) {
	p.Helper()
	write := func(b []byte) { require.NoError(p, os.WriteFile(p.path, b, 0o600)) }
	var damaged bool
	var wrong error
	if open {
		kind += " in an open store"
		write(p.good)
		f, err := os.OpenFile(p.path, os.O_WRONLY, 0)
		require.NoError(p, err)
		defer f.Close()
		damaged, wrong = p.w.inspect(p.Context(), p.path, func() {
			if len(bad) < len(p.good) {
				err = f.Truncate(int64(len(bad)))
			} else {
				err = writeDifference(f, p.good, bad)
			}
		})
		require.NoError(p, err)
	} else {
		write(bad)
		damaged, wrong = p.w.inspect(p.Context(), p.path, nil)
	}
	require.NoError(p, wrong, "%s: %s", kind, what)
	p.tried[kind]++
	if damaged {
		p.noticed[kind]++
	}
	require.NoError(p, os.RemoveAll(p.path+logSuffix)) // of one that could not be closed
}

// writeDifference writes into a file what another one has else: the rest may have
// been changed since by the store that has it open.
func writeDifference(f *os.File, good, bad []byte) error {
	for from := 0; from < len(good); {
		if good[from] == bad[from] {
			from++
			continue
		}
		to := from
		for to < len(good) && good[to] != bad[to] {
			to++
		}
		if _, err := f.WriteAt(bad[from:to], int64(from)); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// Kinds of bbolt's pages that it believes without a look: it writes to whatever page
// stands in the list of free ones, and takes all that is no leaf for a branch, which it
// follows until the stack is full when it leads back to itself. It also believes how many
// pages belong to one (bytes 12 to 16 of its header), and frees as many. Flips in these and
// in the list, and what is no leaf under another page's number, are left out here.
const (
	leafPage     = 0x02
	freelistPage = 0x10
)

// TestDamagedPages damages a file in every page: bits flipped, pages lost, pages
// written to the place of other ones, the file cut off. Whatever is damaged, what is
// read is what was written, or it is an error that names the place.
func TestDamagedPages(t *testing.T) {
	path, w := fillWith(t, 6)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	p := &pages{t, w, good, filepath.Join(t.TempDir(), "damaged"), make(map[string]int), make(map[string]int)}
	page := os.Getpagesize()
	count := len(good) / page
	kindOf := func(n int) uint16 { return binary.NativeEndian.Uint16(good[n*page+8:]) }
	random := rand.New(rand.NewPCG(11, 12))
	bits, others := 60, 5
	if testing.Short() {
		bits, others = 9, 2
	}
	for n := range count {
		at := n * page
		flip := func(i, bit int, open bool) {
			if kindOf(n) == freelistPage && i-at >= 8 || i-at >= 12 && i-at < 16 {
				p.tried["left out"]++
				return
			}
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			p.try("bit flips", fmt.Sprintf("page %d, byte %d, bit %d", n, i-at, bit), open, bad)
		}
		if *fullDamage {
			for i := range page * 8 {
				flip(at+i/8, i%8, false)
			}
		}
		for i := range bits { // in the structure of a page, where something is, or anywhere
			flip(at+random.IntN([]int{24, 160, page}[i%3]), random.IntN(8), i%2 == 0)
		}
		for _, with := range []byte{0, 0xff} {
			bad := bytes.Clone(good)
			copy(bad[at:at+page], bytes.Repeat([]byte{with}, page))
			p.try("pages lost", fmt.Sprintf("page %d is all %x", n, with), false, bad)
			p.try("pages lost", fmt.Sprintf("page %d is all %x", n, with), true, bad)
		}
		for i := range count {
			if i == n || !*fullDamage && random.IntN(count) >= others {
				continue
			}
			bad := bytes.Clone(good)
			copy(bad[at:at+page], good[i*page:(i+1)*page])
			p.try("pages written to the wrong place", fmt.Sprintf("page %d holds page %d", n, i), false, bad)
			if kindOf(n) == freelistPage || kindOf(i) != leafPage {
				continue
			}
			copy(bad[at+8:at+page], good[i*page+8:(i+1)*page]) // as if it were the right one
			copy(bad[at:at+8], good[at:at+8])
			p.try("pages written to the wrong place", fmt.Sprintf("page %d holds what is in page %d", n, i), i%2 == 0, bad)
		}
		for _, size := range []int{at, at + 1, at + page/2} {
			p.try("truncations", fmt.Sprintf("to %d bytes", size), false, good[:size:size])
		}
		p.try("truncations", fmt.Sprintf("to %d bytes", at), true, good[:at:at])
	}
	t.Logf("%d flips in the list of free pages and in the sizes of pages were left out", p.tried["left out"])
	for _, kind := range []string{"bit flips", "pages lost", "pages written to the wrong place", "truncations"} {
		for _, kind := range []string{kind, kind + " in an open store"} {
			t.Logf("%s: %d tried in %d pages, %d were errors, the others hit what is not used", kind, p.tried[kind], count, p.noticed[kind])
			require.NotZero(t, p.noticed[kind], kind)
		}
	}
}

// What inspect must see.
func TestDamageThatIsNotNoticedIsSeen(t *testing.T) {
	path, w := fillWith(t, 6)
	_, wrong := w.inspect(t.Context(), copyOf(t, path), nil)
	require.NoError(t, wrong)
	for says, spoil := range map[string]func(w written, path string){
		"not what was written": func(w written, _ string) { w["execution-3"][4] += "x" },
		"records of":           func(w written, _ string) { w["execution-3"] = append(w["execution-3"], "x") },
		"never made":           func(w written, _ string) { delete(w, "execution-3") },
		"no CorruptError": func(_ written, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		},
		"panicked": nil,
	} {
		t.Run(says, func(t *testing.T) {
			c, at := make(written), copyOf(t, path)
			for id, records := range w {
				c[id] = append([]string(nil), records...)
			}
			var damage func()
			if spoil != nil {
				spoil(c, at)
			} else {
				damage = func() { panic("index out of range") }
			}
			_, wrong := c.inspect(t.Context(), at, damage)
			require.ErrorContains(t, wrong, says)
		})
	}
}

// bbolt panics over a damaged list of free pages, and leaves the file mapped: the
// lock must not stay, or nobody could put a good copy in its place.
func TestAFileThatBboltPanicsOverIsLetGo(t *testing.T) {
	path, w := fillWith(t, 2)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	freelist := 0
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		for id := 0; ; id++ {
			info, err := tx.Page(id)
			if err != nil || info == nil {
				return err
			}
			if info.Type == "freelist" {
				freelist = id
			}
		}
	}))
	require.NoError(t, db.Close())
	require.NotZero(t, freelist)
	bad := bytes.Clone(good)
	clear(bad[freelist*os.Getpagesize():][:os.Getpagesize()])
	require.NoError(t, os.WriteFile(path, bad, 0o600))
	for range 2 {
		_, err := Open(path, tiny)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	require.False(t, w.use(t, path))
}
