package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file appears whole, in a folder that is flushed, and replaces nothing, on a file
// system with links and on one without.
func TestPublish(t *testing.T) {
	was, sync := link, syncFolder
	t.Cleanup(func() { link, syncFolder = was, sync })
	for name, l := range map[string]func(string, string) error{
		"Links":   os.Link,
		"NoLinks": func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM} },
		"Nothing": func(from, to string) error { return errors.ErrUnsupported },
	} {
		t.Run(name, func(t *testing.T) {
			link = l
			var flushed []string
			syncFolder = func(dir string) error { flushed = append(flushed, dir); return sync(dir) }
			dir := t.TempDir()
			part, path := filepath.Join(dir, "part"), filepath.Join(dir, "copy")
			write := func(name, what string) {
				os.Remove(name) // it may be a link
				if err := os.WriteFile(name, []byte(what), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read := func(name string) string {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			write(part, "whole")
			if err := publish(part, path); err != nil {
				t.Fatal(err)
			}
			if got := read(path); got != "whole" {
				t.Fatalf("it has %q", got)
			}
			if len(flushed) != 1 || flushed[0] != dir {
				t.Fatalf("flushed: %q", flushed)
			}

			write(part, "another")
			err := publish(part, path)
			if exitCodeOf(t.Context(), err) != exitConflict {
				t.Fatalf("a file was there: %v", err)
			}
			if got := read(path); got != "whole" {
				t.Fatalf("it was replaced by %q", got)
			}

			other := filepath.Join(dir, "other")
			if err := publish(filepath.Join(dir, "none"), other); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("nothing was there to be published: %v", err)
			}
			if _, err := os.Lstat(other); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("its name is left: %v", err)
			}

			syncFolder = func(string) error { return syscall.EIO }
			if err := publish(part, other); err == nil || !strings.Contains(err.Error(), "power cut") {
				t.Fatalf("the folder was not flushed: %v", err)
			}
		})
	}
}
