package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
)

// defaultBuild tells one build of the program from another: by the identity of the
// executable, behind the revision that it was built from, for people, if that is known.
// The revision alone is not enough: what the program is made of may differ though the
// tree is that of the revision, by generated files that are not under version control,
// modules of other trees, build tags and -ldflags -X.
var defaultBuild = sync.OnceValue(func() string {
	revision, identity := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	path, err := os.Executable()
	if err == nil {
		identity, err = identityOf(path)
	}
	switch {
	case err != nil && revision == "":
		return "unknown"
	case err != nil:
		return revision
	case revision == "":
		return identity
	}
	return revision + "-" + identity
})

// identityOf is a hash of the ID that the linker gave an executable, or of all of it.
func identityOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if id := linkerID(f); ofContent(id) { // it depends on all of the file, and need not be computed
		h.Write(id)
	} else if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// ofContent reports whether id is one that go build makes, of hashes in four parts, and
// not a text that somebody gave the linker, which all builds may have in common.
func ofContent(id []byte) bool {
	parts := bytes.Split(id, []byte("/"))
	return len(parts) == 4 && !slices.ContainsFunc(parts, func(part []byte) bool { return len(part) != 20 })
}

// linkerID is what go tool buildid prints of an executable, nil if it is not found
// where the linker puts it.
func linkerID(f io.ReaderAt) []byte {
	head := make([]byte, 32<<10)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	const longest = 256
	// ELF: a note of size, type 4, and the name "Go".
	if before, note, found := bytes.Cut(head, []byte("\x04\x00\x00\x00Go\x00\x00")); found && len(before) >= 4 {
		size := binary.LittleEndian.Uint32(before[len(before)-4:])
		if 0 < size && size <= longest && int(size) <= len(note) {
			return note[:size]
		}
	}
	// Others: text before the first instruction.
	if _, rest, found := bytes.Cut(head, []byte("\xff Go build ID: \"")); found {
		if id, _, found := bytes.Cut(rest, []byte("\"\n \xff")); found && 0 < len(id) && len(id) <= longest {
			return id
		}
	}
	return nil
}
