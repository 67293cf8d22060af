package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const floorName = "floor"

// A plan is what the flags ask for.
type plan struct {
	short    bool
	rounds   int
	only     []string
	folder   string
	postgres string
	sustain  time.Duration
}

// A remover has something to remove when a run has ended.
type remover interface {
	remove(ctx context.Context, folder string) error
}

// chosen are the systems and workloads that the words name, all of them where
// none is named. A word names a workload that begins with it, or else the systems
// that contain it.
func chosen(only []string, systems []system, workloads []workload) ([]system, []workload, error) {
	var ss []system
	var ws []workload
	for _, word := range only {
		found := false
		for _, w := range workloads {
			if strings.HasPrefix(w.name, word) {
				found = true
				if !slices.ContainsFunc(ws, func(x workload) bool { return x.name == w.name }) {
					ws = append(ws, w)
				}
			}
		}
		if found {
			continue
		}
		for _, s := range systems {
			if strings.Contains(strings.ToLower(s.name()), strings.ToLower(word)) {
				found = true
				if !slices.Contains(ss, s) {
					ss = append(ss, s)
				}
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("-only: nothing is named %q", word)
		}
	}
	if ss == nil {
		ss = systems
	}
	if ws == nil {
		ws = workloads
	}
	return ss, ws, nil
}

// run carries the plan out, round by round: in each, the floor, then workload by
// workload all systems, each round beginning with another of them.
func (p plan) run(ctx context.Context, progress io.Writer) (*report, error) {
	ss, ws, err := chosen(p.only, systems(p.postgres), workloads(p.sustain))
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(p.folder, "durable-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	r := newReport(p, folder, ss, ws)
	for round := range p.rounds {
		fmt.Fprintf(progress, "round %d of %d: floor\n", round+1, p.rounds)
		r.addFloor(p.send(ctx, folder, order{Workload: floorName, Size: p.sized(2_000, 100), Postgres: p.postgres}))
		for _, w := range ws {
			for i := range ss {
				s := ss[(i+round)%len(ss)]
				c := r.cell(w, s)
				if c.Size < 0 || len(c.Rounds) < round { // it can't, or it failed before
					continue
				}
				began := time.Now()
				reply := p.execute(ctx, folder, w, s, c.Size)
				if ctx.Err() != nil { // what is known by now is told
					r.Stopped = true
					r.sum()
					return r, nil
				}
				c.add(reply)
				fmt.Fprintf(progress, "round %d of %d: %s: %s: %s\n", round+1, p.rounds, w.name, s.name(), outcome(reply, time.Since(began)))
			}
		}
	}
	r.sum()
	return r, nil
}

func outcome(r reply, took time.Duration) string {
	if r.Error != "" {
		return r.Error
	}
	return took.Round(10 * time.Millisecond).String()
}

// execute runs a workload for a system on a fresh folder.
func (p plan) execute(ctx context.Context, folder string, w workload, s system, size int) reply {
	if r, ok := s.(remover); ok {
		defer func() {
			store := filepath.Join(folder, "run", "store")
			for _, f := range []string{store, store + "-empty"} {
				if err := r.remove(context.WithoutCancel(ctx), f); err != nil {
					fmt.Fprintln(os.Stderr, "bench: what was left on the server:", err)
				}
			}
		}()
	}
	o := order{System: s.name(), Workload: w.name, Size: size, Postgres: p.postgres, Sustain: p.sustain}
	if w.prepare != nil {
		o.Prepare = true
		prepared := p.keep(ctx, folder, o)
		if prepared.Error != "" {
			os.RemoveAll(filepath.Join(folder, "run"))
			return prepared
		}
		o.Prepare, o.Token = false, prepared.Token
	}
	return p.send(ctx, folder, o)
}

// send sends a child with the order to the run's folder and empties that.
func (p plan) send(ctx context.Context, folder string, o order) reply {
	r := p.keep(ctx, folder, o)
	if err := os.RemoveAll(filepath.Join(folder, "run")); err != nil && r.Error == "" {
		r.Error = err.Error()
	}
	return r
}

func (p plan) keep(ctx context.Context, folder string, o order) reply {
	o.Folder = filepath.Join(folder, "run")
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return reply{Error: err.Error()}
	}
	o.Budget, o.Limit, o.Quiet = 2*time.Second, 3*time.Minute, time.Second
	if p.short {
		o.Budget, o.Limit, o.Quiet = 50*time.Millisecond, 30*time.Second, 100*time.Millisecond
	}
	o.Limit += p.sustain
	return send(ctx, o)
}

func (p plan) sized(full, small int) int {
	if p.short {
		return small
	}
	return full
}
