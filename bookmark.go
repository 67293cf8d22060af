package durable

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// bookmark is how far somebody has read the history of an execution: events say only
// part of what they are about, the rest is in what was recorded before.
type bookmark struct {
	id  string
	inc checkpoint.Incarnation
	ops history.Operations // without values
	seq uint64             // of the last record in it

	event int64              // the last one before rec
	rec   checkpoint.Record  // the last record that is an event, opened: not all who come may have had it
	o     *history.Operation // its operation
	last  int64              // the last event so far

	forget *time.Timer
}

// next takes in the next record of the journal; whether it is an event.
func (b *bookmark) next(rec *checkpoint.Record) bool {
	folded := *rec
	folded.Payload, folded.Failure, folded.Batch, folded.Digest = nil, nil, nil, nil
	o := b.ops.Apply(&folded, nil)
	b.seq = rec.Seq
	if rec.Type >= checkpoint.ScopeCancelled || rec.Flags&checkpoint.FlagSilent != 0 {
		return false
	}
	b.event, b.rec, b.o = b.last, *rec, o
	b.last = int64(rec.EventID) + int64(rec.Events) - 1
	return true
}

// bookmarks are those of pages that were read lately.
type bookmarks struct {
	mu   sync.Mutex
	kept []*bookmark
}

const (
	// keptBookmarks is how many there are at most. Each holds all operations of an
	// execution.
	keptBookmarks = 4
	// bookmarkAge is how long one is kept.
	bookmarkAge = time.Minute
)

// take takes out the one that is best to go on from to what is behind an event; a new one
// if there is none.
func (b *bookmarks) take(s *checkpoint.Summary, after int64) *bookmark {
	b.mu.Lock()
	defer b.mu.Unlock()
	best := -1
	for i, k := range b.kept {
		if k.id == s.ID && k.inc == s.Incarnation && k.event <= after && (best < 0 || k.seq > b.kept[best].seq) {
			best = i
		}
	}
	if best < 0 {
		return newBookmark(s)
	}
	k := b.kept[best]
	k.forget.Stop()
	b.kept = slices.Delete(b.kept, best, best+1)
	return k
}

func newBookmark(s *checkpoint.Summary) *bookmark {
	return &bookmark{id: s.ID, inc: s.Incarnation, ops: history.New(s.Tail)}
}

// keep keeps one for the next page.
func (b *bookmarks) keep(k *bookmark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == keptBookmarks {
		b.kept[0].forget.Stop()
		b.kept = slices.Delete(b.kept, 0, 1)
	}
	b.kept = append(b.kept, k)
	k.forget = time.AfterFunc(bookmarkAge, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.kept = slices.DeleteFunc(b.kept, func(other *bookmark) bool { return other == k })
	})
}

// readHistory yields the events of an execution behind one, going on from a bookmark. It
// reports whether another page can.
func (e *Engine) readHistory(ctx context.Context, s *checkpoint.Summary, b *bookmark, after int64, yield func(Event, error) bool) (again bool) {
	fail := func(err error) bool {
		yield(Event{}, fmt.Errorf("durable: history of execution %s: %w", s.ID, e.lookup(s.ID, err)))
		return false
	}
	// give yields the events of the bookmark's record.
	give := func() (more bool, err error) {
		if b.last <= max(after, 0) {
			return true, nil
		}
		rec := b.rec
		if err := e.openRecord(&rec, s.Incarnation); err != nil {
			return false, err
		}
		for _, ev := range e.eventsOf(&rec, b.o, s) {
			if ev.EventID > after && !yield(ev, nil) {
				return false, nil
			}
		}
		return true, nil
	}
	// readOn reads what is in the journal behind the bookmark.
	readOn := func() (more bool, err error) {
		for rec, err := range e.journalOf(ctx, s, b.seq) {
			if err != nil {
				return false, err
			}
			if !b.next(&rec) {
				continue
			}
			if more, err := give(); !more {
				return false, err
			}
		}
		return true, nil
	}
	more, err := give()
	if more {
		more, err = readOn()
	}
	if err != nil {
		return fail(err)
	}
	if !more || s.Status != checkpoint.Running {
		return true
	}
	// What came from outside and was not yet taken over. What is moved meanwhile is in
	// the journal then.
	inbox, err := e.store.Inbox(ctx, s.ID, 0)
	if err != nil {
		return fail(err)
	}
	if len(inbox) == 0 {
		return true
	}
	if more, err = readOn(); err != nil {
		return fail(err)
	} else if !more {
		return true
	}
	for i := range inbox {
		rec := &inbox[i]
		if !history.IsOutside(rec.Type) || !b.ops.Awaits(rec) {
			continue
		}
		rec.Seq, rec.EventID, rec.Events = b.seq+1, uint64(b.last+1), 1
		b.next(rec)
		if more, err := give(); err != nil {
			return fail(err)
		} else if !more {
			break
		}
	}
	return false // it will become so in another order, perhaps
}
