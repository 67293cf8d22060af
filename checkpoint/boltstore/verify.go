package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/btree"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	bolt "go.etcd.io/bbolt"
)

// VerifyOptions are what Verify tells while it works. The zero value, and nil, tell
// nothing.
type VerifyOptions struct {
	// Problem is called for each problem, in the order in which they are found.
	Problem func(Problem)
	// Progress is called now and then, at least once each 4,096 entries.
	Progress func(Verified)

	segmentSize int // for tests, as of Options
}

// Verified says how much Verify has looked at.
type Verified struct {
	Pages      uint64 // of the file
	FreePages  uint64 // of these; known at the end
	Executions uint64
	Records    uint64 // of journals
	Entries    uint64 // of all buckets
	Batches    uint64 // of the log that the file does not have yet
	Problems   uint64
}

// Verify checks everything that a store consists of, and changes nothing: the pages of
// the file and the list of free ones; the checksum of every record, row, inbox entry and
// callback; each journal against the row of its execution (gaps, numbers of events, the
// last record, the status); each row against the indexes and each entry of an index
// against its row; and the batches of the log. After a crash the log holds what the file
// has not: it is verified as if it were there.
//
// It reports all that it finds. The error matches checkpoint.ErrCorrupt if there was a
// problem, and checkpoint.ErrLocked if the store is open: then use Store.Verify. Any
// other error means that it could not be verified to its end.
//
// It reads the file once, and looks up what the indexes point to. It takes some
// megabytes of memory, a byte for eight pages of the file, and as much as the log holds.
func Verify(ctx context.Context, path string, opts *VerifyOptions) (Verified, error) {
	v := newVerifier(ctx, path, opts)
	err := v.verifyClosed()
	return v.end(err)
}

// Verify checks the file of an open store as the function Verify does, while others use
// the store: all that was acknowledged before the call, as it was at one moment. The log
// is not looked at, since all of that is in the file then. Space that others set free
// meanwhile is used again only afterwards.
func (s *Store) Verify(ctx context.Context, opts *VerifyOptions) (Verified, error) {
	v := newVerifier(ctx, s.path, opts)
	err := s.pinned(ctx, func(p *pin) error { return v.verify(p, p.size, p.meta, p.whole, nil) })
	if err == nil {
		err = s.verifyHeads(ctx, v)
	}
	return v.end(err)
}

// newestMeta reads the meta pages and returns the one that counts, and which are whole. An
// error is the system's.
func newestMeta(file *os.File, pageSize int) (m btree.Meta, whole [2]bool, err error) {
	if _, err := readable(file, 0, 2*int64(pageSize)); err != nil {
		return m, whole, err
	}
	for n := range whole {
		meta, ok := btree.ReadMeta(file, pageSize, n)
		if whole[n] = ok; ok && (m.Pages == 0 || meta.TxID > m.TxID) {
			m = meta
		}
	}
	return m, whole, nil
}

// verifyHeads checks what the store remembers of where queues begin.
func (s *Store) verifyHeads(ctx context.Context, v *verifier) error {
	return s.read(ctx, func(p *snapshot) error {
		for queue, h := range s.heads {
			prefix := queuePrefix(queue)
			key, _, some := p.scan(dueTable, prefix, prefix).next()
			known := strings.HasPrefix(h.key, prefix) && h.exact
			if known && key != h.key || some && key < h.key {
				v.problem(Problem{Bucket: tableNames[dueTable], Key: []byte(key), What: fmt.Sprintf("the open store takes %x for the first entry of queue %d: open it again", h.key, queue)})
			}
		}
		return nil
	})
}

// verifyClosed verifies a file that is not open.
func (v *verifier) verifyClosed() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	real, err := filepath.EvalSymlinks(v.path)
	if err != nil {
		return fmt.Errorf("durable: verify: %w", err)
	}
	db, file, err := openToRead(v.path)
	if e, ok := errors.AsType[*checkpoint.CorruptError](err); ok {
		v.problem(Problem{What: e.What, Err: e.Err})
		return nil
	}
	if err != nil {
		return err
	}
	defer db.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("durable: verify %s: %w", v.path, err)
	}
	m, whole, err := newestMeta(file, db.Info().PageSize)
	if err != nil {
		return fmt.Errorf("durable: verify %s: %w", v.path, err)
	}
	return v.verify(file, info.Size(), m, whole, func(p wal.Position, format uint32) []wal.Batch {
		return v.readLog(real+logSuffix, p, format)
	})
}

// openToRead opens a file, which nobody may have open to write.
func openToRead(path string) (db *bolt.DB, file *os.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			defer file.Close()
			unlock(file) // what bbolt has mapped keeps it
			if f, ok := p.(fault); ok {
				if err = (&Store{path: path, file: file}).unread(f); err != nil {
					return
				}
			}
			err = &checkpoint.CorruptError{Where: path, What: "its first pages are damaged, or it was truncated", Err: fmt.Errorf("%v", p)}
		}
	}()
	opts := bolt.Options{ReadOnly: true, Timeout: time.Millisecond, NoStatistics: true}
	opts.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		file, err = os.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		return file, checkSize(file)
	}
	if db, err = bolt.Open(path, 0, &opts); err != nil && file != nil {
		file.Close() // bbolt keeps one that OpenFile has found wrong
	}
	return db, file, openError(path, err)
}

// readLog returns the batches that the file does not have. Damage is a problem.
func (v *verifier) readLog(dir string, p wal.Position, format uint32) []wal.Batch {
	opts := wal.Options{Files: wal.Disk{}, SegmentSize: v.opts.segmentSize}
	exists, err := wal.Exists(opts.Files, dir)
	var batches []wal.Batch
	switch {
	case err != nil:
	case format == formatLog && !exists:
		v.problem(Problem{File: dir, What: "the log is missing: the file was not closed, and what was acknowledged last is in the log"})
	case format == formatLog:
		batches, err = wal.Read(dir, p, opts)
	case exists: // Open removes it, if nothing in it is needed
		err = wal.Unneeded(dir, p, opts)
	}
	if e, ok := errors.AsType[*wal.DamageError](err); ok {
		v.problem(Problem{File: e.Where, What: e.What})
		return nil
	}
	if err != nil {
		v.err = fmt.Errorf("durable: verify %s: the log %s can't be read: %w", v.path, dir, err)
	}
	return batches
}

// end is what Verify returns.
func (v *verifier) end(err error) (Verified, error) {
	if err == nil && v.first != nil {
		what := "1 problem"
		if v.done.Problems > 1 {
			what = fmt.Sprintf("%d problems, the first one", v.done.Problems)
		}
		err = &checkpoint.CorruptError{Where: v.path, What: what, Err: errors.New(v.first.String())}
	}
	return v.done, err
}
