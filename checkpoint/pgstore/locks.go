package pgstore

import (
	"slices"
	"sync"
)

// Rounds of several processes touch each other's executions: what is invoked tells its
// caller, what ends cancels what it invoked. So that they never wait for each other in a
// ring, each transaction waits in one order, and for nothing else:
//
//  1. for the row of its own process;
//  2. for rows of executions, by number, be they its own or not;
//  3. for others that create an execution with an ID that it creates, by the hash of the ID.
//
// What comes out of turn it takes without waiting, or not at all:
//
//	row                                                 taken
//	named by the commands, if one of them is not kept   all in the first message, waits
//	children of what ends                               with them
//	named by the commands, if all of them are kept      as they are written, in the last message, waits
//	met while deciding                                  waits if nothing is locked yet, else NOWAIT
//	kept and changed, if others are locked already      in the last message, NOWAIT
//	due, for a claim                                    SKIP LOCKED
//	owned by a process that is gone                     in a round of its own, waits
//
// If one can't be had at once, the try ends and lets go of everything. The next one believes
// nothing, and waits in its first message for all that the commands name and all that was
// met, see writer.wanted.

// believed is an execution as this process has kept it: it owns it, or did, and was the last
// to write it as far as it knows. Nobody holds the row. So no answer may come from it alone, and
// when it is written its revision is compared.
type believed struct{ *work }

// locked is an execution as this transaction has read it, which holds the row until it ends.
type locked struct{ *work }

// locks are what a try knows of the rows that it uses.
type locks struct {
	believed map[uint64]believed
	taken    bool // some rows are locked, and perhaps one that the answer does not show: it was changed meanwhile
}

func (l *locks) believe(b believed) {
	if l.believed == nil {
		l.believed = make(map[uint64]believed)
	}
	l.believed[b.row.Number] = b
}

// wanted are executions that a try could not have at once.
type wanted struct {
	ids     []string
	numbers []int64
}

// hold takes an execution that was read with its row locked, and returns it as the round
// has it, with what the round has changed.
func (v *view) hold(w *work) locked {
	number := w.row.Number
	known := v.works[number]
	if b, ok := v.locks.believed[number]; ok && b.work == known {
		if b.rev != w.rev && !b.dirty { // nothing has come of it yet
			known = nil
		}
		if b.rev == w.rev || known == nil {
			delete(v.locks.believed, number)
		}
	}
	if known == nil {
		v.put(w)
		known = w
	}
	return locked{known}
}

// outOfTurn are the believed executions that the round changes while it holds others.
func (v *view) outOfTurn() (numbers []int64) {
	for number, b := range v.locks.believed {
		if b.dirty && v.locks.taken {
			numbers = append(numbers, int64(number))
		}
	}
	slices.Sort(numbers)
	return numbers
}

// forget drops what the try believed, of which something was found to be wrong.
func (v *view) forget() {
	for number, b := range v.locks.believed {
		v.s.writer.forget(number, b)
	}
}

func (w *writer) forget(number uint64, b believed) {
	delete(w.cache, number)
	if w.ids[b.row.ID] == number {
		delete(w.ids, b.row.ID)
	}
}

// rumours are executions of which other processes say that they have changed them. What is
// believed of them is no good any more, and would cost all that is asked for together a
// second try.
type rumours struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (r *rumours) add(id string) {
	if id == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = make(map[string]struct{})
	}
	if len(r.ids) < maxNews {
		r.ids[id] = struct{}{}
	}
}

func (r *rumours) take() (ids map[string]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids, r.ids = r.ids, nil
	return ids
}

func (w *writer) forgetRumoured(ids map[string]struct{}) {
	for id := range ids {
		if number, ok := w.ids[id]; ok {
			w.forget(number, w.cache[number])
		}
	}
}
