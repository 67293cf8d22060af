package wal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/durable-go/durable/checkpoint/internal/owner"
)

// Files is all that a log asks of a file system. Tests put their own in its
// place: one that remembers what was flushed and forgets the rest.
type Files interface {
	MakeFolder(dir string) error                   // with mode 0700; nil if it is there
	List(dir string) ([]string, error)             // names in a folder; none if there is no folder
	Read(name string, into []byte) ([]byte, error) // a whole file; into is memory to use if it fits
	Create(name string) (File, error)              // a new file with mode 0600, to be filled once
	Open(name string) (File, error)                // a segment, to write batches into it
	Sync(name string) error                        // makes what is in a file durable, whoever wrote it
	Rename(from, to string) error                  // to does not exist
	Remove(name string) error                      // a file or an empty folder; a link to a folder stays
	SyncFolder(dir string) error                   // makes the names in it durable
}

// File is an open file. What WriteAt wrote is durable once Flush has returned nil.
type File interface {
	WriteAt(b []byte, offset int64) (int, error)
	Flush() error
	Close() error
}

// ErrFlush is in errors of WriteAt that are flushes too: it is not known what is
// on the disk.
var ErrFlush = errors.New("the flush failed")

// Disk is the Files of the operating system.
type Disk struct {
	Method Method // of the segments; zero: the fastest that works
	NoSync bool   // flushes nothing
	Like   string // a file whose owner and group new ones get, if this process may give them; "": its own
}

// keep gives what was made to the owner of Like. Who may not do so has made it for
// himself, as everybody else's files.
func (d Disk) keep(name string) {
	if d.Like == "" {
		return
	}
	if like, err := os.Stat(d.Like); err == nil {
		owner.Keep(name, like)
	}
}

// Method is a way of getting a batch to the disk.
type Method struct {
	Name  string
	flags int                  // of open
	sync  func(*os.File) error // nil: a write is a flush already
}

func (d Disk) MakeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		d.keep(dir)
	}
	return err
}

func (d Disk) List(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d Disk) Read(name string, into []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := slices.Grow(into[:0], int(info.Size()))[:info.Size()]
	_, err = io.ReadFull(f, b)
	return b, err
}

func (d Disk) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	d.keep(name)
	return &diskFile{f: f, method: d.filling()}, nil
}

func (d Disk) filling() Method {
	if d.NoSync {
		return unsynced
	}
	return Method{Name: "write+fsync", sync: (*os.File).Sync}
}

var unsynced = Method{Name: "write", sync: func(*os.File) error { return nil }}

func (d Disk) Open(name string) (File, error) {
	m := d.Method
	switch {
	case d.NoSync:
		m = unsynced
	case m.Name == "":
		m = Methods()[0]
	}
	f, err := openWith(name, m)
	if err != nil {
		return nil, err // no File that holds a nil
	}
	return f, nil
}

func (d Disk) Sync(name string) error {
	if d.NoSync {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func openWith(name string, m Method) (*diskFile, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|m.flags, 0)
	if unfit(err) && m.flags != 0 {
		m = fallback
		f, err = os.OpenFile(name, os.O_WRONLY|m.flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return &diskFile{f: f, method: m}, nil
}

// unfit reports whether a file system does not know a method's flags: then
// nothing was done.
func unfit(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}

func (d Disk) Rename(from, to string) error { return os.Rename(from, to) }

func (d Disk) Remove(name string) error {
	if link, err := os.Lstat(name); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return nil // somebody has chosen where the log lies
		}
	}
	return os.Remove(name)
}

func (d Disk) SyncFolder(dir string) error {
	if d.NoSync {
		return nil
	}
	return SyncFolder(dir)
}

// SyncFolder makes the names in a folder durable, where folders can be synced.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if unfit(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

type diskFile struct {
	f      *os.File
	method Method
}

func (f *diskFile) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.f.WriteAt(b, offset)
	if err == nil || f.method.sync != nil {
		return n, err
	}
	if n == 0 && unfit(err) { // the file system takes the flags, and then does not
		plain, openErr := openWith(f.f.Name(), fallback)
		if openErr == nil {
			f.f.Close()
			*f = *plain
			return f.WriteAt(b, offset)
		}
	}
	return n, errors.Join(ErrFlush, err)
}

func (f *diskFile) Flush() error {
	if f.method.sync == nil {
		return nil
	}
	return f.method.sync(f.f)
}

func (f *diskFile) Close() error { return f.f.Close() }
