package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
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
func Open(path string, opts *Options) (*Store, error) {
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
	if err != nil {
		return nil, fmt.Errorf("durable: open the store: %w", err)
	}
	s := &Store{
		path: path, log: log, calls: dispatch.New(), writer: newWriter(), heads: make(map[uint32]head),
		ended: make(chan struct{}), fed: make(chan struct{}), failing: make(chan struct{}), wake: make(chan struct{}, 1),
		feeder:  feeder{active: newGeneration(), progress: make(chan struct{})},
		walDir:  real + logSuffix,
		walOpts: wal.Options{Files: opts.files, SegmentSize: opts.segmentSize},
		maxLag:  maxLag,
	}
	if s.walOpts.Files == nil {
		s.walOpts.Files = wal.Disk{NoSync: opts.UnsafeNoSync}
	}
	s.queue.init()
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
		s.file.Close()
	}
}

// openBolt opens a file that exists.
func (s *Store) openBolt(path string, opts *Options) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Millisecond, // look at the lock once
		FreelistType:    bolt.FreelistMapType,
		NoSync:          opts.UnsafeNoSync,
		NoGrowSync:      opts.UnsafeNoSync,
		NoStatistics:    true,
		InitialMmapSize: mapped(),
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			if err != nil {
				return nil, err
			}
			s.file = f
			return f, checkSize(f)
		},
	})
	var pathError *fs.PathError
	switch {
	case err == nil:
		db.AllocSize = growth
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w: close it there first", path, checkpoint.ErrLocked)
	case errors.As(err, &pathError):
		return nil, fmt.Errorf("durable: open the store: %w", err)
	}
	return nil, &checkpoint.CorruptError{Where: path, What: "it is not a bbolt file, or its first pages are damaged", Err: err}
}

// mapped is how much of the file bbolt maps into memory from the beginning: to map
// more it waits for all readers, and copies what its transaction has so far. It
// costs addresses and no memory; but Windows would make the file as large.
func mapped() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 {
		return 0
	}
	return 1 << 30
}

// growth is how much more than it needs the file gets when it grows.
const growth = 1 << 20

var errEmpty = errors.New("the file is empty")

// checkSize keeps bbolt from making a new store of an empty file: it may be all
// that is left of an old one.
func checkSize(f *os.File) error {
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		return errEmpty
	}
	return err
}

// load reads what the store keeps in memory.
func (s *Store) load() error {
	return s.readFile(context.Background(), func(p *snapshot) error {
		info, err := s.file.Stat()
		if err != nil {
			return err
		}
		p.begin()
		if want := p.tx.Size(); info.Size() < want {
			return &checkpoint.CorruptError{Where: s.path, What: fmt.Sprintf("it was truncated: it has %d bytes of %d", info.Size(), want)}
		}
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
