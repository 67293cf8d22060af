package powercut

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Parse reads what strace wrote, with -f and -xx. before is what was in root. A
// call that changes files there in a way that is not known is an error: the states
// would not be all there are.
func Parse(r io.Reader, before State, root, notes string) (*Trace, error) {
	p := parser{root: root, notes: notes, trace: &Trace{}, open: map[string]handle{}, names: map[string]int{"": 0}, begun: map[string]call{}}
	p.trace.inodes = []inode{{folder: true, entries: map[string]int{}}}
	for _, name := range slices.Sorted(maps.Keys(before)) { // folders come before what is in them
		path, folder := strings.CutSuffix(name, "/")
		at := p.inode(folder)
		p.trace.inodes[at].data = before[name]
		p.trace.inodes[p.names[parent(path)]].entries[filepath.Base(path)] = at
		p.names[path] = at
	}
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
				return nil, fmt.Errorf("%w: %.300s", err, line)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	for _, c := range p.begun { // it ended in the middle of them
		if err := p.end(c, math.MaxInt); err != nil {
			return nil, err
		}
	}
	return p.trace, nil
}

type parser struct {
	root, notes string
	trace       *Trace
	open        map[string]handle // by descriptor
	names       map[string]int    // path below root -> inode
	begun       map[string]call   // by thread
}

// handle is an open file of root, or the one with the notes.
type handle struct {
	inode int
	path  string
	sync  bool // writes are flushes
	notes bool
}

// call is a call of the system. What it changes counts from its begin, what it
// makes durable from its end.
type call struct {
	name, text string
	begin      int
}

func parent(path string) string {
	if dir := filepath.Dir(path); dir != "." {
		return dir
	}
	return ""
}

func (p *parser) inode(folder bool) int {
	p.trace.inodes = append(p.trace.inodes, inode{folder: folder, entries: map[string]int{}})
	return len(p.trace.inodes) - 1
}

func (p *parser) line(line string) error {
	thread, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimLeft(rest, " ")
	if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
		return nil
	}
	if resumed, ok := strings.CutPrefix(rest, "<... "); ok {
		c, ok := p.begun[thread]
		if !ok {
			return fmt.Errorf("a call ends that has not begun")
		}
		delete(p.begun, thread)
		_, tail, _ := strings.Cut(resumed, "resumed>")
		c.text += tail
		return p.end(c, p.tick())
	}
	name, text, ok := strings.Cut(rest, "(")
	if !ok {
		return fmt.Errorf("not a call")
	}
	c := call{name: name, text: text, begin: p.tick()}
	if name == "close" { // another thread may get the number before this call returns
		delete(p.open, arguments(strings.TrimSuffix(text, "<unfinished ...>"))[0])
	}
	if begin, unfinished := strings.CutSuffix(text, "<unfinished ...>"); unfinished {
		c.text = begin
		p.note(&c)
		p.begun[thread] = c
		return nil
	}
	p.note(&c)
	return p.end(c, p.tick())
}

func (p *parser) tick() int {
	p.trace.Events++
	return p.trace.Events - 1
}

// note takes notes: they count from the begin of their write.
func (p *parser) note(c *call) {
	args := arguments(c.text)
	if c.name == "write" && len(args) > 1 && p.open[args[0]].notes {
		text, _ := unquote(args[1])
		p.trace.Notes = append(p.trace.Notes, Note{At: c.begin, Text: string(text)})
	}
}

// arguments are those of a call: strings are in hex, so a comma is between two.
func arguments(text string) (args []string) {
	list := text
	if at := strings.LastIndex(text, ")"); at >= 0 {
		list = text[:at]
	}
	for arg := range strings.SplitSeq(list, ",") {
		args = append(args, strings.TrimSpace(arg))
	}
	return args
}

func unquote(s string) ([]byte, error) {
	body, ok := strings.CutPrefix(s, `"`)
	if body, ok = cutSuffix(body, `"`, ok); !ok {
		return nil, fmt.Errorf("not a whole string")
	}
	b := make([]byte, len(body)/4)
	if len(body) != 4*len(b) {
		return nil, fmt.Errorf("a string that is not hex")
	}
	_, err := hex.Decode(b, []byte(strings.ReplaceAll(body, `\x`, "")))
	return b, err
}

func cutSuffix(s, suffix string, ok bool) (string, bool) {
	rest, has := strings.CutSuffix(s, suffix)
	return rest, ok && has
}

// end takes a call that has ended, or was cut off.
func (p *parser) end(c call, at int) error {
	args := arguments(c.text)
	result := "0"
	if at != math.MaxInt {
		i := strings.LastIndex(c.text, "= ")
		if i < 0 {
			return fmt.Errorf("no result")
		}
		result = strings.Fields(c.text[i+2:] + " ?")[0]
	}
	if strings.HasPrefix(result, "-") || result == "?" { // it changed nothing
		return nil
	}
	op := Op{Begin: c.begin, End: at}
	switch c.name {
	case "openat":
		return p.opened(op, args, result)
	case "close":
		return nil
	case "mkdirat":
		return p.named(op, args, func(op Op, path string) error {
			op.Kind, op.Target = Enter, p.inode(true)
			p.names[path] = op.Target
			p.add(op)
			return nil
		})
	case "unlinkat":
		return p.named(op, args, func(op Op, path string) error {
			op.Kind = Leave
			delete(p.names, path)
			p.add(op)
			return nil
		})
	case "linkat", "renameat":
		return p.moved(op, c.name, args)
	case "mkdir", "unlink", "rmdir", "rename", "link":
		return fmt.Errorf("%s: only the forms that Go uses are known", c.name)
	case "mmap":
		if h, ok := p.open[args[4]]; ok && !h.notes && strings.Contains(args[2], "PROT_WRITE") && strings.Contains(args[3], "MAP_SHARED") {
			return fmt.Errorf("writing through memory leaves no trace")
		}
		return nil
	case "sync", "syncfs", "io_uring_setup", "openat2", "open", "creat", "symlink", "symlinkat", "renameat2", "truncate", "copy_file_range", "sendfile", "splice":
		return fmt.Errorf("%s is not known", c.name)
	}
	h, ok := p.open[args[0]]
	if !ok || h.notes {
		return nil
	}
	op.File, op.Path = h.inode, h.path
	switch c.name {
	case "pwrite64":
		data, err := unquote(args[1])
		if err != nil {
			return err
		}
		op.Kind, op.Flushed, op.Data = Write, h.sync, data
		if at != math.MaxInt {
			n, err := strconv.Atoi(result)
			if err != nil {
				return err
			}
			op.Data = data[:n]
		}
		if op.Offset, err = strconv.ParseInt(args[3], 10, 64); err != nil {
			return err
		}
	case "ftruncate":
		op.Kind = Truncate
		var err error
		if op.Offset, err = strconv.ParseInt(args[1], 10, 64); err != nil {
			return err
		}
	case "fsync", "fdatasync":
		if at == math.MaxInt {
			return nil
		}
		op.Kind = Flush
	default:
		return fmt.Errorf("%s on a file is not known", c.name)
	}
	p.add(op)
	return nil
}

// add keeps the order of the begins.
func (p *parser) add(op Op) {
	at := len(p.trace.Ops)
	for at > 0 && p.trace.Ops[at-1].Begin > op.Begin {
		at--
	}
	p.trace.Ops = slices.Insert(p.trace.Ops, at, op)
}

// below returns the path below root.
func (p *parser) below(folder, quoted string) (path string, ok bool, err error) {
	b, err := unquote(quoted)
	if err != nil {
		return "", false, err
	}
	path = filepath.Clean(string(b))
	if folder != "AT_FDCWD" || !filepath.IsAbs(path) {
		if folder == "AT_FDCWD" { // the process has its own folder, which is not root
			return "", false, nil
		}
		return "", false, fmt.Errorf("a path that is not absolute")
	}
	if path == p.root {
		return "", true, nil
	}
	path, ok = strings.CutPrefix(path, p.root+"/")
	return path, ok, nil
}

func (p *parser) named(op Op, args []string, f func(Op, string) error) error {
	path, ok, err := p.below(args[0], args[1])
	if err != nil || !ok {
		return err
	}
	folder, ok := p.names[parent(path)]
	if !ok {
		return fmt.Errorf("its folder is not known")
	}
	op.File, op.Path, op.Name = folder, path, filepath.Base(path)
	return f(op, path)
}

func (p *parser) moved(op Op, call string, args []string) error {
	from, ok, err := p.below(args[0], args[1])
	if err != nil {
		return err
	}
	return p.named(op, args[2:], func(op Op, to string) error {
		target, known := p.names[from]
		if !ok || !known || p.trace.inodes[target].folder {
			return fmt.Errorf("only files of the folder are moved")
		}
		op.Kind, op.Target = Enter, target
		p.names[to] = target
		if call == "renameat" {
			if parent(from) != parent(to) {
				return fmt.Errorf("moving to another folder is not known")
			}
			op.Kind, op.From = Rename, filepath.Base(from)
			delete(p.names, from)
		}
		p.add(op)
		return nil
	})
}

func (p *parser) opened(op Op, args []string, result string) error {
	if path, err := unquote(args[1]); err == nil && string(path) == p.notes {
		p.open[result] = handle{notes: true}
		return nil
	}
	delete(p.open, result)
	return p.named(op, args, func(op Op, path string) error {
		at, exists := p.names[path]
		if path == "" {
			at, exists = 0, true
		}
		flags := args[2]
		if !exists {
			if !strings.Contains(flags, "O_CREAT") {
				return fmt.Errorf("a file that is not known")
			}
			at = p.inode(false)
			p.names[path] = at
			op.Kind, op.Target = Enter, at
			p.add(op)
		}
		if strings.Contains(flags, "O_TRUNC") && exists {
			return fmt.Errorf("O_TRUNC is not known")
		}
		p.open[result] = handle{inode: at, path: path, sync: strings.Contains(flags, "SYNC")}
		return nil
	})
}
