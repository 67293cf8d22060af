package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// After a failover a connection may lead to what is a replica now, or to a server that was
// told to take no writes for a while: it is alive, it refuses what writes, and what it
// reads may be old. So
//
//   - connections that the store makes go to a primary, of several hosts to the one that is;
//   - what is found not to write, or not to be a primary, is dropped, whoever made it, and
//     the same is asked of another one: nothing was changed;
//   - so is what lacks a round of this process that was acknowledged: it was the primary
//     before, and lives on. The process makes a round then, because it may also be the one
//     server that there is, gone back in time: that ends the lease, see register.

// errOnlyReads is of a session that is of no use any more.
var errOnlyReads = errors.New("the connection leads to a server, or a session, that takes no writes: a replica after a failover, or default_transaction_read_only; or to the primary before one, which lacks what was written since")

// toPrimary has connections made to primaries only, unless somebody has chosen. Of several
// hosts one that says nothing, because its machine is gone, must leave time for the others:
// all of them have an answer within a third of a lease, or none. One alone is waited for for
// a lease: then the system may have begun to ask it ever more rarely.
func toPrimary(config *pgx.ConnConfig, lease time.Duration) {
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	address := func(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
	hosts := map[string]bool{address(config.Host, config.Port): true}
	for _, f := range config.Fallbacks {
		hosts[address(f.Host, f.Port)] = true
	}
	switch n := len(hosts); {
	case n > 1:
		each := lease / 3 / time.Duration(n)
		config.ConnectTimeout = min(cmp.Or(config.ConnectTimeout, each), each)
	case config.ConnectTimeout == 0:
		config.ConnectTimeout = lease
	}
}

// isPrimary divides by zero on a replica.
const isPrimary = `SELECT 1 / CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END`

// isCurrent divides by zero on a replica, and where the row of process $1 is older than its
// round $2.
const isCurrent = `SELECT 1 / CASE WHEN pg_is_in_recovery() OR NOT EXISTS (SELECT FROM $S.process p
	WHERE p.id = $1 AND p.era >= $2::bigint / 256 AND p.round >= $2::bigint) THEN 0 ELSE 1 END`

// byKeys stands behind it, in the same message, which is one transaction: what follows finds
// its rows by keys, as all of it can. The server would rather read all of a table if it is
// mistaken about how much there is in it, as it is before it has statistics.
const byKeys = `, set_config('enable_seqscan', 'off', true) || set_config('enable_hashjoin', 'off', true) ||
	set_config('enable_mergejoin', 'off', true) || set_config('jit', 'off', true)`

// unsorted has it go along an index in the order that is asked for, and not read all of the
// table to sort it. What comes first is wanted, not all.
const unsorted = ` || set_config('enable_sort', 'off', true)`

// canWrite divides by zero in a transaction that can't.
const canWrite = `select 1 / case when current_setting('transaction_read_only') = 'off' then 1 else 0 end`

// onlyReads reports whether a server has refused a write because it takes none.
func onlyReads(err error) bool {
	e := refusal(err)
	return e != nil && e.Code == readOnlyTransaction
}

// session runs f on a connection of the pool. One that only reads is dropped; the error
// is errOnlyReads then.
func (s *Store) session(ctx context.Context, f func(*pgxpool.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	err = f(conn)
	if onlyReads(err) {
		err = errOnlyReads
	}
	if errors.Is(err, errOnlyReads) {
		drop(conn)
	}
	return err
}

func drop(conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Conn().Close(ctx)
}

// drops counts what was dropped of a pool that may be full of it.
type drops struct {
	pool *pgxpool.Pool
	n    int32
}

// another reports whether an error was one of a session, and there may be better ones at
// hand: it is not worth a pause.
func (d *drops) another(err error) bool {
	if !errors.Is(err, errOnlyReads) {
		return false
	}
	d.n++
	return d.n <= d.pool.Stat().MaxConns()
}

// batch makes queries on a connection of the pool, with settings, behind the question whether
// it may be asked.
func (s *Store) batch(ctx context.Context, b *pgx.Batch, settings string) error {
	question, args := s.mayBeAsked()
	return s.session(ctx, func(conn *pgxpool.Conn) error {
		all := &pgx.Batch{}
		old := false
		ask := func(question string, args []any, answer ...any) {
			all.Queue(question, args...).QueryRow(func(row pgx.Row) error {
				err := row.Scan(answer...)
				old = old || isOld(err)
				return err
			})
		}
		if settings != "" { // first: the question is one, too
			ask(isPrimary+settings, nil, nil, nil)
		}
		ask(question, args, nil)
		all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
		err := conn.SendBatch(ctx, all).Close()
		if old {
			return errOnlyReads
		}
		return err
	})
}

// mayBeAsked is the question for a server that has all that was acknowledged until now: it
// is to be made before a connection is sought. The answer may be an error that isOld.
func (s *Store) mayBeAsked() (sql string, args []any) {
	l := s.lease.Load()
	if l.until.IsZero() {
		return isPrimary, nil
	}
	return s.sql.isCurrent, []any{l.process, l.round}
}

// isOld reports whether a server has said that it is a replica, or that it lacks something.
func isOld(err error) bool {
	e := refusal(err)
	return e != nil && e.Code == divisionByZero
}

// unwritable is what the writer says when its session takes no writes.
func unwritable(err error) error { return fmt.Errorf("%w: %s", errOnlyReads, err) }
