// Package btree reads the trees of a bbolt file, and trusts nothing that is in it.
//
// bbolt's own readers, its check included, follow pages wherever they lead: a flipped
// bit can make them run in a circle until memory ends. Here a page that can't be right
// is reported and passed over, and reading goes on behind it. Nothing is mapped, so a
// file that gets shorter meanwhile is an error and not a fault.
package btree

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
)

// Meta is what a meta page says of a state of the file.
type Meta struct {
	PageSize int
	Root     uint64 // page of the root bucket
	Freelist uint64 // page of the list of free pages
	Pages    uint64 // how many pages the file has
	TxID     uint64 // of the transaction that made the state
}

// ReadMeta reads meta page n, 0 or 1. ok is false if it is damaged: then bbolt uses
// the other one, which is of the transaction before.
func ReadMeta(file io.ReaderAt, pageSize, n int) (m Meta, ok bool) {
	const size, magic, version = 64, 0xED0CDAED, 2
	b := make([]byte, headerSize+size)
	if got, err := file.ReadAt(b, int64(n*pageSize)); got < len(b) && err != nil {
		return m, false
	}
	b = b[headerSize:]
	sum := fnv.New64a()
	sum.Write(b[:size-8])
	if native.Uint32(b) != magic || native.Uint32(b[4:]) != version || native.Uint64(b[size-8:]) != sum.Sum64() {
		return m, false
	}
	m = Meta{
		PageSize: int(native.Uint32(b[8:])), Root: native.Uint64(b[16:]), Freelist: native.Uint64(b[32:]),
		Pages: native.Uint64(b[40:]), TxID: native.Uint64(b[48:]),
	}
	return m, m.PageSize >= 1024
}

// Reader reads one state of a file, which must not be changed meanwhile. It is for one
// goroutine.
type Reader struct {
	file   io.ReaderAt
	meta   Meta
	report func(page uint64, what string)

	seen     []uint64         // a bit for each page that belongs to something
	branches map[uint64]*page // some, for Get
	free     uint64
}

// NewReader reads the state that m describes. report is told of each damaged page,
// once by each Cursor that meets it.
func NewReader(file io.ReaderAt, m Meta, report func(page uint64, what string)) *Reader {
	r := &Reader{file: file, meta: m, report: report, branches: make(map[uint64]*page)}
	r.seen = make([]uint64, (m.Pages+63)/64)
	r.use(0)
	r.use(1)
	return r
}

// use notes that a page belongs to something; false: it does already.
func (r *Reader) use(id uint64) bool {
	word, bit := &r.seen[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// Entry is a key with its value.
type Entry struct {
	Key, Value []byte
	Offset     int64 // of the value, in the file
	bucket     bool
}

// IsBucket reports whether the entry is a bucket, which bbolt returns no value of.
func (e Entry) IsBucket() bool { return e.bucket }

// Tree is a bucket.
type Tree struct {
	r     *Reader
	root  uint64
	entry Entry // of a bucket in its parent; with root 0 it holds the bucket's page
}

// Root is the bucket that the other ones are in.
func (r *Reader) Root() Tree { return Tree{r: r, root: r.meta.Root} }

// Bucket returns the tree of an entry; ok is false if the entry is no bucket.
func (r *Reader) Bucket(e Entry) (t Tree, ok bool) {
	if !e.bucket || len(e.Value) < bucketSize {
		return Tree{}, false
	}
	return Tree{r: r, root: native.Uint64(e.Value), entry: e}, true
}

// page reads the root of a tree.
func (t Tree) page() (*page, error) {
	if t.inline() {
		return inline(t.entry.Value, t.entry.Offset)
	}
	return t.r.cached(t.root)
}

// inline reports whether the tree is a page in its parent's.
func (t Tree) inline() bool { return t.root == 0 && t.entry.bucket }

// maxDepth is more than any tree has.
const maxDepth = 64

// Get looks a key up. sound is false if damage keeps it from knowing; it is not
// reported, Cursor does that.
func (t Tree) Get(key []byte) (e Entry, found, sound bool) {
	p, err := t.page()
	for range maxDepth {
		if err != nil {
			return e, false, false
		}
		i, equal := p.find(key)
		if p.leaf() {
			if !equal {
				return e, false, true
			}
			e = p.entry(i)
			return e, true, true
		}
		if !equal {
			i = max(i-1, 0)
		}
		p, err = t.r.cached(p.child(i))
	}
	return e, false, false
}

// cached is read, which remembers branches: they are few, and all ways lead over them.
func (r *Reader) cached(id uint64) (p *page, err error) {
	const most = 2048
	if p = r.branches[id]; p != nil {
		return p, nil
	}
	if p, err = r.read(id); err == nil && !p.leaf() {
		if len(r.branches) == most {
			clear(r.branches)
		}
		r.branches[id] = p
	}
	return p, err
}

// Cursor goes through a tree in the order of its keys, once, and notes its pages as
// used. Entries are good as long as they are kept.
type Cursor struct {
	r     *Reader
	stack []level
}

// level is a page that a cursor is in. All keys below it are at least low, and below
// high; nil: no bound.
type level struct {
	p         *page
	next      int
	low, high []byte
}

// Cursor begins at the first key.
func (t Tree) Cursor() *Cursor {
	c := &Cursor{r: t.r}
	if t.inline() {
		p, err := t.page()
		if err != nil {
			t.r.report(uint64(t.entry.Offset)/uint64(t.r.meta.PageSize), err.Error())
		} else {
			c.stack = append(c.stack, level{p: p})
		}
		return c
	}
	c.enter(t.root, nil, nil)
	return c
}

// enter goes into a page, if it is whole and in its place.
func (c *Cursor) enter(id uint64, low, high []byte) {
	p, err := c.r.read(id)
	if err == nil && !c.r.useAll(id, p.overflow) {
		err = fmt.Errorf("it, or a page that continues it, belongs to two places")
	}
	switch {
	case err != nil:
	case len(c.stack) == maxDepth:
		err = fmt.Errorf("the tree above it is too deep")
	case p.count == 0:
	case low != nil && bytes.Compare(p.key(0), low) < 0:
		err = fmt.Errorf("it begins with %x, the page above says %x", p.key(0), low)
	case high != nil && bytes.Compare(p.key(p.count-1), high) >= 0:
		err = fmt.Errorf("it ends with %x, the page above says that %x comes behind it", p.key(p.count-1), high)
	}
	if err != nil {
		c.r.report(id, err.Error())
		return
	}
	c.stack = append(c.stack, level{p, 0, low, high})
}

// useAll notes a page with those that continue it. It has been read, so all are inside
// the file.
func (r *Reader) useAll(id, overflow uint64) bool {
	ok := true
	for i := range overflow + 1 {
		ok = r.use(id+i) && ok
	}
	return ok
}

// Next returns the next entry; ok is false at the end.
func (c *Cursor) Next() (e Entry, ok bool) {
	for len(c.stack) > 0 {
		top := &c.stack[len(c.stack)-1]
		i := top.next
		if i == top.p.count {
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		top.next++
		if top.p.leaf() {
			return top.p.entry(i), true
		}
		high := top.high
		if i+1 < top.p.count {
			high = top.p.key(i + 1)
		}
		c.enter(top.p.child(i), top.p.key(i), high)
	}
	return e, false
}

// Finish reports pages that are neither used nor free, or both, when a Cursor has gone
// through each tree. free is how many are free.
func (r *Reader) Finish() (free uint64) {
	if r.meta.Freelist != noFreelist {
		r.readFreelist()
	}
	missing := 0
	for id := range r.meta.Pages {
		if r.seen[id/64]&(1<<(id%64)) != 0 {
			continue
		}
		if missing++; missing <= 10 {
			r.report(id, "it belongs to nothing, and is not free")
		}
	}
	if missing > 10 {
		r.report(0, fmt.Sprintf("%d pages belong to nothing, and are not free", missing))
	}
	return r.free
}

// readFreelist notes the pages that are free.
func (r *Reader) readFreelist() {
	id := r.meta.Freelist
	bad := func(format string, args ...any) {
		r.report(id, "the list of free pages: "+fmt.Sprintf(format, args...))
	}
	if id < 2 || id >= r.meta.Pages {
		bad("it is not in the file")
		return
	}
	at := int64(id) * int64(r.meta.PageSize)
	b, err := r.bytes(at, headerSize+8)
	if err != nil {
		bad("%v", err)
		return
	}
	p := page{}
	p.head(b)
	count, skip := uint64(p.count), int64(headerSize)
	if p.count == 0xFFFF { // the number is too large for its place
		count, skip = native.Uint64(b[headerSize:]), headerSize+8
	}
	room := (p.overflow + 1) * uint64(r.meta.PageSize)
	if own := native.Uint64(b); own != id || p.flags != freelistFlag || p.overflow >= r.meta.Pages-id ||
		count >= r.meta.Pages || uint64(skip)+8*count > room {
		bad("it can't be read")
		return
	}
	if !r.useAll(id, p.overflow) {
		bad("it lies where something else does")
	}
	list := io.NewSectionReader(r.file, at+skip, int64(8*count))
	buffer := make([]byte, 64<<10)
	for last := uint64(1); count > 0; {
		b := buffer[:min(uint64(len(buffer)), 8*count)]
		if _, err := io.ReadFull(list, b); err != nil {
			bad("it can't be read: %v", err)
			return
		}
		for ; len(b) > 0; b = b[8:] {
			count--
			switch free := native.Uint64(b); {
			case free <= last || free >= r.meta.Pages:
				bad("page %d is behind page %d of %d", free, last, r.meta.Pages)
			case !r.use(free):
				bad("page %d is free, and used", free)
				last = free
			default:
				r.free++
				last = free
			}
		}
	}
}
