package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The binary form of everything a store keeps is a frame:
//
//	version   1 byte; says how the body is read and what it is
//	length    uvarint, of the body
//	body      fields: a key (number of the field << 1 | wire type), then the value
//	checksum  CRC-32C of all of the above, 4 bytes, big endian
//
// Wire type 0 is a uvarint, 1 is bytes behind their uvarint length. Fields that
// are zero are not written, and keys that are not known are skipped, so that a
// field can be added without another version.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const checksumSize = 4

// openFrame begins a frame in dst and returns where it starts. Its body is
// appended next.
func openFrame(dst []byte, version byte) (grown []byte, start int) {
	return append(dst, version, 0, 0), len(dst)
}

// closeFrame ends the frame that starts at start. The two bytes that were kept
// for the length fit nearly every body; it is moved otherwise.
func closeFrame(dst []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	const kept = 2
	body := len(dst) - start - 1 - kept
	n := binary.PutUvarint(length[:], uint64(body))
	if n > kept {
		dst = append(dst, length[:n-kept]...) // only for its size
	}
	if n != kept {
		copy(dst[start+1+n:], dst[start+1+kept:start+1+kept+body])
	}
	dst = dst[:start+1+n+body]
	copy(dst[start+1:], length[:n])
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// cutFrame takes the frame off the front of b and checks it. what names its
// content in errors.
func cutFrame(b []byte, version byte, what string) (body, rest []byte, err error) {
	if len(b) == 0 {
		return nil, b, &CorruptError{Where: what, What: "truncated: nothing is there"}
	}
	if b[0] != version {
		return nil, b, &CorruptError{Where: what, What: fmt.Sprintf("format %#02x is not known: it is damaged, or a newer release wrote it", b[0])}
	}
	length, n := binary.Uvarint(b[1:])
	switch {
	case n < 0:
		return nil, b, &CorruptError{Where: what, What: "damaged: its length is not a number"}
	case n == 0:
		return nil, b, &CorruptError{Where: what, What: "truncated inside its length"}
	}
	head := 1 + n
	if have := len(b) - head - checksumSize; have < 0 || length > uint64(have) {
		return nil, b, &CorruptError{Where: what, What: fmt.Sprintf("truncated: it says %d bytes, there are %d", length, max(have, 0))}
	}
	end := head + int(length)
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.BigEndian.Uint32(b[end:]); got != want {
		return nil, b, &CorruptError{Where: what, What: fmt.Sprintf("damaged: its checksum is %08x, not %08x", got, want)}
	}
	return b[head:end:end], b[end+checksumSize:], nil
}

func appendUint(dst []byte, key uint64, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, key), v)
}

// appendInt writes v so that small numbers of both signs are short.
func appendInt(dst []byte, key uint64, v int64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, key), zigzag(v))
}

// appendDelta writes a time as its distance from base, which is short. Unlike
// other fields a distance of zero is written, and the time zero is not.
func appendDelta(dst []byte, key uint64, v, base int64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, key), zigzag(v-base))
}

func appendBytes[T string | []byte](dst []byte, key uint64, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, key), uint64(len(v)))
	return append(dst, v...)
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// cutField takes a field off the front of a body. Either number or bytes is set.
func cutField(body []byte, what string) (key, number uint64, bytes, rest []byte, err error) {
	key, n := binary.Uvarint(body)
	if n <= 0 {
		return 0, 0, nil, nil, &CorruptError{Where: what, What: "damaged: a field has no key"}
	}
	body = body[n:]
	number, n = binary.Uvarint(body)
	if n <= 0 {
		return 0, 0, nil, nil, &CorruptError{Where: what, What: fmt.Sprintf("damaged: field %d has no value", key>>1)}
	}
	body = body[n:]
	if key&1 == 0 {
		return key, number, nil, body, nil
	}
	if number > uint64(len(body)) {
		return 0, 0, nil, nil, &CorruptError{Where: what, What: fmt.Sprintf("damaged: field %d says %d bytes, there are %d", key>>1, number, len(body))}
	}
	return key, 0, body[:number:number], body[number:], nil
}

// narrow turns a number into a smaller type; ok stays false once it did not fit.
func narrow[T uint8 | uint32](v uint64, ok *bool) T {
	t := T(v)
	*ok = *ok && uint64(t) == v
	return t
}
