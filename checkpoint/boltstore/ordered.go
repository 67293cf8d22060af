package boltstore

import (
	"slices"
	"sort"
	"strings"
)

// ordered holds changes of a table in the order of their keys, in blocks, so that
// neither looking one up nor adding one looks at all of them.
type ordered struct {
	blocks [][]change
}

// change is what becomes of a key.
type change struct {
	key     string
	value   []byte
	deleted bool
	// fresh: what lies below does not have the key. When it is deleted again,
	// nothing is left to be done there.
	fresh bool
}

// blockLength is where a block is split.
const blockLength = 64

// locate returns where key is, or where it belongs.
func (o *ordered) locate(key string) (block, i int, found bool) {
	block = sort.Search(len(o.blocks), func(b int) bool { return o.blocks[b][0].key > key })
	block = max(block-1, 0)
	if len(o.blocks) == 0 {
		return 0, 0, false
	}
	i, found = slices.BinarySearchFunc(o.blocks[block], key, func(c change, key string) int { return strings.Compare(c.key, key) })
	return block, i, found
}

// get returns the change of a key, nil if there is none. It is good until the
// next set.
func (o *ordered) get(key string) *change {
	block, i, found := o.locate(key)
	if !found {
		return nil
	}
	return &o.blocks[block][i]
}

// set adds a change behind those that are there.
func (o *ordered) set(c change) {
	block, i, found := o.locate(c.key)
	switch {
	case !found:
		o.insert(block, i, c)
	case c.deleted && o.blocks[block][i].fresh:
		o.remove(block, i)
	default:
		c.fresh = o.blocks[block][i].fresh
		o.blocks[block][i] = c
	}
}

func (o *ordered) insert(block, i int, c change) {
	if len(o.blocks) == 0 {
		o.blocks = append(o.blocks, append(make([]change, 0, 4), c))
		return
	}
	b := slices.Insert(o.blocks[block], i, c)
	o.blocks[block] = b
	if len(b) < blockLength {
		return
	}
	half := len(b) / 2
	if block == len(o.blocks)-1 && i == len(b)-1 {
		half = len(b) - 1 // keys that come in order fill their blocks
	}
	o.blocks[block] = b[:half:half]
	o.blocks = slices.Insert(o.blocks, block+1, append(make([]change, 0, blockLength), b[half:]...))
}

func (o *ordered) remove(block, i int) {
	o.blocks[block] = slices.Delete(o.blocks[block], i, i+1)
	if len(o.blocks[block]) == 0 {
		o.blocks = slices.Delete(o.blocks, block, block+1)
	}
}

// position is a place in an ordered.
type position struct {
	o        *ordered
	block, i int
}

// seek returns the place of the first change whose key is not below key.
func (o *ordered) seek(key string) position {
	block, i, _ := o.locate(key)
	return position{o, block, i}
}

// change returns the change at a place, nil at the end.
func (p *position) change() *change {
	for p.block < len(p.o.blocks) {
		if b := p.o.blocks[p.block]; p.i < len(b) {
			return &b[p.i]
		}
		p.block, p.i = p.block+1, 0
	}
	return nil
}

func (p *position) next() { p.i++ }
