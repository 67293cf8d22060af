package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
	"github.com/durable-go/durable/checkpoint/internal/queue"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Open opens the store in the file at path, and makes it, with its folders, if
// it does not exist. After a crash it reads what the log beside the file has and the
// file has not: a few milliseconds for each MiB; the file gets it later, while the
// store is in use. Executions that had an owner when the file was last used are
// claimable, and lost. The errors, all with the path:
//
//   - ErrLocked: this or another process has the file open; nothing is waited for
//   - ErrCorrupt: the file or its log is damaged or missing, or is something else,
//     or a newer release made it. Nothing was changed.
//   - what the system says: it says nothing of what is in the file
//   - a place where a store can't be: a link that leads to nothing, which a new store would
//     replace, and a file that is mounted by itself, without its log
func Open(path string, opts *Options) (*Store, error) {
	if path == "" {
		return nil, errors.New("durable: open the store: the path is empty")
	}
	if opts == nil {
		opts = &Options{}
	}
	log := opts.Logger
	if log == nil {
		log = slog.Default()
	}
	if err := ensure(path, opts); err != nil {
		return nil, fmt.Errorf("durable: create %s: %w", path, err)
	}
	real, err := filepath.EvalSymlinks(path) // the log lies beside the file itself
	if err == nil {
		real, err = filepath.Abs(real) // the process may change its folder
	}
	if err != nil {
		return nil, fmt.Errorf("durable: open the store: %w", err)
	}
	if err := checkPlace(real); err != nil {
		return nil, fmt.Errorf("durable: open the store %s: %w", path, err)
	}
	s := &Store{
		path: path, real: real, now: opts.now, queue: queue.New[*command](maxRound, maxRoundBytes), calls: dispatch.New(), writer: newWriter(), heads: make(map[uint32]head),
		ended: make(chan struct{}), fed: make(chan struct{}), failing: make(chan struct{}), wake: make(chan struct{}, 1),
		feeder:  feeder{active: newGeneration(), progress: make(chan struct{})},
		walDir:  real + logSuffix,
		walOpts: wal.Options{Files: opts.files, SegmentSize: opts.segmentSize},
		maxLag:  maxLag,
		pins:    make(map[*pin]bool),
	}
	s.log = s.teller.Logger(log.Handler())
	s.makeAside = func() (*os.File, error) { return makeAside(real) }
	if s.now == nil {
		s.now = time.Now
	}
	if s.walOpts.Files == nil {
		s.walOpts.Files = wal.Disk{NoSync: opts.UnsafeNoSync, Like: real}
	}
	if err := s.open(opts); err != nil {
		s.letGo()
		return nil, err
	}
	go s.write()
	go s.feed()
	return s, nil
}

// logSuffix is behind the name of the file in the name of its log's folder.
const logSuffix = "-wal"

func (s *Store) open(opts *Options) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			err = s.panicked(p)
		}
	}()
	if s.db, err = s.openBolt(s.path, opts); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	s.removeAside()
	return nil
}

// letGo closes what a failed Open has opened.
func (s *Store) letGo() {
	s.calls.Close()
	if s.wal != nil {
		s.wal.Close()
	}
	if s.db != nil && !s.broken.Load() {
		s.db.Close()
	} else if s.file != nil {
		s.dropFile()
	}
}

// dropFile lets go of the file where bbolt can't be closed. The memory that it
// has mapped stays mapped.
func (s *Store) dropFile() error {
	unlock(s.file)
	return s.file.Close()
}

// openBolt opens a file that exists.
func (s *Store) openBolt(path string, opts *Options) (*bolt.DB, error) {
	options := bolt.Options{
		Timeout:         time.Millisecond, // look at the lock once
		FreelistType:    bolt.FreelistMapType,
		NoSync:          opts.UnsafeNoSync,
		NoGrowSync:      opts.UnsafeNoSync,
		NoStatistics:    true,
		InitialMmapSize: mapSize(path, opts),
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			if err != nil {
				return nil, err
			}
			s.file = f
			if opts.unlocked != nil {
				opts.unlocked()
			}
			return f, checkSize(f)
		},
	}
	db, err := bolt.Open(path, 0o600, &options)
	if errors.Is(err, syscall.ENOMEM) { // the process may not have so many addresses
		options.InitialMmapSize = 0
		db, err = bolt.Open(path, 0o600, &options)
	}
	s.mapped = int64(options.InitialMmapSize)
	if err != nil {
		return nil, openError(path, err)
	}
	// Compact may have put another file in the place of this one before we had its lock.
	is, err := os.Stat(path)
	if err == nil {
		var have os.FileInfo
		if have, err = s.file.Stat(); err == nil && !os.SameFile(is, have) {
			err = fmt.Errorf("%s: %w: it was replaced in this moment", path, checkpoint.ErrLocked)
		}
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// roomToGrow is how much a file can grow while it is open before bbolt has to map it again,
// for which it waits until nobody reads, and everybody for it: see pin. Only addresses are
// taken, no memory.
const roomToGrow = 64 << 30

// mapSize is how much of the addresses a file gets; 0: as much as it needs.
func mapSize(path string, opts *Options) int {
	if strconv.IntSize < 64 || runtime.GOOS == "windows" || opts.crowded { // on Windows the file would get as large
		return 0
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size() + int64(roomToGrow))
}

// openError is what an error of bbolt's Open means.
func openError(path string, err error) error {
	var corrupt *checkpoint.CorruptError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &corrupt):
		return corrupt
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s: %w: close it there first", path, checkpoint.ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum), errors.Is(err, errEmpty):
		return &checkpoint.CorruptError{Where: path, What: "it is not a bbolt file, or its first pages are damaged", Err: err}
	}
	// A folder, a lock that the file system does not know, no rights, no memory, a disk that
	// can't be read.
	return fmt.Errorf("durable: open the store %s: %w", path, err)
}

var errEmpty = errors.New("the file is empty")

// checkSize keeps bbolt from making a new store of an empty file, which may be all that
// is left of an old one, and from one that was truncated: reading what is not there is a
// fault inside bbolt, after which the file can't be closed, and stays locked.
func checkSize(f *os.File) error {
	// Another process may use the file, and enlarge it meanwhile: first what the size
	// must be, then what it is.
	m, _, err := newestMeta(f, os.Getpagesize())
	if err != nil {
		return err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() == 0:
		return errEmpty
	}
	if want := int64(max(m.Pages, 2)) * int64(max(m.PageSize, 4096)); info.Size() < want {
		return &checkpoint.CorruptError{Where: f.Name(), What: fmt.Sprintf("it was truncated, or is not a bbolt file: it has %d bytes of %d", info.Size(), want)}
	}
	return nil
}

// load reads what the store keeps in memory.
func (s *Store) load() error {
	return s.readFile(context.Background(), func(p *snapshot) error {
		p.begin()
		meta := p.tx.Bucket([]byte(tableNames[metaTable]))
		if meta == nil {
			return &checkpoint.CorruptError{Where: s.path, What: "it is a bbolt file, but no store of durable executions"}
		}
		v := meta.Get(metaFormat)
		if len(v) != 4 {
			return &checkpoint.CorruptError{Where: s.path, What: "it is a bbolt file, but no store of durable executions"}
		}
		if s.format = binary.BigEndian.Uint32(v); s.format < formatFirst || s.format > formatWhole {
			return &checkpoint.CorruptError{Where: s.path, What: fmt.Sprintf("its format is %d, this release knows %d to %d: open it with the release that made it, or a newer one", s.format, formatFirst, formatWhole)}
		}
		if v := meta.Get(metaSum); v != nil && !bytes.Equal(v, sumOf(meta.Get)) {
			return s.corrupt(metaTable, metaSum, "the table is damaged: its checksum is another one", nil)
		}
		if v := meta.Get(metaLog); v != nil || s.format == formatLog {
			m, ok := parseLogMark(v)
			if !ok {
				return s.corrupt(metaTable, metaLog, "it can't be read", nil)
			}
			s.logID, s.applied, s.base = m.id, m.applied, m.base
		}
		s.secret = append([]byte(nil), meta.Get(metaSecret)...)
		if len(s.secret) < 32 {
			return s.corrupt(metaTable, metaSecret, "it is missing", nil)
		}
		number := meta.Get(metaNumber)
		if len(number) != 8 {
			return s.corrupt(metaTable, metaNumber, "it is missing", nil)
		}
		s.writer.number = binary.BigEndian.Uint64(number)
		trash, _ := p.bucket(trashTable).Cursor().First()
		s.trash = trash != nil
		for t := range tables {
			p.bucket(t)
		}
		return nil
	})
}
