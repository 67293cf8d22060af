package pgstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/internal/pause"
	"github.com/stretchr/testify/require"
)

// What a process that a test starts is told.
const (
	childURL      = "PGSTORE_TEST_URL"
	childSchema   = "PGSTORE_TEST_SCHEMA"
	childLease    = "PGSTORE_TEST_LEASE"
	childNoListen = "PGSTORE_TEST_NO_LISTEN"
)

// child owns one execution and makes its steps, until it is refused. It says what it
// does, line by line; a step when it is acknowledged.
func child() {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	lease, err := time.ParseDuration(os.Getenv(childLease))
	fail(err)
	s, err := pgstore.Open(ctx, os.Getenv(childURL), &pgstore.Options{Schema: os.Getenv(childSchema), Lease: lease, NoListen: os.Getenv(childNoListen) != ""})
	fail(err)
	sum, _, err := s.Create(ctx, creation(fmt.Sprint("child", os.Getpid()), "f", true))
	fail(err)
	fmt.Println("own", sum.ID)
	for tail := uint64(1); ; tail++ {
		switch err := appendTo(s, step(sum, tail)); {
		case err == nil:
			fmt.Println("step")
		case errors.Is(err, checkpoint.ErrFenced):
			fmt.Println("end fenced")
			os.Exit(0)
		default:
			fmt.Println("end", err)
			os.Exit(1)
		}
	}
}

// process is a running child.
type process struct {
	cmd          *exec.Cmd
	owned, ended chan string
	acknowledged atomic.Int64
}

func startProcess(t *testing.T, schema string, lease time.Duration) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+server.url, childSchema+"="+schema, childLease+"="+lease.String())
	if *throughBouncer {
		cmd.Env = append(cmd.Env, childNoListen+"=1")
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, owned: make(chan string, 1), ended: make(chan string, 1)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch what, rest, _ := strings.Cut(lines.Text(), " "); what {
			case "own":
				p.owned <- rest
			case "step":
				p.acknowledged.Add(1)
			default:
				p.ended <- rest
			}
		}
	}()
	return p
}

func await(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(patience):
		t.Fatal("the process does not say it")
		return ""
	}
}

func (p *process) own(t *testing.T) string { return await(t, p.owned) }
func (p *process) end(t *testing.T) string { return await(t, p.ended) }

// steps waits for some acknowledged ones.
func (p *process) steps(t *testing.T) int {
	require.Eventually(t, func() bool { return p.acknowledged.Load() >= 50 }, patience, time.Millisecond)
	return int(p.acknowledged.Load())
}

func (p *process) signal(t *testing.T, name string) {
	send := map[string]func(*os.Process) error{"SIGKILL": (*os.Process).Kill, "SIGSTOP": pause.Stop, "SIGCONT": pause.GoOn}[name]
	require.NoError(t, send(p.cmd.Process))
}
