package pgstore

import (
	"errors"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// begin begins the transaction: its first statement takes the process's row, so that
// nobody can find the lease run out before it ends. What is queued goes with it.
func (v *view) begin(more *pgx.Batch) (err error) {
	if v.err != nil {
		return v.err
	}
	if v.begun {
		if more.Len() > 0 {
			_, err = v.s.writer.pipe.send(more, nil)
		}
	} else {
		w := &v.s.writer
		b := &pgx.Batch{}
		b.Queue("begin isolation level read committed") // what a later statement sees may be newer, see recover
		v.s.set(b)
		b.Queue(v.s.sql.renew, v.s.process.Load(), w.round+1, int64(v.s.opts.Lease)).QueryRow(v.renewed)
		b.QueuedQueries = append(b.QueuedQueries, more.QueuedQueries...)
		v.begun = true
		_, err = w.pipe.send(b, nil)
	}
	if err != nil {
		return v.failed(err)
	}
	return nil
}

var errLapsed = errors.New("durable: the lease has run out")

// renewed takes the answer of the statement that renews the lease.
func (v *view) renewed(row pgx.Row) error {
	var one int
	return v.sawLease(row.Scan(&one, &v.now))
}

// sawLease makes of an error what it says of the lease, or takes the time.
func (v *view) sawLease(err error) error {
	if e := refusal(err); e != nil && e.Code == divisionByZero {
		return errLapsed
	}
	if err == nil {
		v.s.sawClock(v.sent, v.now)
	}
	return err
}

// load reads and locks executions.
func (v *view) load(ids []string, numbers []int64) error {
	b := &pgx.Batch{}
	v.queueLoad(b, ids, numbers, nil)
	err := v.begin(b)
	if e := refusal(err); e != nil && e.Code == lockNotAvailable {
		w := &v.s.writer.wanted
		w.ids, w.numbers = append(w.ids, ids...), append(w.numbers, numbers...)
	}
	return err
}

// queueLoad asks for executions, and for those that parents have invoked and that run.
func (v *view) queueLoad(b *pgx.Batch, ids []string, numbers, parents []int64) {
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		hashes[i] = v.s.sql.layout.idKey(id)
	}
	sql, args := v.s.sql.lock, []any{hashes, numbers}
	switch {
	case v.locks.taken:
		sql = v.s.sql.lockNow
	case len(parents) > 0:
		sql, args = v.s.sql.lockFamilies, append(args, parents)
	}
	v.locks.taken = true
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		if err := v.take(rows); err != nil {
			return err
		}
		for _, id := range ids {
			if _, ok := v.ids[id]; !ok {
				v.ids[id] = 0
			}
		}
		return nil
	})
	if len(parents) > 0 {
		v.queueFamilies(b, parents) // some may have come while it waited
	}
}

// take adds the executions that were read to those of the round.
func (v *view) take(rows pgx.Rows) error {
	works, err := pgx.CollectRows(rows, rowOf)
	for _, w := range works {
		v.hold(w)
	}
	return err
}

// draw takes numbers for executions that will be made.
func (v *view) draw(n int) error {
	b := &pgx.Batch{}
	v.queueDraw(b, n)
	return v.begin(b)
}

// fewest is how many numbers are drawn at once, at least: one more costs nothing beside
// the statement.
const fewest = 8

func (v *view) queueDraw(b *pgx.Batch, n int) {
	b.Queue(v.s.sql.draw, max(n, fewest)).Query(func(rows pgx.Rows) error {
		w := &v.s.writer
		numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if len(w.numbers) == 0 {
			w.drawn = time.Now()
		}
		w.numbers = append(w.numbers, numbers...)
		return err
	})
}

func (v *view) callback(number uint64, operationID string) (c ledger.Callback, ok bool, err error) {
	b := &pgx.Batch{}
	b.Queue(v.s.sql.callback, int64(number), hash(operationID)).QueryRow(scanCallback(&c, &ok))
	err = v.begin(b)
	return c, ok && err == nil, err
}

func scanCallback(c *ledger.Callback, there *bool) func(pgx.Row) error {
	return func(row pgx.Row) error {
		err := row.Scan(&c.TimeoutAt, &c.HeartbeatTimeout, &c.HeartbeatAt, &c.Closed)
		if *there = err == nil; errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	}
}

// queueCallback asks for the callback that a command is about, behind the question for
// its execution.
func (v *view) queueCallback(b *pgx.Batch, c *command) {
	number := c.number
	if number == 0 {
		number = v.ids[c.ids[0]]
	}
	if number == 0 {
		return // it is asked for when the execution is known
	}
	if w := v.works[number]; w != nil {
		if _, ok := w.known[c.about]; ok {
			return
		}
	}
	var found ledger.Callback
	var there bool
	scan := scanCallback(&found, &there)
	b.Queue(v.s.sql.callback, int64(number), hash(c.about)).QueryRow(func(row pgx.Row) error {
		err := scan(row)
		if w := v.works[number]; err == nil && w != nil {
			w.known.learn(c.about, found, there)
		}
		return err
	})
}

// firstBeat is the earliest heartbeat of those that the round has not changed.
func (v *view) firstBeat(number uint64, changed map[string]ledger.Callback) (first int64, err error) {
	b := &pgx.Batch{}
	b.Queue(v.s.sql.firstBeat, int64(number), len(changed)+1).Query(func(rows pgx.Rows) error {
		var operation []byte
		var at int64
		_, err := pgx.ForEachRow(rows, []any{&operation, &at}, func() error {
			if _, ok := changed[string(operation)]; !ok && first == 0 {
				first = at
			}
			return nil
		})
		return err
	})
	return first, v.begin(b)
}

// children are those that run, or did before this round.
func (v *view) children(parent uint64) ([]uint64, error) {
	if _, ok := v.families[parent]; !ok {
		b := &pgx.Batch{}
		v.queueFamilies(b, []int64{int64(parent)})
		if err := v.begin(b); err != nil {
			return nil, err
		}
	}
	children := slices.Clone(v.families[parent])
	var unread []int64
	for _, n := range children {
		if !v.knowsNumber(n) {
			unread = append(unread, int64(n))
		}
	}
	if len(unread) > 0 {
		return children, v.load(nil, unread)
	}
	return children, nil
}

// queueFamilies asks for the children of parents. They are all that there are if the
// parents' rows are locked, or their revisions compared in the end: each new child changes
// that of its parent.
func (v *view) queueFamilies(b *pgx.Batch, parents []int64) {
	b.Queue(v.s.sql.children, parents).Query(func(rows pgx.Rows) error {
		if v.families == nil {
			v.families = make(map[uint64][]uint64)
		}
		for _, p := range parents {
			v.families[uint64(p)] = nil
		}
		var parent, child int64
		_, err := pgx.ForEachRow(rows, []any{&parent, &child}, func() error {
			v.families[uint64(parent)] = append(v.families[uint64(parent)], uint64(child))
			return nil
		})
		return err
	})
}

func (v *view) record(number, seq uint64) (r checkpoint.Record, err error) {
	var data []byte
	b := &pgx.Batch{}
	b.Queue(v.s.sql.record, int64(number), int64(seq)).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&data)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err := v.begin(b); err != nil {
		return r, err
	}
	if r, err = decodeLast(data, seq); err != nil {
		err = v.s.corrupt(number, seq, err)
	}
	return r, err
}

// recover makes due what the processes own whose lease has run out, in bites; more
// says that something is left.
func (v *view) recover(r *ledger.Round) (more bool, err error) {
	const bite = 1000
	var gone []int64
	b := &pgx.Batch{}
	b.Queue(v.s.sql.expired).Query(func(rows pgx.Rows) (err error) {
		gone, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err := v.begin(b); err != nil || len(gone) == 0 {
		return false, err
	}
	// Only now: those that were at work when their lease was looked at have ended.
	var left []locked
	b = &pgx.Batch{}
	b.Queue(v.s.sql.lockOwned, gone, bite).Query(func(rows pgx.Rows) error {
		works, err := pgx.CollectRows(rows, rowOf)
		for _, w := range works {
			left = append(left, v.hold(w))
		}
		return err
	})
	if err := v.begin(b); err != nil {
		return false, err
	}
	for _, l := range left {
		if err := r.Recover(l.row.Number); err != nil {
			return false, err
		}
	}
	if more = len(left) == bite; !more {
		v.gone = append(v.gone, gone...)
		v.writes++
	}
	return more, nil
}
