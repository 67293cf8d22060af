package pgstore

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// What has been taken out of a queue leaves a dead entry at the front of its index, which
// the server can't remove as long as somebody's transaction is older: a report, a dump.
// Who looks for what is first would walk over all of them each time. So a process marks
// how far each queue has been emptied, and looks from there on.
//
// A mark is a hint, which may leave something behind:
//
//	what is due before a mark                          is found
//	-------------------------------------------------  ---------------------------------
//	what this process puts there                       at once: it takes the mark back
//	what another process's transaction puts there,     at once, if it commits within
//	with a time that had come before it began          straggle of that time
//	anything else: a row that was locked for long, a   by the next look behind the marks,
//	slow commit, a clock that was set back             Options.Poll later, or up to a minute
//
// Queues that builds hold have no marks: little comes and goes there.
type marks struct {
	mu sync.Mutex
	at map[string]int64 // by queueKey: everything due before was taken
}

// straggle is how far a mark stays behind what is known: so long may a transaction of
// another process take from the time that it gives to what it makes due until it is seen.
const straggle = int64(time.Second)

// of are the marks of some queues.
func (m *marks) of(keys [][]byte) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]int64, len(keys))
	for i, key := range keys {
		at, ok := m.at[string(key)]
		if !ok {
			at = math.MinInt64
		}
		all[i] = at
	}
	return all
}

// all are the queues that have a mark, and the marks.
func (m *marks) all() (keys [][]byte, at []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, t := range m.at {
		keys, at = append(keys, []byte(key)), append(at, t)
	}
	return keys, at
}

// set says that everything was taken from a queue that is due before a time, by who began
// at the mark from: if it was changed meanwhile, nothing is known. It may become an earlier
// one, when the clock was set back.
func (m *marks) set(key []byte, from, until int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.at[string(key)]; ok && at != from {
		return
	}
	m.at[string(key)] = until - straggle
}

// forget says that nothing is known.
func (m *marks) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.at)
}

// back says that something in a queue is due at a time.
func (m *marks) back(key []byte, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mark, ok := m.at[string(key)]; ok && at < mark {
		m.at[string(key)] = at
	}
}

// lookBehind takes marks back behind which something is due.
func (s *Store) lookBehind(ctx context.Context) error {
	keys, at := s.marks.all()
	if len(keys) == 0 {
		return nil
	}
	return s.readOnce(ctx, 0, func() *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(s.sql.behind, keys, at).Query(func(rows pgx.Rows) error {
			var key []byte
			var due *int64
			_, err := pgx.ForEachRow(rows, []any{&key, &due}, func() error {
				if due != nil {
					s.marks.back(key, *due)
				}
				return nil
			})
			return err
		})
		return b
	})
}

// pace is that of something whose cost nobody knows before, as that of looking past what is
// dead: it takes a fiftieth of the time, or is done each minute.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// forget has the next one done, however early it is.
func (p *pace) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = time.Time{}
}

// keep does f, unless it is too early.
func (p *pace) keep(f func() error) error {
	began := time.Now()
	p.mu.Lock()
	early := began.Before(p.next)
	p.mu.Unlock()
	if early {
		return nil
	}
	err := f()
	if err == nil { // how long it took until it failed says nothing
		p.mu.Lock()
		p.next = time.Now().Add(min(49*time.Since(began), time.Minute))
		p.mu.Unlock()
	}
	return err
}
