package soak

import (
	"os"
	"os/exec"
	"time"

	"github.com/durable-go/durable/checkpoint/boltstore"
)

// File is a round of many lives of one process on a file in a folder. Each but the last
// is killed.
func (c Config) File(dir string) (*World, error) {
	w, err := c.world(dir)
	if err != nil {
		return nil, err
	}
	defer w.witness.f.Close()
	for n := range c.Kills + 1 {
		w.ending = n == c.Kills
		if err := w.live(dir, n); err != nil {
			return nil, err
		}
	}
	store, err := boltstore.Open(storePath(dir), nil)
	if err != nil {
		return nil, err
	}
	return w, w.check(dir, store)
}

// live runs one process until it is dead, or the last one until all has ended.
func (w *World) live(dir string, n int) error {
	last := w.ending
	l := &life{World: w, n: n, requests: make(map[int]request), cmd: exec.Command(os.Args[0])}
	o := Orders{Dir: dir, Life: n, Plant: w.Plant, Parked: time.Duration(1+n%4*3) * time.Millisecond}
	if n%3 == 2 {
		o.Places = 4 // most of them wait for a place
	}
	if !last {
		l.moment = w.moment(n)
		o.Point = l.moment.point
	}
	if _, err := os.Stat(storePath(dir) + "-wal"); err == nil {
		w.Figures.recoveries++
	}
	err := l.run(o, func(err error, said string) {
		switch {
		case err == nil && (last || l.moment.then > 0):
			w.shutDown[n] = true
			if !last {
				w.Figures.ended++
			}
		case l.wasKilled() && said == "":
			if last {
				for _, x := range w.running() {
					w.violate(ruleEnds, "%s: nothing was heard of its end in %s", x.id, w.Patience)
				}
				return
			}
			w.Figures.kills[l.moment.phase]++
		default:
			w.violate(ruleProcess, "life %d (%s): %v\n%s", n, l.moment, err, said)
		}
	})
	if err != nil {
		return err
	}
	if l.moment.phase == "starting" {
		l.killAfter(l.moment.after)
	}
	if last {
		defer time.AfterFunc(w.Patience, l.kill).Stop()
		select {
		case <-w.ended:
			l.interrupt()
		case <-l.gone:
		}
	}
	<-l.gone
	return nil
}
