package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// demo runs three workers as processes, and kills the first one that is in the
// middle of something.
func demo(ctx context.Context, s settings) error {
	ctx, stop := context.WithCancel(ctx)
	workers := make(map[string]*process)
	defer func() {
		stop() // interrupts them
		for _, w := range workers {
			w.wait()
		}
	}()
	busy := make(chan string, 3)
	for _, name := range []string{"worker-1", "worker-2", "worker-3"} {
		w, err := s.spawn(ctx, name, busy)
		if err != nil {
			return err
		}
		workers[name] = w
	}
	ended := make(chan error, 1)
	go func() { ended <- client(ctx, s) }()
	select {
	case name := <-busy:
		w := workers[name]
		delete(workers, name)
		if err := w.cmd.Process.Kill(); err != nil {
			return err
		}
		w.wait()
		fmt.Printf("%-8s  killed (-9); the others take over within %v\n", name, s.lease*3/2)
		return <-ended
	case err := <-ended:
		return err
	}
}

// killAt is the stage behind which a worker is killed: its executions are in
// memory then, and steps run.
const killAt = " 4/9 "

// process is a worker.
type process struct {
	cmd    *exec.Cmd
	copied chan struct{} // all that it printed has been printed
}

// spawn starts this program as a worker, and tells busy when it is.
func (s settings) spawn(ctx context.Context, name string, busy chan<- string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// The database's address, which may hold a password, goes by the environment:
	// arguments can be seen by every user of the machine.
	cmd := exec.CommandContext(ctx, self, "-schema", s.schema, "-lease", s.lease.String(), "-name", name, "worker")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.db)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = shutdownGrace + 10*time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.copied)
		told := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Println(lines.Text())
			if !told && strings.Contains(lines.Text(), killAt) {
				told = true
				busy <- name
			}
		}
	}()
	return p, cmd.Start()
}

func (p *process) wait() {
	<-p.copied
	p.cmd.Wait()
}
