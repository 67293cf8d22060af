package lan

import (
	"encoding/binary"
	"net/netip"
)

// segment is an IPv4 packet.
type segment []byte

func parse(b []byte) (segment, bool) {
	ok := len(b) >= 20 && b[0]>>4 == 4 && int(b[0]&15)*4 <= len(b)
	return b, ok
}

func (s segment) to() netip.Addr { return netip.AddrFrom4([4]byte(s[16:20])) }

// header is the length of IP's.
func (s segment) header() int { return int(s[0]&15) * 4 }

// tcp is what is within, nil if that is not TCP.
func (s segment) tcp() []byte {
	if s[9] != 6 || len(s) < s.header()+20 {
		return nil
	}
	return s[s.header():]
}

// hasData reports whether it carries some of a connection's.
func (s segment) hasData() bool {
	t := s.tcp()
	return t != nil && len(t) > int(t[12]>>4)*4
}

// flow is a connection, whichever way.
type flow struct{ low, high netip.AddrPort }

// flow is the connection of a packet, if it is of one, and whether it begins with it.
func (s segment) flow() (f flow, begins, ok bool) {
	t := s.tcp()
	if t == nil {
		return f, false, false
	}
	f.low = netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[12:16])), binary.BigEndian.Uint16(t))
	f.high = netip.AddrPortFrom(s.to(), binary.BigEndian.Uint16(t[2:]))
	if f.high.Compare(f.low) < 0 {
		f.low, f.high = f.high, f.low
	}
	const syn, ack = 2, 16
	return f, t[13]&(syn|ack) == syn, true
}

// reset is the packet that says, in its place, that the connection is no more.
func (s segment) reset() segment {
	r := append(segment(nil), s[:s.header()+20]...)
	binary.BigEndian.PutUint16(r[2:], uint16(len(r)))
	binary.BigEndian.PutUint16(r[10:], 0)
	binary.BigEndian.PutUint16(r[10:], checksum(sum(0, r[:r.header()])))
	t := r.tcp()
	t[12], t[13] = 5<<4, 4|16 // RST, ACK
	binary.BigEndian.PutUint16(t[16:], 0)
	pseudo := sum(uint32(len(t))+6, r[12:20])
	binary.BigEndian.PutUint16(t[16:], checksum(sum(pseudo, t)))
	return r
}

// sum adds bytes up as the Internet's checksum does.
func sum(from uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		from += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		from += uint32(b[0]) << 8
	}
	return from
}

func checksum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
