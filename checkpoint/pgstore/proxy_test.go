package pgstore_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a store and the server and does what networks do.
type proxy struct {
	listener net.Listener
	to       string
	name     string // of its connections
	more     string // of its connection string
	dropped  atomic.Int64
	turns    atomic.Int64 // answers that clients have waited for

	mu    sync.Mutex
	conns map[net.Conn]bool
	isCut bool
	drop  bool
	lose  func(answer []byte) bool // says which to drop, too

	frozen chan struct{} // if not nil, connections say so that stop for ever in the middle of a transaction
	closed chan struct{}
}

var proxies atomic.Int64

func startProxy(t *testing.T, c *cluster) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, to: fmt.Sprintf("127.0.0.1:%d", c.port), name: fmt.Sprint("proxy", proxies.Add(1)), more: c.more, conns: make(map[net.Conn]bool), closed: make(chan struct{})}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		close(p.closed)
		p.reset()
	})
	return p
}

func (p *proxy) url() string {
	return fmt.Sprintf("postgres://tests@%s/postgres?sslmode=disable&application_name=%s", p.listener.Addr(), p.name) + p.more
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	refused := p.isCut
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	if refused {
		return
	}
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	b := make([]byte, 64<<10)
	var ready readies
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		p.turns.Add(ready.count(b[:n]))
		p.mu.Lock()
		drop, frozen := p.drop || p.lose != nil && p.lose(b[:n]), p.frozen
		p.drop = false
		p.mu.Unlock()
		if frozen != nil && bytes.Contains(b[:n], []byte("Z\x00\x00\x00\x05T")) {
			frozen <- struct{}{}
			<-p.closed
			return
		}
		if drop { // the server has done what it was asked for
			p.dropped.Add(1)
			return
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

// reset ends all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// leadTo has new connections lead to another server.
func (p *proxy) leadTo(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = fmt.Sprintf("127.0.0.1:%d", port)
}

// cut lets nothing through until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	p.isCut = true
	p.mu.Unlock()
	p.reset()
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = false
}

// freeze stops connections for ever, in the middle of their next transaction.
func (p *proxy) freeze() (frozen <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{}, 100)
	return p.frozen
}

// dropAnswer drops the next thing that the server says, and its connection.
func (p *proxy) dropAnswer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = true
}

// onAnswer has lose say which answers to drop, with their connection.
func (p *proxy) onAnswer(lose func(answer []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = lose
}
