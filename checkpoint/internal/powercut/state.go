package powercut

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// State is what is in a folder: contents by path; the paths of folders end in "/".
type State map[string][]byte

// Read reads a folder.
func Read(dir string) (State, error) {
	s := State{}
	return s, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			s[name+"/"] = nil
			return nil
		}
		s[name], err = os.ReadFile(path)
		return err
	})
}

// Write makes the files in an empty folder.
func (s State) Write(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
		} else if err := os.WriteFile(path, s[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Sum tells states apart.
func (s State) Sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s)) {
		var n [16]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(name)))
		binary.BigEndian.PutUint64(n[8:], uint64(len(s[name])))
		h.Write(n[:])
		h.Write([]byte(name))
		h.Write(s[name])
	}
	return [sha256.Size]byte(h.Sum(sum[:0]))
}
