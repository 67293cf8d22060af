// Package pgtest starts a PostgreSQL server for tests: in a temporary folder, on a
// free port of the loopback interface, with fsync on.
package pgtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Cluster is a server and its data.
type Cluster struct {
	bin, dir, url string
	port          int
	as            *syscall.SysProcAttr
	schemas       atomic.Int64
}

// ErrNotInstalled: the programs of PostgreSQL are not there.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// Start makes a cluster and starts its server, which Close ends. It takes a second
// or two. The server's programs are those of the folder that DURABLE_POSTGRES
// names, else of the newest in /usr/lib/postgresql or the PATH; ErrNotInstalled if
// there are none. As root it runs the server as the user postgres, because it
// would refuse to run as root.
func Start() (*Cluster, error) {
	bin, err := Programs()
	if err != nil {
		return nil, err
	}
	return start(bin, func(c *Cluster) error {
		return c.run("initdb", "-D", c.data(), "-U", "tests", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
	})
}

// Standby starts another server that follows this one, and takes no writes until Promote.
// Close it before this one.
func (c *Cluster) Standby() (*Cluster, error) {
	return start(c.bin, func(s *Cluster) error {
		return s.run("pg_basebackup", "-D", s.data(), "-h", "127.0.0.1", "-p", fmt.Sprint(c.port), "-U", "tests", "-X", "stream", "-c", "fast", "-R")
	})
}

// Promote makes a primary of a standby.
func (c *Cluster) Promote() error {
	return c.run("pg_ctl", "-D", c.data(), "-w", "-t", "300", "promote")
}

// start starts a server whose data fill makes.
func start(bin string, fill func(*Cluster) error) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, dir: dir}
	if c.as, err = Account(dir); err == nil {
		err = fill(c)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range 3 { // somebody may take the port meanwhile
		if c.port, err = freePort(); err != nil {
			break
		}
		if err = c.StartAgain(); err == nil {
			c.url = fmt.Sprintf("postgres://tests@127.0.0.1:%d/postgres?sslmode=disable", c.port)
			return c, nil
		}
	}
	c.Close()
	return nil, err
}

// freePort is a port below those that systems give to outgoing connections. One of
// those could be taken while the server is stopped, even by a client that tries to
// reach it and is connected with itself.
func freePort() (port int, err error) {
	for range 100 {
		port = 20_000 + rand.IntN(12_000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// Programs is the folder of the server's programs, as Start finds them.
func Programs() (string, error) {
	if bin := os.Getenv("DURABLE_POSTGRES"); bin != "" {
		return bin, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil { // the others lie there
			path = real
		}
		found = append(found, path)
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) run(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = c.as, c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// URL is the connection string.
func (c *Cluster) URL() string { return c.url }

// Port is the server's port on 127.0.0.1.
func (c *Cluster) Port() int { return c.port }

// Schema is the name of a schema that no other call returns. It needs quotes, so
// that code which forgets them is found out.
func (c *Cluster) Schema() string { return fmt.Sprintf("test %d", c.schemas.Add(1)) }

// Stop stops the server; mode is one of pg_ctl's: "smart", "fast", "immediate".
func (c *Cluster) Stop(mode string) error {
	return c.run("pg_ctl", "-D", c.data(), "-m", mode, "-w", "-t", "300", "stop")
}

// StartAgain starts the server after Stop.
func (c *Cluster) StartAgain() error {
	opts := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on -c max_connections=200 -c shared_buffers=64MB", c.port)
	return c.run("pg_ctl", "-D", c.data(), "-o", opts, "-l", filepath.Join(c.dir, "log"), "-w", "-t", "300", "start")
}

// Close stops the server and removes its data.
func (c *Cluster) Close() error {
	c.Stop("immediate")
	return os.RemoveAll(c.dir)
}
