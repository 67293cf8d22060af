// Package lan makes hosts for tests, each with a network namespace, an address, and one
// line to a switch, which is this process: it carries packets from host to host as fast
// as they come, or as bad a network does it. Needs Linux, root and /dev/net/tun, and no
// program. Nothing of it outlives the process, however that ends: the system removes the
// namespaces, and ends what runs on the hosts.
package lan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"
)

// ErrNotPossible: there can be no hosts here. The error says why.
var ErrNotPossible = errors.New("network namespaces can't be made here")

// Line is how packets fare on their way from one host to another. The zero Line is a
// good one.
type Line struct {
	Loss   float64       // of the packets; 1: it is cut
	Delay  time.Duration // of each packet
	Jitter time.Duration // more of it, at most; packets may overtake each other then
}

// Cut is a line on which nothing arrives.
var Cut = Line{Loss: 1}

// way is from one host to another.
type way struct{ from, to *Host }

// Network is a switch and the hosts at it.
type Network struct {
	mu    sync.Mutex
	hosts map[netip.Addr]*Host
	lines map[way]Line
	torn  map[way]bool            // the next packet with data tears its connection
	began map[*Host]map[flow]bool // connections since a host was replaced
	seen  Figures
}

// Figures are what became of packets so far.
type Figures struct{ Carried, Lost, Torn int }

// New makes a network without hosts.
func New() *Network {
	return &Network{hosts: make(map[netip.Addr]*Host), lines: make(map[way]Line), torn: make(map[way]bool), began: make(map[*Host]map[flow]bool)}
}

// Host adds a host. Its address is one of those that are kept for documentation
// (192.0.2.0/24), so that it can be nobody else's.
func (n *Network) Host(name string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{Name: name, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(len(n.hosts) + 1)}), net: n, jobs: make(chan func()), gone: make(chan struct{})}
	if err := h.begin(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotPossible, err)
	}
	n.hosts[h.Address] = h
	go n.carry(h)
	return h, nil
}

// Close removes all hosts, and ends what runs on them.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		h.tun.Close()
		close(h.jobs)
		<-h.gone
	}
	clear(n.hosts)
}

// Set has the packets from one host to another fare so, from now on.
func (n *Network) Set(from, to *Host, l Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines[way{from, to}] = l
}

// Around has the packets of a host fare so, to it and from it.
func (n *Network) Around(h *Host, to, from Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.hosts {
		if other != h {
			n.lines[way{other, h}], n.lines[way{h, other}] = to, from
		}
	}
}

// Mend makes all lines good ones.
func (n *Network) Mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.lines)
	clear(n.torn)
}

// Replace has a host be another machine: connections from before are no more, though
// nobody is told. Without it, what a server had sent just before its line was cut and it
// was killed would arrive when the line is mended.
func (n *Network) Replace(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.began[h] = make(map[flow]bool)
}

// knows reports whether a packet can be one of a host, as it is now.
func (n *Network) knows(h *Host, p segment) bool {
	began, replaced := n.began[h]
	if f, begins, ok := p.flow(); replaced && ok {
		if begins {
			began[f] = true
		}
		return began[f]
	}
	return true
}

// Tear has the next data that one host sends to another get lost, and their connection
// with it.
func (n *Network) Tear(from, to *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.torn[way{from, to}] = true
}

// Seen is what became of packets so far.
func (n *Network) Seen() Figures {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen
}

// carry brings the packets of a host to where they go, until it is gone.
func (n *Network) carry(from *Host) {
	b := make([]byte, 1<<16)
	for {
		size, err := from.tun.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		packet, ok := parse(b[:size])
		if !ok {
			continue
		}
		n.mu.Lock()
		to := n.hosts[packet.to()]
		if to == nil {
			n.mu.Unlock()
			continue
		}
		line := n.lines[way{from, to}]
		lost := line.Loss > 0 && rand.Float64() < line.Loss || !n.knows(from, packet) || !n.knows(to, packet)
		tear := !lost && n.torn[way{from, to}] && packet.hasData()
		switch {
		case lost:
			n.seen.Lost++
		case tear:
			n.seen.Torn++
			delete(n.torn, way{from, to})
		default:
			n.seen.Carried++
		}
		n.mu.Unlock()
		switch {
		case lost:
			continue
		case tear:
			packet = packet.reset() // the other end learns of it when it sends again
		}
		if line.Delay == 0 && line.Jitter == 0 {
			to.tun.Write(packet)
			continue
		}
		packet = append(segment(nil), packet...)
		delay := line.Delay
		if line.Jitter > 0 {
			delay += rand.N(line.Jitter)
		}
		time.AfterFunc(delay, func() { to.tun.Write(packet) })
	}
}
