package boltstore

import (
	"fmt"
	"io"
)

// A page that the system can't read, because the disk or the network has an error, is a
// fault of the memory that the file is mapped to, like one that lies behind the end of the
// file. Only the latter is damage; whether it is the former a read tells.

// fault is what the runtime panics with, see debug.SetPanicOnFault.
type fault interface {
	error
	Addr() uintptr
}

// unread returns why the system can't read the file where a fault was; nil: it can.
func (s *Store) unread(f fault) error {
	if s.file == nil {
		return nil
	}
	from, size := int64(0), int64(0)
	if s.db != nil {
		if base, known := s.mappedAt(); known {
			from = int64(f.Addr() - base)
		}
		from, size = from&^4095, 4096
	}
	info, err := s.file.Stat()
	switch {
	case err != nil:
		return s.systemError(err)
	case s.db == nil: // it was being opened: nobody knows yet where it is mapped
		size = info.Size()
	case from < 0 || from >= info.Size():
		return nil
	}
	at, err := readable(s.file, from, size)
	if err != nil {
		return s.systemError(fmt.Errorf("at offset %d: %w", at, err))
	}
	return nil
}

// mappedAt is where the file is mapped to; not known: its first page is what can't be read,
// which bbolt looks at to tell.
func (s *Store) mappedAt() (base uintptr, known bool) {
	defer func() { recover() }()
	return s.db.Info().Data, true
}

// systemError is an error of the system's, with the path. It says nothing of what the file
// holds.
func (s *Store) systemError(err error) error {
	return fmt.Errorf("durable: the store %s can't be read: the system says: %w", s.path, err)
}

// readable reads a part of a file, and returns where it can't. The end of the file is none
// of its business.
func readable(file io.ReaderAt, from, size int64) (at int64, err error) {
	b := make([]byte, min(size, 1<<20))
	for at = from; at < from+size; at += int64(len(b)) {
		if n, err := file.ReadAt(b[:min(int64(len(b)), from+size-at)], at); err == io.EOF {
			return 0, nil
		} else if err != nil {
			return at + int64(n), err
		}
	}
	return 0, nil
}

// source is a file that remembers why it could not be read.
type source struct {
	io.ReaderAt
	err error
}

func (s *source) ReadAt(b []byte, at int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(b, at)
	if err != nil && err != io.EOF && s.err == nil {
		s.err = fmt.Errorf("it can't be read at offset %d: %w", at, err)
	}
	return n, err
}
