package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Each workload of each system runs in a process of its own: so none inherits
// another's heap, goroutines or open files, a library that panics or hangs ends
// only itself, and what is prepared can end like a crash.

// An order is what a child is told, in its environment.
type order struct {
	System, Workload string
	Prepare          bool
	Folder           string
	Size             int
	Budget, Limit    time.Duration
	Quiet            time.Duration
	Postgres         string
	Sustain          time.Duration
	Token            string
}

// A reply is what it leaves in the file beside its folder.
type reply struct {
	Figures    figures `json:"figures,omitempty"`
	Durability string  `json:"durability,omitempty"`
	Token      string  `json:"token,omitempty"`
	Error      string  `json:"error,omitempty"`
}

const orderKey = "DURABLE_BENCH_ORDER"

func replyPath(folder string) string { return folder + ".reply" }

// send runs a child and returns its reply. What goes wrong with it is in there.
func send(ctx context.Context, o order) reply {
	self, err := os.Executable()
	if err != nil {
		return reply{Error: err.Error()}
	}
	data, err := json.Marshal(o)
	if err != nil {
		return reply{Error: err.Error()}
	}
	defer os.Remove(replyPath(o.Folder))
	limited, cancel := context.WithTimeout(ctx, o.Limit+10*time.Second) // it sees to the limit itself, if it can
	defer cancel()
	cmd := exec.CommandContext(limited, self)
	cmd.Env = append(os.Environ(), orderKey+"="+string(data))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	failed := cmd.Run()
	var r reply
	data, err = os.ReadFile(replyPath(o.Folder))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil && r.Error == "" {
		r.Error = fmt.Sprintf("%v: %s", failed, firstLine(said.String()))
	}
	return r
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s[:min(len(s), 200)]
}

// serve is a child's whole life.
func serve(data string) error {
	var o order
	if err := json.Unmarshal([]byte(data), &o); err != nil {
		return err
	}
	r := carryOut(o)
	answer, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(replyPath(o.Folder), answer, 0o600)
}

var errTooSlow = errors.New("too slow")

func carryOut(o order) (r reply) {
	fail := func(err error) reply { return reply{Error: err.Error()} }
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.Limit, fmt.Errorf("%w: stopped after %s", errTooSlow, o.Limit))
	defer cancel()
	if o.Workload == floorName {
		found, err := measureFloor(o.Folder, o.Postgres, o.Size)
		if err != nil {
			return fail(err)
		}
		return reply{Figures: found}
	}
	s, err := systemNamed(o.System, o.Postgres)
	if err != nil {
		return fail(err)
	}
	w, err := workloadNamed(o.Workload, o.Sustain)
	if err != nil {
		return fail(err)
	}
	j := &job{system: s, folder: filepath.Join(o.Folder, "store"), size: o.Size, budget: o.Budget, quiet: o.Quiet, token: o.Token}
	if err := os.MkdirAll(j.folder, 0o700); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(j.folder+"-empty", 0o700); err != nil {
		return fail(err)
	}
	if o.Prepare {
		if err := w.prepare(ctx, j); err != nil {
			return fail(err)
		}
		return reply{Token: j.token} // and nothing is closed
	}
	found, err := w.measure(ctx, j)
	if err != nil {
		return fail(err)
	}
	return reply{Figures: found, Durability: j.flushed}
}

func workloadNamed(name string, sustain time.Duration) (workload, error) {
	for _, w := range workloads(sustain) {
		if w.name == name {
			return w, nil
		}
	}
	return workload{}, fmt.Errorf("there is no workload %q", name)
}
