package pgstore

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// parked are executions that this process has released, the latest ones, and keeps as it
// has left them: what comes for them soon need not read them first. Somebody else may
// claim them, and nobody would tell, so it does so while no other process is alive. That is
// not certain: what is kept is believed, as all that is kept, see locks.go.
type parked struct {
	numbers []uint64 // the oldest is at next, once there are as many as it may have
	next    int
}

// maxParked is how many executions are kept.
const maxParked = 1024

// takes reports whether an execution is to be kept.
func (p *parked) takes(w *work, alone bool) bool {
	return alone && w.owner == 0 && w.row.Status == checkpoint.Running &&
		(w.place.Kind != ledger.Queued || w.place.Queue.Builds == "") && len(w.row.HeldBuilds)+len(w.row.Unfit) == 0
}

// add returns what has to go for one that is added.
func (p *parked) add(number uint64) (gone []uint64) {
	if len(p.numbers) < maxParked {
		p.numbers = append(p.numbers, number)
		return nil
	}
	gone = []uint64{p.numbers[p.next]}
	p.numbers[p.next] = number
	p.next = (p.next + 1) % maxParked
	return gone
}

// take returns all of them, and keeps none.
func (p *parked) take() (all []uint64) {
	all = p.numbers
	p.numbers, p.next = nil, 0
	return all
}

// forgetParked forgets executions, unless they are owned meanwhile.
func (w *writer) forgetParked(numbers []uint64) {
	for _, number := range numbers {
		if b, ok := w.cache[number]; ok && b.owner == 0 {
			w.forget(number, b)
		}
	}
}
