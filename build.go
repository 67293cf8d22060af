package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"runtime/debug"
	"sync"
)

// defaultBuild is the revision that the executable was built from, or a hash of the ID
// that the linker gave it, or of all of it.
var defaultBuild = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		revision, modified := "", false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
		if revision != "" && !modified {
			return revision
		}
	}
	path, err := os.Executable()
	if err != nil {
		return "unknown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	h := sha256.New()
	if id := linkerID(f); id != nil { // it depends on all of the file, and need not be computed
		h.Write(id)
	} else if _, err := io.Copy(h, f); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
})

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
