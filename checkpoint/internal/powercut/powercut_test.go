//go:build linux

package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const recordedDir = "POWERCUT_TEST_DIR"

// program is recorded.
func program(t *testing.T, dir string) {
	notes, err := os.Create(filepath.Join(dir, "notes"))
	require.NoError(t, err)
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root+"/sub", 0o700))
	f, err := os.OpenFile(root+"/sub/new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("a \"strange\",\n) = text"), 7)
	require.NoError(t, err)
	fmt.Fprint(notes, "written")
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(100))
	require.NoError(t, syscall.Fdatasync(int(f.Fd())))
	require.NoError(t, f.Close())
	require.NoError(t, os.Rename(root+"/sub/new", root+"/sub/now"))
	require.NoError(t, os.Link(root+"/sub/now", root+"/two"))
	require.NoError(t, os.Remove(root+"/old"))
	require.Error(t, os.Remove(root+"/sub"), "it is not empty")
	folder, err := os.Open(root)
	require.NoError(t, err)
	require.NoError(t, folder.Sync())
	require.NoError(t, folder.Close())
	fmt.Fprint(notes, "synced")
	f, err = os.OpenFile(root+"/two", os.O_WRONLY|syscall.O_DSYNC, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("end"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestRecord(t *testing.T) {
	if dir := os.Getenv(recordedDir); dir != "" {
		program(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root, 0o700))
	require.NoError(t, os.WriteFile(root+"/old", []byte("old"), 0o600))
	cmd := exec.Command(os.Args[0], "-test.run=^TestRecord$")
	cmd.Env = append(os.Environ(), recordedDir+"="+dir)
	trace, err := Record(cmd, root, filepath.Join(dir, "notes"))
	if errors.Is(err, ErrNoTracer) {
		t.Skip(err)
	}
	require.NoError(t, err)

	var ops []string
	for _, op := range trace.Ops {
		ops = append(ops, op.String())
		require.Less(t, op.Begin, op.End)
	}
	require.Equal(t, []string{
		"enter sub", "enter sub/new", "write sub/new 7+21", "flush sub/new", "truncate sub/new 100", "flush sub/new",
		"rename new to sub/now", "enter two", "leave old", "flush ", "write two 0+3",
	}, ops)
	require.True(t, trace.Ops[10].Flushed)
	require.False(t, trace.Ops[2].Flushed)
	require.Equal(t, trace.Ops[2].File, trace.Ops[10].File, "one file with two names")
	require.Empty(t, trace.Said(trace.Ops[2].End))
	require.Equal(t, []string{"written"}, trace.Said(trace.Ops[3].End))
	require.Equal(t, []string{"written", "synced"}, trace.Said(trace.Events))

	// What was flushed all is there, and the end is what is really on the disk.
	real, err := Read(root)
	require.NoError(t, err)
	var first, last State
	for _, states := range trace.States(Bounds{Ops: 3}, rand.New(rand.NewPCG(1, 1))) {
		for s := range states {
			if first == nil {
				first = s
			}
			if s.Sum() == real.Sum() {
				last = s
			}
		}
	}
	require.Equal(t, State{"old": []byte("old")}, first)
	require.Equal(t, real, last)
	again := filepath.Join(dir, "again")
	require.NoError(t, os.Mkdir(again, 0o700))
	require.NoError(t, last.Write(again))
	written, err := Read(again)
	require.NoError(t, err)
	require.Equal(t, real, written)
}

// calls makes a trace, one call a line, as strace would write it. A string in it
// is put into hex.
func calls(t *testing.T, before State, lines ...string) (*Trace, error) {
	t.Helper()
	var text strings.Builder
	for _, line := range lines {
		parts := strings.Split(line, `"`)
		for i := 1; i < len(parts); i += 2 {
			var b strings.Builder
			for _, c := range []byte(parts[i]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
			parts[i] = b.String()
		}
		line = strings.Join(parts, `"`)
		if !strings.Contains(line, "<unfinished") && !strings.Contains(line, ") =") {
			line += " = 0"
		}
		if !strings.HasPrefix(line, "2 ") {
			line = "1 " + line
		}
		text.WriteString(line + "\n")
	}
	return Parse(strings.NewReader(text.String()), before, "/r", "/notes")
}

// may returns the states at the end, in a short form, when all combinations are made.
func may(t *testing.T, before State, lines ...string) map[string]bool {
	t.Helper()
	trace, err := calls(t, before, lines...)
	require.NoError(t, err)
	found := map[string]bool{}
	for cut, states := range trace.States(Bounds{Sectors: 12, Ops: 12}, rand.New(rand.NewPCG(1, 1))) {
		for s := range states {
			if cut == trace.Events {
				found[short(s)] = true
			}
		}
	}
	return found
}

// short is a state with one letter a sector: ? is garbage.
func short(s State) string {
	var b strings.Builder
	for _, name := range []string{"a", "b", "d/", "d/a"} {
		data, ok := s[name]
		if !ok {
			continue
		}
		b.WriteString(" " + name + ":")
		for at := 0; at < len(data); at += sector {
			one := data[at:min(at+sector, len(data))]
			if strings.Trim(string(one), string(one[:1])) != "" {
				b.WriteByte('?')
			} else {
				b.WriteByte(max(one[0], '0'))
			}
		}
	}
	return strings.TrimSpace(b.String())
}

func of(letters string) string {
	var b strings.Builder
	for _, c := range letters {
		b.WriteString(strings.Repeat(string(c), sector))
	}
	return b.String()
}

func set(states ...string) map[string]bool {
	m := map[string]bool{}
	for _, s := range states {
		m[s] = true
	}
	return m
}

func TestStates(t *testing.T) {
	t.Parallel()
	const opened = `openat(AT_FDCWD, "/r/a", O_RDWR) = 3`
	a := State{"a": []byte(of("xx"))}
	write := func(letters string, at int) string {
		return fmt.Sprintf(`pwrite64(3, "%s", %d, %d) = %d`, of(letters), sector*len(letters), sector*at, sector*len(letters))
	}
	for name, c := range map[string]struct {
		before State
		lines  []string
		want   map[string]bool
	}{
		"what was not flushed, in any part": {a, []string{opened, write("12", 0)},
			set("a:xx", "a:12", "a:1x", "a:x2", "a:??", "a:?x", "a:x?", "a:?2", "a:1?")},
		"what was flushed": {a, []string{opened, write("12", 0), "fdatasync(3)"}, set("a:12")},
		"a durable write":  {a, []string{`openat(AT_FDCWD, "/r/a", O_RDWR|O_DSYNC) = 3`, write("12", 0)}, set("a:12")},
		"only that":        {a, []string{opened, write("1", 0), "fsync(3)", write("2", 1)}, set("a:1x", "a:12", "a:1?")},
		"two over each other": {a, []string{opened, write("1", 0), write("2", 0)},
			set("a:xx", "a:1x", "a:2x", "a:?x")},
		"a write that goes on while another thread flushes": {a, []string{opened,
			`2 fdatasync(3 <unfinished ...>`, write("1", 0), `2 <... fdatasync resumed>) = 0`}, set("a:xx", "a:1x", "a:?x")},
		"a longer file":  {a, []string{opened, write("1", 2)}, set("a:xx", "a:xx0", "a:xx1", "a:xx?")},
		"a shorter file": {a, []string{opened, "ftruncate(3, 512)"}, set("a:xx", "a:x")},
		"a new file": {nil, []string{`openat(AT_FDCWD, "/r/a", O_RDWR|O_CREAT, 0600) = 3`, write("1", 0), "fsync(3)"},
			set("", "a:1")},
		"a new file with its name": {nil, []string{`openat(AT_FDCWD, "/r/a", O_RDWR|O_CREAT, 0600) = 3`, `openat(AT_FDCWD, "/r", O_RDONLY) = 4`, "fsync(4)", write("1", 0)},
			set("a:", "a:0", "a:1", "a:?")},
		"a rename is one": {a, []string{`renameat(AT_FDCWD, "/r/a", AT_FDCWD, "/r/b")`}, set("a:xx", "b:xx")},
		"a removal":       {a, []string{`unlinkat(AT_FDCWD, "/r/a", 0)`}, set("a:xx", "")},
		"a second name":   {a, []string{`linkat(AT_FDCWD, "/r/a", AT_FDCWD, "/r/b", 0)`}, set("a:xx", "a:xx b:xx")},
		"a folder takes along what is in it": {nil, []string{`mkdirat(AT_FDCWD, "/r/d", 0700)`, `openat(AT_FDCWD, "/r/d/a", O_RDWR|O_CREAT, 0600) = 3`,
			`openat(AT_FDCWD, "/r/d", O_RDONLY) = 4`, "fsync(4)"}, set("", "d/: d/a:")},
		"a call that failed":  {a, []string{opened, `ftruncate(3, 1) = -1 EIO (Input/output error)`}, set("a:xx")},
		"a flush that failed": {a, []string{opened, write("1", 0), `fsync(3) = -1 EIO (Input/output error)`}, set("a:xx", "a:1x", "a:?x")},
		"a number that is used again before its close returns": {a, []string{`2 openat(AT_FDCWD, "/r/a", O_RDWR) = 3`, `2 close(3 <unfinished ...>`, opened,
			`2 <... close resumed>) = 0`, write("1", 0)}, set("a:xx", "a:1x", "a:?x")},
		"a call that was cut off":     {a, []string{opened, `ftruncate(3, 512 <unfinished ...>`}, set("a:xx", "a:x")},
		"a flush that was cut off":    {a, []string{opened, write("1", 0), `fsync(3 <unfinished ...>`}, set("a:xx", "a:1x", "a:?x")},
		"a sector that was not whole": {a, []string{opened, `pwrite64(3, "11", 2, 0) = 2`}, set("a:xx", "a:?x")},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, may(t, c.before, c.lines...))
		})
	}
}

func TestOneUnknownCallSpoilsTheTrace(t *testing.T) {
	t.Parallel()
	const opened = `openat(AT_FDCWD, "/r/a", O_RDWR) = 3`
	for _, line := range []string{
		"writev(3, [], 1) = 5", "fallocate(3, 0, 0, 4096)", "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f", "dup(3) = 4",
		"sync_file_range(3, 0, 0, 0)", "io_uring_setup(1, {}) = 7", `write(3, "x", 1) = 1`, `pwrite64(3, "x"..., 1, 0) = 1`,
		`openat(AT_FDCWD, "/r/b", O_RDONLY) = 4`, `openat(AT_FDCWD, "/r/a", O_RDWR|O_TRUNC) = 4`, `mkdirat(7, "x", 0700)`,
		`renameat(AT_FDCWD, "/elsewhere", AT_FDCWD, "/r/b")`, "nonsense",
	} {
		_, err := calls(t, State{"a": nil}, opened, line)
		require.Error(t, err, line)
	}
	_, err := calls(t, State{"a": nil}, opened, "close(3)", `write(3, "x", 1) = 1`, "mmap(NULL, 4096, PROT_READ, MAP_SHARED, 5, 0) = 0x7f")
	require.NoError(t, err)
}

func TestHasten(t *testing.T) {
	t.Parallel()
	trace, err := calls(t, State{"a": nil}, `openat(AT_FDCWD, "/r/a", O_RDWR) = 3`, `openat(AT_FDCWD, "/notes", O_RDWR) = 4`,
		`pwrite64(3, "x", 1, 0) = 1`, "fsync(3)", `write(4, "done", 4) = 4`)
	require.NoError(t, err)
	flush := trace.Ops[1]
	require.Empty(t, trace.Said(flush.End))
	hastened := func(is bool) *Trace {
		return trace.Hasten(func(note string) bool { return is == (note == "done") }, func(op *Op) bool { return op.Kind == Flush })
	}
	require.Equal(t, []string{"done"}, hastened(true).Said(flush.End))
	require.Empty(t, hastened(false).Said(flush.End))
	require.Empty(t, trace.Said(flush.End), "the first one is as it was")
	require.Len(t, trace.Change(func(op *Op) bool { return op.Kind != Flush }).Ops, 1)
}
