package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/durable-go/durable/internal/fault"
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

// Fingerprinted is what an Options.Sealer or an Options.Codec may be, too: one that tells
// whether another one opens, or decodes, the same values. So when processes of one build
// are given other keys one after the other, what a process that lacks a key had to hold is
// gone on with by one that has it, at once; of others the build alone counts.
type Fingerprinted interface {
	// Fingerprint is a text that is the same for those that open the same values, and
	// another one for all others. It is asked for once, when the engine is opened, and a hash
	// of it is stored, readable.
	Fingerprint() string
}

// fitness is the name for holds of what a process can go on with: its build, and a hash of
// what it was given that code and journals depend on, if it was given something.
func fitness(build string, codec Codec, sealer Sealer, errs *errorRegistry) string {
	h := sha256.New()
	given := false
	add := func(what, value string) {
		given = true
		fmt.Fprintf(h, "%s %d %s\n", what, len(value), value)
	}
	fingerprint := func(what string, v any) {
		if f, ok := v.(Fingerprinted); ok {
			fault.Apart(func() { add(what, f.Fingerprint()) })
		}
	}
	if named, ok := codec.(namedCodec); ok {
		add("codec", named.name)
		fingerprint("codec's", named.Codec)
	}
	if sealer != nil {
		add("sealer", "")
		fingerprint("sealer's", sealer)
	}
	for _, name := range errs.names() {
		add("error", name)
	}
	const longest = 256 // stores keep such names as parts of keys
	if given {
		build += "+" + hex.EncodeToString(h.Sum(nil)[:6])
	}
	if len(build) > longest {
		whole := sha256.Sum256([]byte(build))
		build = build[:longest-16] + hex.EncodeToString(whole[:8])
	}
	return build
}

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
