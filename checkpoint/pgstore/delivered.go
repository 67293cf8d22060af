package pgstore

import (
	"sync"

	"github.com/durable-go/durable/checkpoint"
)

// delivered are entries that rounds of this process have put into the inboxes of executions
// that it owns: who is told that something is there need not read it. It may be less than
// what is there, so whoever is told of something else reads, see forget.
//
//	of an execution there is kept       then
//	its newest entries, without a gap   they are given away once
//	nothing                             the inbox is read
//
// Nothing is kept of one that others have put something in, that has been cut, or that
// is not owned any more; nor of any when the answer of a round did not arrive.
type delivered struct {
	mu      sync.Mutex
	entries map[string][]checkpoint.Record
	bytes   int
}

// maxDelivered bounds what is kept, in bytes. Nearly always somebody asks for it at once.
const maxDelivered = 4 << 20

// keep takes what a round has made of an execution's inbox.
func (d *delivered) keep(w *work, owned bool) {
	if len(w.inbox) == 0 && w.cutInbox == 0 && owned {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := w.row.ID
	old := d.entries[id]
	d.drop(id)
	size := sizes(w.inbox...)
	if !owned || len(w.inbox) == 0 || d.bytes+size > maxDelivered {
		return
	}
	if n := len(old); n > 0 && w.cutInbox == 0 && old[n-1].Seq+1 == w.inbox[0].Seq && d.bytes+size+sizes(old...) <= maxDelivered {
		d.put(id, append(old[:n:n], w.inbox...))
		return
	}
	d.put(id, w.inbox)
}

func (d *delivered) put(id string, entries []checkpoint.Record) {
	if d.entries == nil {
		d.entries = make(map[string][]checkpoint.Record)
	}
	d.entries[id] = entries
	d.bytes += sizes(entries...)
}

func (d *delivered) drop(id string) {
	if entries, ok := d.entries[id]; ok {
		d.bytes -= sizes(entries...)
		delete(d.entries, id)
	}
}

// forget gives up what is kept of an execution in whose inbox there may be more.
func (d *delivered) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(id)
}

func (d *delivered) forgetAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries, d.bytes = nil, 0
}

// take gives away what is behind an entry, if what comes next is kept.
func (d *delivered) take(id string, after uint64) []checkpoint.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries := d.entries[id]
	d.drop(id)
	if len(entries) == 0 || entries[0].Seq > after+1 {
		return nil
	}
	return entries[min(after+1-entries[0].Seq, uint64(len(entries))):]
}

// Delivered is what this process's own changes have put into an inbox, once, if nobody else
// has said that he has.
func (s *Store) Delivered(id string, after uint64) []checkpoint.Record {
	return s.delivered.take(id, after)
}
