package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/owner"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	bolt "go.etcd.io/bbolt"
)

// Compacted is what Compact did.
type Compacted struct {
	Before, After int64 // sizes of the file, in bytes
}

// Compact gives back to the file system the space in a store that nothing needs any
// more, which the store itself only uses again. The store must not be open:
// checkpoint.ErrLocked. What its log has, after a crash, is brought into it first.
//
// The store is copied into a file beside it, which gets the store's name when it is
// whole, on the disk, and was compared: a crash leaves the old file or the new one. It
// needs space for both. The new one has the mode, the owner and the group of the old
// one; where this process may not give it to them, Compact fails and changes nothing. A
// store in which Verify finds a problem is left as it is: the error matches
// checkpoint.ErrCorrupt.
func Compact(ctx context.Context, path string) (Compacted, error) {
	return compactStore(ctx, path, nil)
}

func compactStore(ctx context.Context, path string, opts *Options) (c Compacted, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return c, fmt.Errorf("durable: compact: %w", err)
	}
	s, err := Open(path, opts) // brings in what the log has
	if err != nil {
		return c, err
	}
	if err := s.Close(); err != nil {
		return c, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return c, fmt.Errorf("durable: compact: %w", err)
	}
	c.Before = info.Size()
	if err := compact(ctx, path, info); err != nil {
		return c, err
	}
	if info, err = os.Stat(path); err == nil {
		c.After = info.Size()
	}
	return c, err
}

// compact copies a file into one with the mode, the owner and the group of like.
func compact(ctx context.Context, path string, like os.FileInfo) error {
	fail := func(err error) error { return fmt.Errorf("durable: compact %s: %w", path, err) }
	s := &Store{path: path}
	db, err := s.openBolt(path, &Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	v := newVerifier(ctx, path, nil)
	m, whole, err := newestMeta(s.file, db.Info().PageSize)
	if err != nil {
		return fail(err)
	}
	if _, err := v.end(v.verify(s.file, like.Size(), m, whole, nil)); err != nil {
		return err
	}
	if v.format == formatLog {
		return fmt.Errorf("%s: %w: somebody opened it in this moment", path, checkpoint.ErrLocked)
	}
	aside, err := makeAside(path)
	if err != nil {
		return fail(err)
	}
	name := aside.Name()
	defer os.Remove(name)
	if err := errors.Join(owner.Keep(name, like), os.Chmod(name, like.Mode().Perm()), aside.Close()); err != nil {
		return fail(err)
	}
	if err := copyInto(ctx, name, db); err != nil {
		return fail(err)
	}
	if runtime.GOOS == "windows" { // which renames no file over one that is open
		db.Close()
	}
	if err := os.Rename(name, path); err != nil {
		return fail(err)
	}
	if err := wal.SyncFolder(filepath.Dir(path)); err != nil {
		return fail(err)
	}
	return nil
}

// copyInto copies a file into an empty one, makes that durable and compares the two.
func copyInto(ctx context.Context, name string, from *bolt.DB) (err error) {
	to, err := bolt.Open(name, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true, PageSize: from.Info().PageSize})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	w := &copying{to: to, digest: newDigest()}
	if err := w.fill(ctx, from); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	copied := newDigest()
	if err := eachEntry(ctx, to, func(_ table, key, value []byte) error { return copied.add(key, value) }); err != nil {
		return err
	}
	if copied.Sum64() != w.digest.Sum64() {
		return errors.New("the copy is not what was copied: the memory or the disk of this machine is damaged")
	}
	return nil
}

// eachEntry calls f for everything in a file, the trash first.
func eachEntry(ctx context.Context, db *bolt.DB, f func(t table, key, value []byte) error) error {
	return db.View(func(tx *bolt.Tx) error {
		for _, t := range trashFirst() {
			n := 0
			err := tx.Bucket([]byte(tableNames[t])).ForEach(func(key, value []byte) error {
				if n++; n%1024 == 0 && ctx.Err() != nil {
					return ctx.Err()
				}
				return f(t, key, value)
			})
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func trashFirst() (all []table) {
	all = []table{trashTable}
	for t := range tables {
		if t != trashTable {
			all = append(all, t)
		}
	}
	return all
}

// copying copies a file in transactions that are not too large.
type copying struct {
	to     *bolt.DB
	tx     *bolt.Tx
	size   int
	digest digest
}

func (w *copying) fill(ctx context.Context, from *bolt.DB) (err error) {
	if w.tx, err = w.to.Begin(true); err != nil {
		return err
	}
	defer func() { w.tx.Rollback() }()
	for _, name := range tableNames {
		if _, err := w.tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	trash := make(map[string]bool) // numbers of deleted executions whose journals are left
	err = eachEntry(ctx, from, func(t table, key, value []byte) error {
		switch {
		case t == journalTable && trash[string(key[:8])]:
			return nil
		case t == trashTable:
			trash[string(key)] = true
			return nil
		}
		return w.put(t, key, value)
	})
	if err != nil {
		return err
	}
	return w.tx.Commit()
}

func (w *copying) put(t table, key, value []byte) error {
	const most = 16 << 20
	if w.size > most {
		if err := w.tx.Commit(); err != nil {
			return err
		}
		tx, err := w.to.Begin(true)
		if err != nil {
			return err
		}
		w.tx, w.size = tx, 0
	}
	w.size += len(key) + len(value)
	b := w.tx.Bucket([]byte(tableNames[t]))
	b.FillPercent = filling
	return errors.Join(b.Put(key, value), w.digest.add(key, value))
}

var crc64Table = crc64.MakeTable(crc64.ECMA)

// digest is of all that a file holds.
type digest struct{ hash.Hash64 }

func newDigest() digest { return digest{crc64.New(crc64Table)} }

func (d digest) add(key, value []byte) error {
	var sizes [8]byte
	binary.BigEndian.PutUint32(sizes[:], uint32(len(key)))
	binary.BigEndian.PutUint32(sizes[4:], uint32(len(value)))
	d.Write(sizes[:])
	d.Write(key)
	_, err := d.Write(value)
	return err
}
