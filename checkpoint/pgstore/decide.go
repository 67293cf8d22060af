package pgstore

import (
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// What a try decides: it reads what its commands will look at, in one message, and runs them.

// gather reads in one message what the commands will look at.
func (v *view) gather(round []*command) error {
	b, w := &pgx.Batch{}, &v.s.writer
	var ids []string
	var numbers []int64
	var callbacks []*command
	var parents []int64
	creations := 0
	want := func(id string) {
		if !v.knows(id) {
			ids = append(ids, id)
		}
	}
	for _, c := range round {
		if c.Refused {
			continue
		}
		others := c.ids
		if c.creates {
			creations++
			if v.hope(c.ids[0]) {
				others = others[1:]
			}
		}
		for _, id := range others {
			want(id)
		}
		if c.number != 0 && !v.knowsNumber(c.number) {
			numbers = append(numbers, int64(c.number))
		}
		if c.about != "" {
			callbacks = append(callbacks, c)
		}
		if c.Done != nil {
			want(c.a.ID)
			if b, ok := v.locks.believed[v.ids[c.a.ID]]; ok && c.a.Status != 0 && b.row.Invoked {
				parents = append(parents, int64(b.row.Number))
			}
			for i := range c.a.Deliver {
				want(c.a.Deliver[i].ID)
			}
		}
	}
	if v.strict {
		ids, numbers = append(ids, w.wanted.ids...), append(numbers, w.wanted.numbers...)
	}
	if len(ids)+len(numbers)+len(parents) > 0 {
		for number := range v.locks.believed {
			numbers = append(numbers, int64(number))
		}
		v.queueLoad(b, ids, numbers, parents)
	}
	for _, c := range callbacks {
		v.queueCallback(b, c)
	}
	if time.Since(w.drawn) > fresh {
		w.numbers = nil
	}
	if n := creations - len(w.numbers); n > 0 {
		v.queueDraw(b, n)
	}
	if b.Len() == 0 {
		return nil
	}
	return v.begin(b)
}

// hope assumes that there is no execution of an ID that one is to be made with, which
// spares a message. If there is one, the database leaves out what was to be made, or
// refuses the round: see work.lone.
func (v *view) hope(id string) bool {
	w := &v.s.writer
	switch {
	case v.knows(id):
		return true
	case v.strict:
		return false
	case w.wary > 0:
		w.wary--
		return false
	}
	v.ids[id], v.hoped[id] = 0, true
	return true
}

// decide runs the commands. again says that the try is no good: one was refused half-way.
func (v *view) decide(round []*command, r *ledger.Round) (again bool) {
	r.Begin(time.Unix(0, v.now))
	for _, c := range round {
		c.doubtful, c.lone = false, 0
		if c.Refused {
			continue
		}
		before := v.writes
		v.at, v.leansOn, v.hopes = c, v.leansOn[:0], false
		r.At(time.Unix(0, v.now))
		c.Err = v.run(c, r)
		switch wrote := v.writes != before; {
		case v.err != nil:
			return false
		case c.Err != nil && wrote:
			c.Refused = true
			return true
		case wrote:
			for _, w := range v.leansOn {
				w.maker, w.dirty = nil, true // it is compared, or the round refused
			}
		default:
			c.doubtful = v.isDoubtful(c)
		}
	}
	return false
}

// isDoubtful reports whether the answer of a command that changes nothing rests on what may
// be otherwise.
func (v *view) isDoubtful(c *command) bool {
	return c.Err != nil && v.hopes || slices.ContainsFunc(v.leansOn, func(w *work) bool { return w.maker != nil || !w.dirty })
}

func (v *view) run(c *command, r *ledger.Round) error {
	switch {
	case c.Done == nil && c.change == nil: // the lease alone
		return nil
	case c.Done == nil:
		return c.change(v, r)
	}
	row, err := v.Find(c.a.ID)
	if err != nil {
		return err
	}
	if row != nil && row.Owned && v.works[row.Number].owner != v.s.process.Load() {
		return fmt.Errorf("append to %s under epoch %d: %w", c.a.ID, c.a.Epoch, checkpoint.ErrFenced)
	}
	return r.Append(&c.a, nil)
}

// leaveOut forgets what was to be made and was left out of the round, because there are
// executions of the IDs.
func (v *view) leaveOut() {
	for _, number := range v.missed {
		w := v.works[uint64(number)]
		w.maker.doubtful = true
		delete(v.works, w.row.Number)
		delete(v.ids, w.row.ID)
		v.s.writer.beWary()
		clear(v.s.writer.next) // it may tell of what was left out
	}
}
