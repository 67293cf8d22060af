package lan

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
)

// Host has a network of its own: its loopback interface, and one line to the switch.
type Host struct {
	Name    string
	Address netip.Addr

	net  *Network
	tun  *os.File // the packets that it sends and receives
	jobs chan func()
	gone chan struct{} // closed when its thread has ended
}

// do runs f on the host's thread.
func (h *Host) do(f func()) {
	done := make(chan struct{})
	h.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Start starts a process on the host. It is killed when the host goes.
func (h *Host) Start(cmd *exec.Cmd) (err error) {
	dieWithThread(cmd)
	h.do(func() { err = cmd.Start() })
	return err
}

// Dial connects from the host. It is for what is there, or refuses at once: meanwhile
// nothing is started on the host.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	h.do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
	return conn, err
}

// Listen listens on the host.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	h.do(func() { l, err = net.Listen(network, address) })
	return l, err
}
