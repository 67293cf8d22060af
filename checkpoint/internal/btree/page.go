package btree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes and marks of bbolt's pages. Their numbers are in the machine's byte order.
const (
	headerSize  = 16 // id, flags, count, overflow
	elementSize = 16 // of a branch: position, size of the key, page; of a leaf: flags, position, sizes of key and value
	bucketSize  = 16 // root, sequence: in front of a bucket's inline page

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10

	bucketFlag = 0x01 // of a leaf's element

	noFreelist = 1<<64 - 1
)

var native = binary.NativeEndian

// page is a page with those that continue it.
type page struct {
	at       int64 // in the file
	flags    uint16
	count    int
	overflow uint64
	b        []byte
}

// read reads a page of a tree and checks that it can be one: that it is whole, lies
// inside the file, and that its elements fill it without a gap.
func (r *Reader) read(id uint64) (*page, error) {
	if id < 2 || id >= r.meta.Pages {
		return nil, fmt.Errorf("it is not in the file, which has %d pages", r.meta.Pages)
	}
	p := &page{at: int64(id) * int64(r.meta.PageSize)}
	first, err := r.bytes(p.at, int64(r.meta.PageSize))
	if err != nil {
		return nil, err
	}
	if own := native.Uint64(first); own != id {
		return nil, fmt.Errorf("it says that it is page %d", own)
	}
	p.head(first)
	if p.overflow >= r.meta.Pages-id {
		return nil, fmt.Errorf("it says that %d pages continue it, the file has %d", p.overflow, r.meta.Pages)
	}
	room := (int64(p.overflow) + 1) * int64(r.meta.PageSize)
	table := int64(headerSize + elementSize*p.count)
	if table > room {
		return nil, fmt.Errorf("it says that it has %d entries, for which it has no room", p.count)
	}
	more := func(n int64) ([]byte, error) { // its first n bytes
		if n <= int64(len(first)) {
			return first[:n:n], nil
		}
		return r.bytes(p.at, n)
	}
	if p.b, err = more(table); err != nil {
		return nil, err
	}
	end, err := p.layout(table)
	if err != nil {
		return nil, err
	}
	if pages := max(1, (end+int64(r.meta.PageSize)-1)/int64(r.meta.PageSize)); pages*int64(r.meta.PageSize) != room {
		return nil, fmt.Errorf("it has %d bytes in %d pages", end, p.overflow+1)
	}
	if p.b, err = more(end); err != nil {
		return nil, err
	}
	return p, p.sorted()
}

func (p *page) head(b []byte) {
	p.flags, p.count, p.overflow = native.Uint16(b[8:]), int(native.Uint16(b[10:])), uint64(native.Uint32(b[12:]))
}

// inline reads the page inside a bucket's value, which lies at an offset of the file.
func inline(value []byte, at int64) (*page, error) {
	if len(value) < bucketSize+headerSize {
		return nil, fmt.Errorf("a bucket has %d bytes", len(value))
	}
	p := &page{at: at + bucketSize, b: value[bucketSize:]}
	p.head(p.b)
	table := int64(headerSize + elementSize*p.count)
	if !p.leaf() || table > int64(len(p.b)) {
		return nil, fmt.Errorf("a bucket inside it can't be read")
	}
	end, err := p.layout(table)
	if err != nil {
		return nil, fmt.Errorf("a bucket inside it: %w", err)
	}
	if end != int64(len(p.b)) || p.overflow != 0 {
		return nil, fmt.Errorf("a bucket inside it has %d bytes, it needs %d", len(p.b), end)
	}
	return p, p.sorted()
}

func (p *page) leaf() bool { return p.flags == leafFlag }

// layout checks where the elements' bytes lie and returns where they end. Only the
// table of the elements is read.
func (p *page) layout(table int64) (end int64, err error) {
	if p.flags != leafFlag && p.flags != branchFlag {
		return 0, fmt.Errorf("it is no page of a tree: its flags are %#x", p.flags)
	}
	if p.count == 0 && !p.leaf() {
		return 0, fmt.Errorf("it has no entries")
	}
	end = table
	for i := range p.count {
		at := int64(headerSize + elementSize*i)
		e := p.b[at:]
		position, size := native.Uint32(e), int64(native.Uint32(e[4:]))
		if p.leaf() {
			flags := position
			if flags&^bucketFlag != 0 {
				return 0, fmt.Errorf("entry %d has the flags %#x", i, flags)
			}
			position, size = native.Uint32(e[4:]), int64(native.Uint32(e[8:]))+int64(native.Uint32(e[12:]))
		}
		if at+int64(position) != end {
			return 0, fmt.Errorf("entry %d does not lie behind the one before it", i)
		}
		end += size
	}
	return end, nil
}

// sorted checks the order of the keys.
func (p *page) sorted() error {
	for i := 1; i < p.count; i++ {
		if bytes.Compare(p.key(i-1), p.key(i)) >= 0 {
			return fmt.Errorf("its keys are not in order: %x is behind %x", p.key(i), p.key(i-1))
		}
	}
	return nil
}

// key returns the key of an element.
func (p *page) key(i int) []byte {
	at := headerSize + elementSize*i
	e := p.b[at:]
	position, size := native.Uint32(e), native.Uint32(e[4:])
	if p.leaf() {
		position, size = native.Uint32(e[4:]), native.Uint32(e[8:])
	}
	from := at + int(position)
	return p.b[from : from+int(size) : from+int(size)]
}

// child returns the page below an element of a branch.
func (p *page) child(i int) uint64 { return native.Uint64(p.b[headerSize+elementSize*i+8:]) }

// entry returns an element of a leaf.
func (p *page) entry(i int) Entry {
	at := headerSize + elementSize*i
	e := p.b[at:]
	from := at + int(native.Uint32(e[4:])) + int(native.Uint32(e[8:]))
	to := from + int(native.Uint32(e[12:]))
	return Entry{Key: p.key(i), Value: p.b[from:to:to], Offset: p.at + int64(from), bucket: native.Uint32(e) == bucketFlag}
}

// find returns the first element whose key is not below key.
func (p *page) find(key []byte) (i int, equal bool) {
	from, to := 0, p.count
	for from < to {
		middle := (from + to) / 2
		switch c := bytes.Compare(p.key(middle), key); {
		case c == 0:
			return middle, true
		case c < 0:
			from = middle + 1
		default:
			to = middle
		}
	}
	return from, false
}

func (r *Reader) bytes(at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := r.file.ReadAt(b, at); err != nil && !(err == io.EOF && int64(got) == n) {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	return b, nil
}
