package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/queue"
	"github.com/jackc/pgx/v5"
)

// writer is what the goroutine that makes all changes knows.
type writer struct {
	conn *pgx.Conn // nil: it has to be made
	pipe *pipe     // over it
	rows stepRows

	parked parked // what it keeps of what nobody owns
	turns  *ledger.Turns
	round  int64     // last one that was made, or can't be made any more
	until  time.Time // when the lease has run out at the latest, by this process's clock
	over   int64     // the lease of which the log says that it has run out
	cache  map[uint64]believed
	ids    map[string]uint64
	next   map[ledger.Queue]int64 // due times that a hint has told of, and the earliest since

	news    []checkpoint.Hint // of the last try, for other processes
	untold  bool              // there were none to tell
	numbers []int64           // for new executions, drawn by an earlier round
	drawn   time.Time         // the oldest of them
	wary    int               // so many creations are looked up first, because one was there
	wanted  wanted            // by the last tries of this round
}

// fresh is how long a number that was drawn can be used: numbers are in the order of
// creation in one process, and among processes but for that time.
const fresh = 50 * time.Millisecond

// few is how many commands a round has whose notification is behind it, at most. Who is
// alone is told sooner for that. Where many are, it would keep the next round waiting, and
// the notifier tells of several rounds at once.
const few = 4

// beWary has as many creations looked up first as an execution that is there costs.
func (w *writer) beWary() { w.wary = min(w.wary+8, 256) }

// write makes rounds until the queue is closed and empty. When there are none for a moment,
// it finds out what has become of the last one's notification.
func (s *Store) write() {
	defer close(s.written)
	idle := time.AfterFunc(time.Hour, func() {
		s.queue.Add(&command{Command: queue.Command{Done: func(error) {}}, settles: true})
	})
	defer idle.Stop()
	for {
		round := s.queue.Take()
		last := len(round) == 0
		round = slices.DeleteFunc(round, func(c *command) bool { return c.settles })
		if len(round) == 0 {
			s.writer.pipe.settle() // if it can't, the connection is made again for the next round
			if last {
				return
			}
			continue
		}
		s.makeRound(round, false)
		if s.writer.pipe.owed != nil {
			idle.Reset(2 * hasty)
		}
	}
}

// makeRound makes one transaction of all commands and answers them; claims come behind
// the others, each alone. strict says that nothing that was kept is used.
//
//	a command                                       | its round                  | its answer
//	changes something                               | is made; again, strictly,  | comes with it
//	                                                | if what was kept was old   |
//	is refused, or does nothing, by what was locked | is made without it         | comes with it
//	is refused, or does nothing, by what was kept   | is made without it         | it is asked again, strictly
//	makes an execution whose ID there is            | is made without it         | it is asked again, strictly
//	is refused half-way, over damaged data          | is made again without it   | comes with it
//	is what the server does not take                | is made again in halves    | comes with its half
func (s *Store) makeRound(round []*command, strict bool) {
	isApart := func(c *command) bool { return c.claim != nil || c.apart }
	if len(round) > 1 && slices.ContainsFunc(round, isApart) {
		for _, c := range round {
			if isApart(c) {
				defer s.makeRound([]*command{c}, strict)
			}
		}
		if round = slices.DeleteFunc(round, isApart); len(round) == 0 {
			return
		}
	}
	hints, err := s.settle(round, strict)
	if err != nil && len(round) > 1 && refusal(err) != nil {
		// Only those whose fault it is shall suffer.
		half := len(round) / 2
		s.makeRound(round[:half], strict)
		s.makeRound(round[half:], strict)
		return
	}
	s.notifier.tell(s.writer.news) // whatever became of it: perhaps it was made
	if s.writer.untold && !s.company.alone.Load() {
		s.notifier.tellToLook() // who came meanwhile may have looked before it was made
	}
	var again []*command
	for _, c := range round {
		switch {
		case err != nil && !c.Refused:
			c.Err = err
		case err == nil && c.doubtful:
			again = append(again, c)
			continue
		}
		c.Answer(s.calls)
	}
	for _, h := range hints {
		s.calls.Hint(h)
	}
	if len(again) > 0 {
		s.makeRound(again, true)
	}
}

// settle tries until a round is made, or can't be made, and no doubt is left which.
func (s *Store) settle(round []*command, strict bool) (hints []checkpoint.Hint, err error) {
	w := &s.writer
	w.news, w.untold = nil, false
	s.catchUp()
	w.forgetRumoured(s.rumours.take())
	s.seen.catchUp(w, s.process.Load())
	if !s.company.alone.Load() {
		w.forgetParked(w.parked.take())
	}
	w.wanted = wanted{}
	for try := 0; ; try++ {
		if !time.Now().Before(w.until) {
			if err := s.lapse(); err != nil {
				return nil, fenceAppends(round, fmt.Errorf("durable: the database can't be reached: %w", inOwnTime(err, s.opts.Lease)))
			}
			if try > 0 {
				fenceAppends(round, errLapsed)
			}
		}
		var again bool
		again, hints, err = s.try(round, strict)
		e := refusal(err)
		switch {
		case err == nil && !again:
			return hints, nil
		case err == nil: // a command was refused half-way
			strict = true
		case errors.Is(err, errLapsed):
			s.leased(time.Time{}) // it was not made, and the rest can be made under another lease
		case e == nil:
			// The connection, or the server, is gone, and perhaps the answer alone.
			w.drop()
			s.delivered.forgetAll() // there may be more than what is kept
			strict = true
			made, settled := s.outcome()
			if made {
				settled = s.findMissed(round)
			}
			switch {
			case made && settled && round[0].claim != nil: // nobody knows what it has taken
				c := round[0].claim
				c.process, c.round = s.process.Load(), w.round
			case made && settled:
				return s.last(hints), nil
			case !settled:
				s.lose()
				return nil, fenceAppends(round, fmt.Errorf("durable: it is not known whether the database has made the change: %w", inOwnTime(err, s.opts.Lease)))
			case try >= 10:
				return nil, fmt.Errorf("durable: %w", inOwnTime(err, s.opts.Lease))
			}
		case e.Code == readOnlyTransaction:
			w.drop()
			strict = true
			s.disconnect()
			if by := s.closeBy.Load(); by != 0 && time.Now().UnixNano() >= by {
				return nil, fmt.Errorf("durable: %w", unwritable(err))
			}
			time.Sleep(10 * time.Millisecond << min(try, 5)) // until the lease is over
		case e.Code == uniqueViolation && !strict: // most likely an execution that was not hoped for
			strict = true
			w.beWary()
		case e.Code == lockNotAvailable && !strict: // nothing that was kept was found to be wrong
			strict = true
		case e.Code == divisionByZero, e.Code == negativeRoot, e.Code == serialization, e.Code == deadlock, e.Code == lockNotAvailable, e.Code == uniqueViolation:
			strict = true
			if try > 0 {
				w.drop()
			}
			if try > 100 {
				return nil, fmt.Errorf("durable: others change the same executions all the time: %w", err)
			}
			if try > 1 {
				time.Sleep(time.Duration(rand.Int64N(int64(time.Millisecond) << min(try, 6))))
			}
		default:
			w.drop()
			return nil, fmt.Errorf("durable: %w", err)
		}
	}
}

// fenceAppends refuses the appends of a round that was not made before the lease ran
// out, as far as anybody knows here: others may own the executions.
func fenceAppends(round []*command, cause error) error {
	for _, c := range round {
		if c.Done != nil && !c.Refused {
			c.Err, c.Refused = fmt.Errorf("append to %s under epoch %d: %w: %w", c.a.ID, c.a.Epoch, checkpoint.ErrFenced, cause), true
		}
	}
	return cause
}

// drop forgets all executions: what is known of them may be wrong.
func (w *writer) drop() {
	clear(w.cache)
	clear(w.ids)
	w.parked.take()
}

// last are the hints of a round whose answer did not arrive.
func (s *Store) last(hints []checkpoint.Hint) []checkpoint.Hint {
	return append(hints, checkpoint.Hint{Kind: checkpoint.HintDue})
}

// try decides and makes one transaction. again says that nothing was made, and that
// it has to be tried anew. Hints are returned also with an error: they are for the
// case that it was made.
func (s *Store) try(round []*command, strict bool) (again bool, hints []checkpoint.Hint, err error) {
	w := &s.writer
	w.news, w.untold = nil, false
	if w.conn == nil || w.conn.IsClosed() {
		ctx, cancel := s.patience(w.until)
		defer cancel()
		if err := s.connect(ctx); err != nil {
			return false, nil, &unreachable{err}
		}
	}
	// A context that ends would cost a goroutine each time.
	if err := s.deadline(w.until); err != nil {
		return false, nil, err
	}
	sent := time.Now()
	if c := round[0].claim; c != nil {
		if hints, err = s.tryClaim(c); err == nil && len(c.claims) > 0 {
			s.wasCommitted(sent, len(c.claims))
		}
		return false, hints, err
	}
	v := s.newView(strict, len(round))
	r := ledger.NewRound(v, w.turns)
	r.Forgives = s.older.Load()
	if err := v.gather(round); err != nil {
		return false, nil, s.abandon(v, err)
	}
	made := false
	defer func() {
		if !made {
			v.undo()
		}
	}()
	again = v.decide(round, r)
	if v.err != nil {
		return false, nil, s.abandon(v, v.err)
	}
	if again || v.writes == 0 && !wantsLease(round) {
		return again, nil, s.abandon(v, nil)
	}
	hints = r.Hints()
	w.news = v.forOthers(hints)
	var follow []checkpoint.Hint
	if len(round) <= few {
		follow = w.news
	}
	if err := v.commit(follow); err != nil {
		if refusal(err) != nil {
			v.forget()
		}
		return false, hints, s.abandon(v, err)
	}
	v.leaveOut()
	v.keep(sent)
	made = true
	s.wasCommitted(sent, len(round))
	return false, hints, nil
}

func (s *Store) wasCommitted(sent time.Time, changes int) {
	if watch := s.committed.Load(); watch != nil {
		(*watch)(checkpoint.Commit{Took: time.Since(sent), Changes: changes})
	}
}

// undo takes back what a try that was not made has done to what is kept.
func (v *view) undo() {
	w := &v.s.writer
	clear(w.next)
	for number, x := range v.works {
		if w.cache[number].work == x {
			x.restore()
		}
	}
}

// findMissed finds out what was left out of a round that was made, and whose answer did
// not arrive.
func (s *Store) findMissed(round []*command) (found bool) {
	makers := make(map[int64]*command)
	for _, c := range round {
		if c.lone != 0 {
			makers[c.lone] = c
		}
	}
	if len(makers) == 0 {
		return true
	}
	if s.writer.pipe.settle() != nil {
		return false
	}
	ctx, cancel := s.patience(s.writer.until)
	defer cancel()
	rows, _ := s.writer.conn.Query(ctx, s.sql.made, slices.Collect(maps.Keys(makers)))
	made, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return false
	}
	for _, number := range made {
		delete(makers, number)
	}
	for _, c := range makers {
		c.doubtful = true
	}
	return true
}

// keep remembers what the round has left of the executions that this process owns.
func (v *view) keep(sent time.Time) {
	w := &v.s.writer
	w.round++
	v.s.leased(v.s.until(sent))
	me, alone := v.s.process.Load(), v.s.company.alone.Load()
	v.mark()
	for number, x := range v.works {
		owned := !x.removed && x.row.Owned && x.owner == me
		v.s.delivered.keep(x, owned)
		if !owned && (x.removed || !w.parked.takes(x, alone)) {
			if b, ok := w.cache[number]; ok {
				w.forget(number, b)
			}
			continue
		}
		if v.rewrites(x) {
			x.compact = v.compact
		}
		x.keep()
		w.cache[number] = believed{x}
		w.ids[x.row.ID] = number
		if !owned {
			w.forgetParked(w.parked.add(number))
		}
	}
}

// mark marks how far queues are empty now.
func (v *view) mark() {
	m := &v.s.marks
	for key, e := range v.emptied {
		m.set([]byte(key), e.from, e.until)
	}
	for queue, due := range v.queues { // what was found and not taken
		if len(due) > 0 && queue.Builds == "" {
			m.back(v.s.sql.layout.queueKey(queue), due[0].at)
		}
	}
	for _, x := range v.works {
		if x.moved && x.place.Kind == ledger.Queued && x.place.Queue.Builds == "" {
			m.back(v.s.sql.layout.queueKey(x.place.Queue), x.place.At)
		}
	}
}

// unreachable is an error of making a connection: nothing was sent.
type unreachable struct{ error }

func (e *unreachable) Unwrap() error { return e.error }

// abandon ends a transaction that is not made, and returns err.
func (s *Store) abandon(v *view, err error) error {
	conn := s.writer.conn
	if !v.begun || conn.IsClosed() || s.writer.pipe.settle() != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(context.Background(), s.writer.until)
	defer cancel()
	if _, failed := conn.Exec(ctx, "rollback"); failed != nil {
		conn.Close(ctx)
	}
	return err
}
