package wal

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// powerDisk is a disk in memory that remembers what was flushed. After the power
// was cut, any part of the rest may be there.
type powerDisk struct {
	mu      sync.Mutex
	files   map[string]*powerFile // as the process sees them
	durable map[string]*powerFile // names that were synced
	folders map[string]bool
	left    int // operations until the power is cut; negative: never
	fail    func(op, name string) error
}

type powerFile struct {
	flushed []byte
	now     []byte
	pending []write
}

type write struct {
	at int64
	b  []byte
}

var errCut = errors.New("the power was cut")

func newPowerDisk() *powerDisk {
	return &powerDisk{files: map[string]*powerFile{}, durable: map[string]*powerFile{}, folders: map[string]bool{}, left: -1}
}

// step counts an operation. It is called with the lock held.
func (d *powerDisk) step(op, name string) error {
	if d.left == 0 {
		return errCut
	}
	if d.left > 0 {
		d.left--
	}
	if d.fail != nil {
		return d.fail(op, name)
	}
	return nil
}

// crash returns what may be on the disk when the power comes back.
func (d *powerDisk) crash(random *rand.Rand) *powerDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newPowerDisk()
	maps.Copy(after.folders, d.folders)
	names := maps.Clone(d.durable)
	for _, name := range slices.Sorted(maps.Keys(d.files)) { // names that were not synced may be there
		if d.durable[name] == nil && random.IntN(2) == 0 {
			names[name] = d.files[name]
		}
	}
	for name, f := range names {
		b := slices.Clone(f.flushed)
		for _, w := range f.pending {
			for from := 0; from < len(w.b); from += 512 { // sectors, in any order
				to := min(from+512, len(w.b))
				if random.IntN(2) == 0 {
					b = grow(b, w.at+int64(to))
					copy(b[w.at+int64(from):], w.b[from:to])
				}
			}
		}
		file := &powerFile{flushed: b, now: slices.Clone(b)}
		after.files[name], after.durable[name] = file, file
	}
	return after
}

func grow(b []byte, size int64) []byte {
	if int64(len(b)) < size {
		b = append(b, make([]byte, size-int64(len(b)))...)
	}
	return b
}

func (d *powerDisk) MakeFolder(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.folders[dir] = true
	return d.step("folder", dir)
}

func (d *powerDisk) List(dir string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.files {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (d *powerDisk) Read(name string, into []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return append(into[:0], f.now...), nil
	}
	return nil, fs.ErrNotExist
}

func (d *powerDisk) Create(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("create", name); err != nil {
		return nil, err
	}
	if d.files[name] != nil {
		return nil, fs.ErrExist
	}
	f := &powerFile{}
	d.files[name] = f
	return &powerHandle{d, name, f}, nil
}

func (d *powerDisk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return &powerHandle{d, name, f}, d.step("open", name)
	}
	return nil, fs.ErrNotExist
}

func (d *powerDisk) Sync(name string) error {
	h, err := d.Open(name)
	if err != nil {
		return err
	}
	return h.Flush()
}

func (d *powerDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("rename", to); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *powerDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		return fs.ErrNotExist
	}
	if err := d.step("remove", name); err != nil {
		return err
	}
	delete(d.files, name)
	return nil
}

func (d *powerDisk) SyncFolder(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("sync", dir); err != nil {
		return err
	}
	in := func(name string, _ *powerFile) bool { return filepath.Dir(name) == dir }
	maps.DeleteFunc(d.durable, in)
	for name, f := range d.files {
		if in(name, f) {
			d.durable[name] = f
		}
	}
	return nil
}

type powerHandle struct {
	d    *powerDisk
	name string
	f    *powerFile
}

func (h *powerHandle) WriteAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.step("write", h.name)
	if err != nil && !errors.Is(err, errCut) {
		b = b[:len(b)/2]
	}
	h.f.pending = append(h.f.pending, write{at, slices.Clone(b)})
	h.f.now = grow(h.f.now, at+int64(len(b)))
	copy(h.f.now[at:], b)
	return len(b), err
}

func (h *powerHandle) Flush() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.step("flush", h.name); err != nil {
		return err
	}
	h.f.flushed, h.f.pending = slices.Clone(h.f.now), nil
	return nil
}

func (h *powerHandle) Close() error { return nil }

// clone is a copy, all of it flushed.
func (d *powerDisk) clone() *powerDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newPowerDisk()
	maps.Copy(c.folders, d.folders)
	for name, f := range d.files {
		file := &powerFile{flushed: slices.Clone(f.now), now: slices.Clone(f.now)}
		c.files[name], c.durable[name] = file, file
	}
	return c
}

func TestThePowerDiskForgetsWhatWasNotFlushed(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	f, err := d.Create("dir/a")
	require.NoError(t, err)
	require.NoError(t, d.SyncFolder("dir"))
	_, err = f.WriteAt([]byte("kept"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Flush())
	_, err = f.WriteAt([]byte("lost"), 0)
	require.NoError(t, err)
	seen := map[string]bool{}
	for seed := range uint64(64) {
		b, err := d.crash(rand.New(rand.NewPCG(seed, 0))).Read("dir/a", nil)
		require.NoError(t, err)
		seen[string(b)] = true
	}
	require.Equal(t, map[string]bool{"kept": true, "lost": true}, seen)
}
