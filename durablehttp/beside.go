package durablehttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/durable-go/durable"
)

// ServeBeside serves Admin on the socket of ListenBeside until ctx ends, and then
// returns nil: for a second process, like the command-line tool, that can't open the
// file of an embedded store because this one has it open. Requests that run when ctx
// ends have 5 s to end. Who may open the socket, the owner of the process and root, may do
// everything: no authorizer is needed, but one that is given is asked.
//
// Call it on a goroutine of its own, and end ctx before the engine is shut down.
func ServeBeside(ctx context.Context, e *durable.Engine, path string, opts *AdminOptions) error {
	if e == nil {
		return errNoEngine
	}
	l, err := ListenBeside(path)
	if err != nil {
		return err
	}
	var o AdminOptions
	if opts != nil {
		o = *opts
	}
	o.AllowUnauthenticated = true
	a := newAdmin(e, &o, slices.Concat(readingRoutes, steeringRoutes))
	a.local = true
	server := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return errors.Join(fmt.Errorf("durablehttp: serve %s: %w", l.Addr(), err), server.Close())
	}
	<-ended
	return nil
}

// ListenBeside listens on a Unix socket at path + ".sock" that only the owner of the
// process can connect to: its mode is 0600 from the first moment. A socket that a
// process left there when it was killed is replaced; one that somebody answers on is the
// error syscall.EADDRINUSE. Closing removes it. On Windows, where modes protect no
// sockets, the error is errors.ErrUnsupported.
//
// A path may be longer than the 108 bytes that the name of a socket has, on Linux; on
// other systems that is an error.
func ListenBeside(path string) (net.Listener, error) {
	socket := path + ".sock"
	if runtime.GOOS == "windows" {
		return nil, fmt.Errorf("durablehttp: listen on %s: %w on Windows, where any user could connect: serve Admin on a loopback address, with an authorizer", socket, errors.ErrUnsupported)
	}
	l, err := listenBeside(socket)
	if err != nil {
		return nil, fmt.Errorf("durablehttp: listen on %s: %w", socket, err)
	}
	return l, nil
}

func listenBeside(socket string) (net.Listener, error) {
	if err := vacant(socket); err != nil {
		return nil, err
	}
	// It is made in a folder that nobody else can enter, and moved when it has its mode.
	folder, err := os.MkdirTemp(filepath.Dir(socket), ".durable-sock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	l := &besideListener{path: socket}
	err = short(folder, func(folder string) (err error) {
		l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: folder + "/s", Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it knows another name
	made := filepath.Join(folder, "s")
	if err = os.Chmod(made, 0o600); err == nil {
		l.made, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, socket)
	}
	if err != nil {
		return nil, errors.Join(err, l.UnixListener.Close())
	}
	return l, nil
}

// vacant is an error if there is something that may not be replaced.
func vacant(socket string) error {
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("there is something else with this name: move it away")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := dial(ctx, socket)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%w: another process serves it", syscall.EADDRINUSE)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil // who listened is gone
	}
	return err
}

// DialBeside connects to the socket of ListenBeside for path, however long that is. Give
// it to http.Transport.DialContext; requests may then go to any host, http://durable/.
// An error that matches os.ErrNotExist or syscall.ECONNREFUSED says that nobody serves it.
func DialBeside(ctx context.Context, path string) (net.Conn, error) {
	conn, err := dial(ctx, path+".sock")
	if err != nil {
		return nil, fmt.Errorf("durablehttp: connect to %s.sock: %w", path, err)
	}
	return conn, nil
}

func dial(ctx context.Context, socket string) (conn net.Conn, err error) {
	err = short(socket, func(socket string) error {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", socket)
		return err
	})
	return conn, err
}

const (
	// longestName is what fits the name of a socket on all systems, with "/s" behind it.
	longestName = 100
	// openPath is Linux's O_PATH: a file is named, not opened.
	openPath = 0x200000
)

// short calls f with a name of the file at path that is short enough for a socket.
func short(path string, f func(name string) error) error {
	if len(path) <= longestName {
		return f(path)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the name has %d bytes, of which sockets take %d here: use a shorter path, or one that is relative", len(path), longestName)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|openPath, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
}

// besideListener is a listener under the name that its socket was moved to.
type besideListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Addr returns the address that others connect to.
func (l *besideListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening, and removes the socket if it is still this one.
func (l *besideListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
		os.Remove(l.path) // before: somebody who finds nobody listening may put another there
	}
	return l.UnixListener.Close()
}
