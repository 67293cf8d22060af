package boltstore

import (
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

type faultyFile struct {
	wal.File
	files *faultyFiles
	name  string
}

func (f *faultyFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.files.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, offset)
}
