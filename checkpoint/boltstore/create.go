package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	bolt "go.etcd.io/bbolt"
)

// ensure makes the file unless it exists. It is made aside, and gets its name
// when it is whole and on the disk: a crash leaves a good file or none.
func ensure(path string, opts *Options) (err error) {
	dir := filepath.Dir(path)
	if err := checkLink(path); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		// Whoever made it may have been killed before its name was on the disk.
		if err := wal.SyncFolder(dir); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if logged, err := wal.Exists(wal.Disk{}, path+logSuffix); err != nil {
		return err
	} else if logged {
		return &checkpoint.CorruptError{Where: path, What: "the file is missing, but its log " + path + logSuffix + " is there: put the file back, or remove the log to begin anew"}
	}
	if err := ensureFolder(dir); err != nil {
		return err
	}
	aside, err := makeAside(path)
	if err != nil {
		return err
	}
	name := aside.Name()
	defer os.Remove(name)
	if err := aside.Close(); err != nil {
		return err
	}
	if err := initialize(name); err != nil {
		return err
	}
	// A link fails when another process was faster, where a rename would
	// replace its file. Not every file system has links.
	err = os.Link(name, path)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		if _, err := os.Lstat(path); err == nil {
			return nil
		}
		if err := os.Rename(name, path); err != nil {
			return err
		}
	}
	return wal.SyncFolder(dir)
}

// asideSuffix ends the names of files that are being made: no other program makes such.
const asideSuffix = ".durable-new"

// makeAside makes a file beside another one, which the next Open removes if it is left.
func makeAside(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+asideSuffix)
}

// removeAside removes what is left of makings that were cut off, and nothing else. One that
// is going on does no harm and takes none: the file exists, so it will be used.
func (s *Store) removeAside() {
	for _, path := range []string{s.path, s.real} { // Compact follows links, making does not
		left, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range left {
			name, ours := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
			drawn, aside := strings.CutSuffix(name, asideSuffix)
			if ours && aside && drawn != "" && e.Type().IsRegular() && strings.Trim(drawn, "0123456789") == "" {
				os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
			}
		}
	}
}

// ensureFolder makes a folder and those above it, and makes their names durable. Those
// that are there may have been made by a process that was killed before it came to
// that; one that can't be flushed was not made by us.
func ensureFolder(dir string) error {
	made := make(map[string]bool) // has a new name in it
	for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made[filepath.Dir(d)] = true
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
		if err := wal.SyncFolder(filepath.Dir(d)); err != nil && made[filepath.Dir(d)] {
			return err
		}
	}
	return nil
}

// initialize fills an empty file.
func initialize(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range tableNames {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(tableNames[metaTable]))
		err := errors.Join(
			meta.Put(metaFormat, binary.BigEndian.AppendUint32(nil, formatWhole)),
			meta.Put(metaSecret, secret),
			meta.Put(metaNumber, numberKey(0)),
		)
		return errors.Join(err, meta.Put(metaSum, sumOf(meta.Get)))
	})
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}
