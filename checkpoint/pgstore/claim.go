package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// A claim is a round of its own, and one message. Its statement takes what is due, as the
// ledger would, and reads what the owner will need; the ledger then makes the same of what
// it took. So most claims cost one commit and nothing else, and one that finds nothing
// costs a look at an index: nothing is locked, nothing is written.
//
//	answer       made   then
//	nothing due  –      the round was not made: its number is used again
//	executions   yes    the ledger claims them
//	an error     no     as of any round
//	none came    no     it is made again
//	none came    yes    what it took is lost, and claimed again: its wake_at is minus the round
//
// What the ledger does not claim of what was taken, because it is damaged, is given back
// in another round.

// claim is a command that claims.
type claim struct {
	req    checkpoint.ClaimRequest
	bare   bool // without the journals and the inboxes, of which something can't be read
	claims []checkpoint.Claim
	left   []leftover

	process, round int64 // that took what nobody knows of, because the answer did not arrive
}

// leftover is what was taken and can't be claimed.
type leftover struct {
	number, epoch uint64
	due           bool // nothing is wrong with it
}

// What a claim reads of each execution, beside its row, at most. The rest of a journal is
// read by Records.
const (
	claimRecords = 64
	claimBytes   = 32 << 10
)

// taken are the columns that a claim reads, x being what it took.
var taken = fmt.Sprintf(`
	CASE WHEN $5 OR coalesce(x.tail, 1) = 1 THEN (SELECT array[f.data] FROM $S.journal f WHERE f.number = x.number AND f.seq = 1)
		ELSE (SELECT array_agg(p.data ORDER BY p.seq) FROM (SELECT j.seq, j.data, sum(octet_length(j.data)) OVER (ORDER BY j.seq) AS upto FROM (
			SELECT seq, data FROM $S.journal WHERE number = x.number ORDER BY seq LIMIT %d) j) p WHERE p.seq = 1 OR p.upto <= %d) END,
	CASE WHEN NOT $5 AND x.inbox_tail > coalesce(x.inbox_seen, 0) THEN (SELECT array_agg(i.data ORDER BY i.seq) FROM (
		SELECT seq, data FROM $S.inbox WHERE number = x.number AND seq > coalesce(x.inbox_seen, 0) ORDER BY seq LIMIT %[1]d) i) END,
	CASE WHEN x.heartbeats THEN (SELECT coalesce(min(c.heartbeat_at), 0) FROM $S.callback c WHERE c.number = x.number AND c.heartbeat_at <> 0) END`, claimRecords, claimBytes)

// takeDue takes for each function its share of $4, and nothing that somebody else has
// locked. It divides by zero when the lease is over.
var takeDue = `WITH RECURSIVE clock AS MATERIALIZED (SELECT ` + nanoseconds + ` AS now), ` + queuesOf + `,
	open AS MATERIALIZED (SELECT q.*, ` + stuck("q") + ` AS stuck, CASE (` + stuck("q") + `, position($3::bytea IN q.builds || '/') > 0)
		WHEN (true, false) THEN 9223372036854775807 WHEN (false, true) THEN (SELECT now FROM clock) - ` + fmt.Sprint(ledger.UnfitFor) + `
		ELSE (SELECT now FROM clock) END AS until FROM queues q),
	waiting AS MATERIALIZED (SELECT o.*, row_number() OVER (PARTITION BY o.turn ORDER BY NOT o.stuck, CASE WHEN o.stuck THEN o.queue END, x.due_at, x.number) AS pass
		FROM open o CROSS JOIN LATERAL (SELECT d.due_at, d.number ` + dueInOpen + ` LIMIT $4) x),
	shares AS MATERIALIZED (SELECT w.queue, w.mark, w.until, count(*) AS n
		FROM (SELECT * FROM waiting ORDER BY pass, turn LIMIT $4) w GROUP BY w.queue, w.mark, w.until),
	x AS MATERIALIZED (SELECT e.* FROM shares o CROSS JOIN LATERAL (SELECT d.* ` + dueInOpen + ` LIMIT o.n FOR UPDATE SKIP LOCKED) e),
	renewed AS (` + strings.NewReplacer("$1", "$6", "$2", "$7", "$3", "$8", "RETURNING", "AND EXISTS (SELECT FROM x) RETURNING").Replace(renewLease) + `),
	claimed AS (UPDATE $S.execution e SET rev = coalesce(e.rev, 1) + 1, owner = $6, epoch = coalesce(e.epoch, 1) + 1, lost = false, wake_at = - $7::bigint,
		builds = '', queue = '', due_at = NULL FROM x WHERE e.number = x.number RETURNING 1)
	SELECT 1 / CASE WHEN (SELECT count(*) FROM renewed) = 1 AND (SELECT count(*) FROM claimed) = (SELECT count(*) FROM x) THEN 1 ELSE 0 END,
		(SELECT now FROM clock), (SELECT count(*) FROM waiting), `

// wakeAtOf is what wake_at is of what a round has claimed. Nothing else reads it there.
func wakeAtOf(round int64) int64 { return -round }

// Claim makes the caller the owner of executions that are due.
func (s *Store) Claim(ctx context.Context, req checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	if req.Max <= 0 || len(req.Functions) == 0 {
		return nil, ctx.Err()
	}
	c := &claim{req: req}
	err := s.do(ctx, &command{claim: c})
	if isDamage(err) {
		c.bare = true
		err = s.do(ctx, &command{claim: c})
	}
	if isDamage(err) {
		found, failed := s.setAside(ctx, &req)
		if failed != nil || !found {
			return nil, errors.Join(err, failed)
		}
		err = s.do(ctx, &command{claim: c})
	}
	if err != nil {
		return nil, err
	}
	for _, l := range c.left {
		if err := s.do(context.WithoutCancel(ctx), &command{change: l.giveBack}); err != nil {
			s.log.Error("durable: an execution that can't be claimed stays with this process", "schema", s.opts.Schema, "number", l.number, "error", err.Error())
		}
	}
	return c.claims, nil
}

// giveBack takes an execution that was taken and not claimed out of what this process
// owns: what is damaged out of what is due, too.
func (l leftover) giveBack(v *view, r *ledger.Round) error {
	row, err := v.Load(l.number)
	if err != nil || row == nil || !row.Owned || row.Epoch != l.epoch || v.works[l.number].owner != v.s.process.Load() {
		return err
	}
	if l.due {
		return r.Recover(l.number)
	}
	v.Move(l.number, ledger.Place{Kind: ledger.Owned}, ledger.Place{})
	return nil
}

// tryClaim makes a claim.
func (s *Store) tryClaim(c *claim) (hints []checkpoint.Hint, err error) {
	w := &s.writer
	if c.round != 0 {
		if c.process == s.process.Load() {
			lost := &command{change: c.lose}
			if again, _, err := s.try([]*command{lost}, true); err != nil {
				return nil, err
			} else if again || lost.Err != nil {
				return nil, errLapsed // a new lease gives it back
			}
		}
		c.round = 0
	}
	w.news = nil
	v := s.newView(true, 0)
	r := ledger.NewRound(v, w.turns)
	functions := w.turns.Order(c.req.Functions)
	keys := s.sql.layout.queueKeys(functions)
	marks := s.marks.of(keys)
	limit := min(int64(c.req.Max), math.MaxInt32)
	var waiting int64 // that it has seen; one more than it can take may be many more
	b := &pgx.Batch{}
	s.set(b)
	b.Queue(s.sql.claim, keys, marks, []byte(ledger.Holding(c.req.Build)), limit, c.bare,
		s.process.Load(), w.round+1, int64(s.opts.Lease)).Query(func(rows pgx.Rows) (err error) {
		waiting, err = v.takeDue(rows)
		return err
	})
	if _, err := w.pipe.send(b, nil); err != nil {
		return nil, err
	}
	for i, f := range functions {
		key := string(keys[i])
		switch due := v.queues[ledger.Queue{Function: f}]; {
		case waiting < limit: // that was all
			v.emptied[key] = emptied{marks[i], v.now}
		case len(due) > 0:
			v.emptied[key] = emptied{marks[i], due[len(due)-1].at}
		}
	}
	c.claims, c.left = nil, nil
	if len(v.works) == 0 {
		v.mark()
		return nil, nil
	}
	r.Begin(time.Unix(0, v.now))
	if c.claims, err = r.Claim(&c.req); err != nil {
		s.leased(time.Time{}) // what was taken is nobody's: only a new lease gives it back
		return nil, err
	}
	for i := range c.claims {
		x := v.works[c.claims[i].Number]
		c.claims[i].Records, c.claims[i].Inbox = x.journal, x.entries
	}
	for number, x := range v.works {
		if x.place.Kind != ledger.Owned {
			c.left = append(c.left, leftover{number, x.base.Epoch + 1, x.place.Kind == ledger.Queued})
			delete(v.works, number)
		}
	}
	v.keep(v.sent)
	return r.Hints(), nil
}

// lose makes due what a round has taken that nobody knows of.
func (c *claim) lose(v *view, r *ledger.Round) error {
	var numbers []int64
	b := &pgx.Batch{}
	b.Queue(v.s.sql.claimed, c.process, wakeAtOf(c.round)).Query(func(rows pgx.Rows) (err error) {
		numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err := v.begin(b); err != nil || len(numbers) == 0 {
		return err
	}
	if err := v.load(nil, numbers); err != nil {
		return err
	}
	for _, n := range numbers {
		if err := r.Recover(uint64(n)); err != nil {
			return err
		}
	}
	return nil
}

// takeDue adds what a claim has taken to the round.
func (v *view) takeDue(rows pgx.Rows) (waiting int64, err error) {
	defer rows.Close()
	for rows.Next() {
		w := &work{row: new(checkpoint.Row)}
		c := newColumns(w)
		var one int
		var journal, inbox [][]byte
		if err := rows.Scan(append([]any{&one, &v.now, &waiting}, append(c.targets(), &journal, &inbox, &w.beat)...)...); err != nil {
			return 0, err
		}
		c.done()
		w.based()
		if w.journal, err = decodeAll(journal, 0); len(w.journal) > 0 {
			w.first = &w.journal[0]
		} else {
			w.damage = v.s.corrupt(w.row.Number, 1, cmp.Or(err, errMissing))
		}
		if entries, _ := decodeAll(inbox, w.row.InboxSeen); len(entries) > 0 && entries[len(entries)-1].Seq == w.row.InboxTail {
			w.entries = entries
			w.learn(entries)
		}
		v.put(w)
		q := w.place.Queue
		if q.Builds != "" && len(v.queues[q]) == 0 { // that builds hold: there are never many that this build may still try
			v.held[q.Function] = append(v.held[q.Function], q)
		}
		v.queues[q] = append(v.queues[q], ledgerDue{w.place.At, w.row.Number})
	}
	if err = rows.Err(); err != nil || len(v.works) > 0 {
		err = v.sawLease(err)
	}
	return waiting, err
}
