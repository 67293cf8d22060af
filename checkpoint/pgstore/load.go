package pgstore

import (
	"context"
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
			err = v.s.writer.conn.SendBatch(context.Background(), more).Close()
		}
	} else {
		w := &v.s.writer
		b := &pgx.Batch{}
		b.Queue("begin isolation level read committed") // what a later statement sees may be newer, see recover
		if v.s.opts.NoListen {                          // see connect
			b.Queue("set local " + v.s.idleTimeout())
		}
		b.Queue(v.s.sql.renew, v.s.process.Load(), w.round+1, int64(v.s.opts.Lease)).QueryRow(v.renewed)
		b.QueuedQueries = append(b.QueuedQueries, more.QueuedQueries...)
		v.begun = true
		err = w.conn.SendBatch(context.Background(), b).Close()
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
	v.queueLoad(b, ids, numbers)
	return v.begin(b)
}

func (v *view) queueLoad(b *pgx.Batch, ids []string, numbers []int64) {
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		hashes[i] = hash(id)
	}
	b.Queue(v.s.sql.lock, hashes, numbers).Query(func(rows pgx.Rows) error {
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
}

// take adds the executions that were read to those of the round.
func (v *view) take(rows pgx.Rows) error {
	works, err := pgx.CollectRows(rows, v.rowOf)
	for _, w := range works {
		if v.works[w.row.Number] == nil {
			v.put(w)
		}
	}
	return err
}

// draw takes numbers for executions that will be made.
func (v *view) draw(n int) error {
	b := &pgx.Batch{}
	v.queueDraw(b, n)
	return v.begin(b)
}

func (v *view) queueDraw(b *pgx.Batch, n int) {
	b.Queue(v.s.sql.draw, n).Query(func(rows pgx.Rows) error {
		w := &v.s.writer
		numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if len(w.numbers) == 0 {
			w.drawn = time.Now()
		}
		w.numbers = append(w.numbers, numbers...)
		return err
	})
}

// queueKeys are those of functions, as far as no build holds them.
func queueKeys(functions []string) [][]byte {
	keys := make([][]byte, len(functions))
	for i, f := range functions {
		keys[i] = queueKey(ledger.Queue{Function: f})
	}
	return keys
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
func (v *view) children(parent uint64) (children []uint64, err error) {
	b := &pgx.Batch{}
	b.Queue(v.s.sql.children, int64(parent)).Query(func(rows pgx.Rows) (err error) {
		numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		for _, n := range numbers {
			children = append(children, uint64(n))
		}
		return err
	})
	if err := v.begin(b); err != nil || len(children) == 0 {
		return nil, err
	}
	var unread []int64
	for _, n := range children {
		if v.works[n] == nil && (v.strict || v.s.writer.cache[n] == nil) {
			unread = append(unread, int64(n))
		}
	}
	if len(unread) > 0 {
		err = v.load(nil, unread)
	}
	return children, err
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
	if r, _, err = checkpoint.DecodeRecord(data); err != nil {
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
	var left []uint64
	b = &pgx.Batch{}
	b.Queue(v.s.sql.lockOwned, gone, bite).Query(func(rows pgx.Rows) error {
		works, err := pgx.CollectRows(rows, v.rowOf)
		for _, w := range works {
			if v.works[w.row.Number] == nil {
				v.put(w)
			}
			left = append(left, w.row.Number)
		}
		return err
	})
	if err := v.begin(b); err != nil {
		return false, err
	}
	for _, number := range left {
		if w := v.works[number]; !slices.Contains(gone, w.owner) {
			continue // the round has done something else with it
		}
		if err := r.Recover(number); err != nil {
			return false, err
		}
	}
	if more = len(left) == bite; !more {
		v.gone = append(v.gone, gone...)
		v.writes++
	}
	return more, nil
}
