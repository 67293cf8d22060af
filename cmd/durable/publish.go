package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// link is os.Link, but for tests: not every file system has links (exFAT, and many that
// are mounted over a network).
var link = os.Link

// publish gives a file that is whole and flushed the name under which people find it, in
// the same folder, and makes the name durable. It replaces nothing.
func publish(part, path string) error {
	err := link(part, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = rename(part, path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists(path)
	case err != nil:
		return fmt.Errorf("%s can't be made: %w", path, err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s is written, but after a power cut it may be gone: its folder can't be flushed: %w", path, err)
	}
	return nil
}

func exists(path string) error {
	return &codedError{exitConflict, fmt.Errorf("%s exists: give a name that is free", path)}
}

// rename takes the name with an empty file, which nobody else can then, and replaces that.
func rename(part, path string) error {
	taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(taken.Close(), os.Rename(part, path)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncFolder makes the names in a folder durable, where folders can be flushed.
var syncFolder = func(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
