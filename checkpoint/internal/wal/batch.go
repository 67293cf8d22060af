package wal

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// blockSize is what batches are aligned to: no disk has larger sectors, and
// writing past the page cache wants it.
const blockSize = 4096

// header is what stands in front of a batch's body. Its form is described in
// docs/write-ahead-log.md.
type header struct {
	checksum uint32 // of what follows
	id       uint64
	seq      uint64
	length   uint32
	body     uint32 // checksum
	link     uint32 // checksum of the header before it
	segment  uint32
	blocks   uint32
	segments uint32
}

// HeaderSize is how many bytes Buffer keeps for the header.
const HeaderSize = 48

const magic = "DWL1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes the header into the front of b and returns its checksum.
func (h *header) seal(b []byte) uint32 {
	copy(b, magic)
	binary.BigEndian.PutUint64(b[8:], h.id)
	binary.BigEndian.PutUint64(b[16:], h.seq)
	for i, n := range []uint32{h.length, h.body, h.link, h.segment, h.blocks, h.segments} {
		binary.BigEndian.PutUint32(b[24+4*i:], n)
	}
	sum := crc32.Checksum(b[8:HeaderSize], castagnoli)
	binary.BigEndian.PutUint32(b[4:], sum)
	return sum
}

// parseHeader reads the header at the front of b; ok is false if there is none.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < HeaderSize || string(b[:4]) != magic {
		return h, false
	}
	h.checksum = binary.BigEndian.Uint32(b[4:])
	if h.checksum != crc32.Checksum(b[8:HeaderSize], castagnoli) {
		return h, false
	}
	h.id = binary.BigEndian.Uint64(b[8:])
	h.seq = binary.BigEndian.Uint64(b[16:])
	for i, n := range []*uint32{&h.length, &h.body, &h.link, &h.segment, &h.blocks, &h.segments} {
		*n = binary.BigEndian.Uint32(b[24+4*i:])
	}
	return h, true
}

// whole reports whether the body behind the header at the front of b is there
// and undamaged, and returns it.
func (h *header) whole(b []byte) (body []byte, ok bool) {
	if uint64(h.length) > uint64(len(b)-HeaderSize) {
		return nil, false
	}
	body = b[HeaderSize : HeaderSize+int(h.length) : HeaderSize+int(h.length)]
	return body, crc32.Checksum(body, castagnoli) == h.body
}

// roundUp is the size of the blocks that hold n bytes.
func roundUp(n int) int { return (n + blockSize - 1) / blockSize * blockSize }

// aligned allocates size bytes at an address that can be written past the page
// cache.
func aligned(size int) []byte {
	b := make([]byte, size+blockSize)
	skip := 0
	if over := int(uintptr(unsafe.Pointer(&b[0])) % blockSize); over > 0 {
		skip = blockSize - over
	}
	return b[skip : skip+size : skip+size]
}

func isAligned(b []byte) bool { return uintptr(unsafe.Pointer(&b[0]))%blockSize == 0 }
