package boltstore

import (
	"errors"
	"sync"

	"github.com/durable-go/durable/checkpoint/internal/wal"
)

// faultyFiles is the disk, but operations on the log fail as a test wishes.
type faultyFiles struct {
	wal.Disk
	mu   sync.Mutex
	fail func(op, name string) error
}

func (f *faultyFiles) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faultyFiles) check(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op, name)
}

func (f *faultyFiles) Create(name string) (wal.File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	return f.Disk.Create(name)
}

func (f *faultyFiles) Open(name string) (wal.File, error) {
	file, err := f.Disk.Open(name)
	return &faultyFile{file, f, name}, err
}

func (f *faultyFiles) MakeFolder(dir string) error {
	if err := f.check("folder", dir); err != nil {
		return err
	}
	return f.Disk.MakeFolder(dir)
}

func (f *faultyFiles) Rename(from, to string) error {
	if err := f.check("rename", to); err != nil {
		return err
	}
	return f.Disk.Rename(from, to)
}

func (f *faultyFiles) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	return f.Disk.Remove(name)
}

func (f *faultyFiles) SyncFolder(dir string) error {
	if err := f.check("sync", dir); err != nil {
		return err
	}
	return f.Disk.SyncFolder(dir)
}

type faultyFile struct {
	wal.File
	files *faultyFiles
	name  string
}

func (f *faultyFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.files.check("write", f.name); err != nil {
		if cut, ok := errors.AsType[*cutError](err); ok {
			f.File.WriteAt(b[:min(cut.sectors*512, len(b))], offset)
		}
		return 0, err
	}
	return f.File.WriteAt(b, offset)
}

// cutError is of an operation that the power was cut in. A write gets so many
// sectors to the disk.
type cutError struct{ sectors int }

func (e *cutError) Error() string   { return "the power was cut" }
func (e *cutError) Is(t error) bool { return t == wal.ErrFlush }
