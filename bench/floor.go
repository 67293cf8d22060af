package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The floor: what the disk and the file system cost whatever anybody does, and the
// server, if there is one. The first line is what ratios are to, the server's floor
// for systems on the server.
var floors = []metric{
	{key: "floor", title: "write 256 B + " + flushName + ", preallocated file", unit: nanoseconds},
	{key: "floor growing", title: "write 256 B + " + flushName + ", file growing", unit: nanoseconds},
	{key: "floor sync", title: "write 4 KiB with " + syncName + ", preallocated file", unit: nanoseconds},
	{key: "floor bolt", title: "bbolt Update of one put (two flushes)", unit: nanoseconds},
}

var serverFloor = metric{key: "floor postgres", title: "Postgres: insert a row of 256 B and commit, through pgx", unit: nanoseconds}

// measureFloor does each n times after a tenth of it as warm-up.
func measureFloor(folder, url string, n int) (figures, error) {
	found := figures{}
	for _, f := range []struct {
		key     string
		measure func(folder string, n int) ([]time.Duration, error)
	}{
		{"floor", func(folder string, n int) ([]time.Duration, error) { return appends(folder, n, 256, true, 0) }},
		{"floor growing", func(folder string, n int) ([]time.Duration, error) { return appends(folder, n, 256, false, 0) }},
		{"floor sync", func(folder string, n int) ([]time.Duration, error) { return appends(folder, n, 4096, true, syncFlag) }},
		{"floor bolt", updates},
		{serverFloor.key, postgres{url}.inserts},
	} {
		if f.key == serverFloor.key && url == "" {
			continue
		}
		warm := n / 10
		all, err := f.measure(folder, warm+n)
		if err != nil {
			return nil, err
		}
		found[f.key] = distribution(all[warm:])
	}
	return found, nil
}

// appends writes size bytes n times, one after the other, and flushes each: by a
// flag of the file, or else by a call.
func appends(folder string, n, size int, preallocated bool, flag int) (all []time.Duration, err error) {
	path := filepath.Join(folder, "floor")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|flag, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	if preallocated {
		// Written, not only reserved: a write into reserved blocks that were never
		// written changes the file's map of blocks, and has to flush that too.
		if _, err := file.Write(make([]byte, n*size)); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i)
	}
	for i := range n {
		began := time.Now()
		if _, err := file.WriteAt(data, int64(i*size)); err != nil {
			return nil, err
		}
		if flag == 0 {
			if err := flush(file); err != nil {
				return nil, err
			}
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}

func updates(folder string, n int) (all []time.Duration, err error) {
	path := filepath.Join(folder, "floor.bolt")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), os.Remove(path)) }()
	value := make([]byte, 256)
	for i := range n {
		began := time.Now()
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("floor"))
			if err != nil {
				return err
			}
			return b.Put([]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, value)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}
