package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// transactions are those of steps, in which the user's code writes. They have a pool of
// their own, made when the first one begins: whatever they wait for, the store goes on.
type transactions struct {
	mu     sync.Mutex
	pool   *pgxpool.Pool
	open   map[*transaction]bool
	closed bool
	news   []advance // committed since the writer looked

	hindered atomic.Bool // the log says that none can begin
}

// advance is what a transaction has changed of an execution.
type advance struct {
	number          uint64
	rev             int64
	tail, lastEvent uint64
	doubtful        bool // others may have changed it since
}

// transaction is one that the body of a step works in.
type transaction struct {
	s      *Store
	tx     pgx.Tx
	commit string
	conn   *pgxpool.Conn // nil: it has ended, or is about to; under the lock of all
}

var _ checkpoint.Transactor = (*Store)(nil)

// Begin begins a transaction for a step, on a connection of at most Options.StepConns.
// options are pgx.TxOptions, or nil. The body gets a pgx.Tx.
//
// The server ends a transaction that is idle for longer than the lease: a process that
// was stopped must not keep what it has locked. A body that needs longer pauses sets
// idle_in_transaction_session_timeout with SET LOCAL.
func (s *Store) Begin(ctx context.Context, options any) (checkpoint.Transaction, error) {
	opts, ok := options.(pgx.TxOptions)
	switch {
	case !ok && options != nil:
		return nil, fmt.Errorf("%w: the options of a transaction are a %T: give it pgx.TxOptions", checkpoint.ErrMisused, options)
	case opts.AccessMode == pgx.ReadOnly:
		return nil, fmt.Errorf("%w: the transaction of a step can't be read-only: its record is written in it", checkpoint.ErrMisused)
	}
	pool, err := s.steps.connections(s)
	if err != nil {
		return nil, err
	}
	opts.BeginQuery = fmt.Sprintf("%s; set local idle_in_transaction_session_timeout = %d; set local durable.step = 'open'; %s; %s", beginQuery(&opts), s.opts.Lease.Milliseconds(), keepsCommits, canWrite)
	commit := cmp.Or(opts.CommitQuery, "commit")
	opts.CommitQuery = neverSent
	beginning, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)() // Close waits for it
	conn, tx, err := s.beginStep(beginning, pool, opts)
	if err != nil {
		return nil, err
	}
	t := &transaction{s: s, tx: tx, commit: commit, conn: conn}
	s.steps.mu.Lock()
	s.steps.open[t] = true
	closed := s.steps.closed
	s.steps.mu.Unlock()
	if closed {
		t.Rollback()
		return nil, checkpoint.ErrClosed
	}
	return t, nil
}

// beginStep begins a transaction. What hinders it has not to do with the body, of which
// nothing has run: it is tried again, on other connections, until ctx ends or the lease is
// over, under which alone the transaction could commit.
func (s *Store) beginStep(ctx context.Context, pool *pgxpool.Pool, opts pgx.TxOptions) (*pgxpool.Conn, pgx.Tx, error) {
	drops := drops{pool: pool}
	process, _ := s.Lease()
	var hindrance error
	for try := 0; ; try++ {
		conn, tx, err := beginOn(ctx, pool, opts)
		switch {
		case err == nil:
			s.steps.hindered.Store(false)
			return conn, tx, nil
		case ctx.Err() != nil && hindrance != nil: // what the context has cut off says less
			return nil, nil, fmt.Errorf("durable: begin the transaction of a step: %w: %w", ctx.Err(), hindrance)
		case ctx.Err() != nil, refusal(err) != nil:
			return nil, nil, fmt.Errorf("durable: begin the transaction of a step: %w", err)
		}
		hindrance = err
		if drops.another(err) {
			continue
		}
		if now, until := s.Lease(); now != process || !time.Now().Before(until) {
			return nil, nil, fmt.Errorf("durable: begin the transaction of a step: %w: %w", errLapsed, inOwnTime(err, s.opts.Lease))
		}
		if !s.steps.hindered.Swap(true) { // once, not for each step
			s.log.Warn("durable: steps in transactions wait until one can begin", "schema", s.opts.Schema, "error", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond << min(try, 6)):
		}
	}
}

func beginOn(ctx context.Context, pool *pgxpool.Pool, opts pgx.TxOptions) (*pgxpool.Conn, pgx.Tx, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("no connection: %w", err)
	}
	tx, err := conn.BeginTx(ctx, opts)
	if err == nil {
		return conn, tx, nil
	}
	drop(conn)
	release(conn)
	switch e := refusal(err); {
	case e == nil:
	case e.Code == divisionByZero, e.Code == featureNotSupported && opts.AccessMode == pgx.ReadWrite: // on a replica
		err = unwritable(e)
	}
	return nil, nil, err
}

// neverSent is how pgx would commit: the store does it, with a statement that has to stay
// among the prepared ones.
const neverSent = "-- the step's record is committed with it"

// beginQuery is what pgx makes of the options.
func beginQuery(o *pgx.TxOptions) string {
	if o.BeginQuery != "" {
		return o.BeginQuery
	}
	q := "begin"
	if o.IsoLevel != "" {
		q += " isolation level " + string(o.IsoLevel)
	}
	return q + " " + string(o.AccessMode) + " " + string(o.DeferrableMode)
}

// connections is the pool, which is made when it is first needed.
func (ts *transactions) connections(s *Store) (*pgxpool.Pool, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return nil, checkpoint.ErrClosed
	}
	if ts.pool == nil {
		config := s.pool.Config()
		config.MinConns, config.MinIdleConns = 0, 0
		config.MaxConns = cmp.Or(s.opts.StepConns, config.MaxConns)
		toPrimary(config.ConnConfig, s.opts.Lease)
		config.BeforeConnect = askEach(config.BeforeConnect)
		pool, err := pgxpool.NewWithConfig(s.life, config)
		if err != nil {
			return nil, fmt.Errorf("durable: connections for the transactions of steps: %w", err)
		}
		ts.pool, ts.open = pool, make(map[*transaction]bool)
	}
	return ts.pool, nil
}

// abandonAll ends all transactions that do not commit yet.
func (ts *transactions) abandonAll() {
	ts.mu.Lock()
	open := make([]*transaction, 0, len(ts.open))
	for t := range ts.open {
		open = append(open, t)
	}
	ts.mu.Unlock()
	for _, t := range open {
		t.Abandon()
	}
}

func (ts *transactions) close() {
	ts.mu.Lock()
	ts.closed = true
	ts.mu.Unlock()
	ts.abandonAll()
	if ts.pool != nil {
		ts.pool.Close()
	}
}

// take is the connection for whoever ends the transaction; nil for all others.
func (t *transaction) take() (conn *pgxpool.Conn) {
	ts := &t.s.steps
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
	conn, t.conn = t.conn, nil
	return conn
}

// Handle is the pgx.Tx of the body.
func (t *transaction) Handle() any { return stepTx{t.tx} }

// stepTx is a transaction that the store ends, not the body. What it begins is a savepoint.
type stepTx struct{ pgx.Tx }

var errNotYours = errors.New("durable: the transaction of a step is committed with the step's record when its body returns without an error, and rolled back otherwise: return instead")

func (stepTx) Commit(context.Context) error   { return errNotYours }
func (stepTx) Rollback(context.Context) error { return errNotYours }

// Rollback undoes what the body did.
func (t *transaction) Rollback() {
	if conn := t.take(); conn != nil {
		t.rollback(conn)
	}
}

// release gives a connection back. One that was closed is not the pool's any more, which
// would wait when it closes until the server has closed it, too.
func release(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() {
		conn.Hijack()
	} else {
		conn.Release()
	}
}

func (t *transaction) rollback(conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t.tx.Rollback(ctx) // or the connection is closed
	release(conn)
}

// Abandon does so while the body may use the connection: it is closed under it, and the
// server is asked to stop what it does for it.
func (t *transaction) Abandon() {
	conn := t.take()
	if conn == nil {
		return
	}
	raw := conn.Hijack().PgConn()
	go func() {
		raw.Conn().Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		raw.CancelRequest(ctx)
	}()
}

// Commit writes the records and commits, in one message. The statement compares owner,
// epoch and tail, which any takeover and any other append changes.
func (t *transaction) Commit(a checkpoint.Append) error {
	conn := t.take()
	if conn == nil {
		return errors.New("durable: the transaction of the step has been rolled back: its connection or the lease was lost, or the step was to end")
	}
	if err := ledger.CheckAppend(&a); err != nil {
		t.rollback(conn)
		return err
	}
	s := t.s
	ctx, cancel := context.WithTimeout(s.life, s.opts.Lease)
	defer cancel()
	switch conn.Conn().PgConn().TxStatus() {
	case 'I':
		release(conn)
		return errEnded
	case 'E':
		t.rollback(conn)
		return errors.New("durable: the body of the step returned no error, but a statement in its transaction has failed: return its error, or undo it with a savepoint (tx.Begin)")
	}
	l := &lines{}
	l.add(0, a.Records, false)
	news := advance{tail: a.Tail + uint64(len(a.Records)), lastEvent: lastEvent(a.Records)}
	b := &pgx.Batch{}
	b.Queue("set local enable_seqscan = off") // a plan is kept; those of the writer have it, too
	guarded := false
	b.Queue(s.sql.within, append([]any{s.sql.layout.idKey(a.ID), s.process.Load(), int64(a.Epoch), int64(a.Tail), int64(news.tail), int64(news.lastEvent)}, l.args()[1:]...)...).QueryRow(func(row pgx.Row) error {
		var one int
		err := row.Scan(&one, &news.number, &news.rev)
		e := refusal(err)
		guarded = e != nil && e.Code == divisionByZero
		return err
	})
	b.Queue(t.commit)
	over := committing(conn.Conn())
	err := t.tx.SendBatch(ctx, b).Close()
	if !conn.Conn().IsClosed() {
		over()
	}
	switch {
	case err == nil:
		done, cancel := context.WithCancel(ctx)
		cancel()
		t.tx.Commit(done) // from now on it refuses what a goroutine of the body's may still do
		release(conn)
		s.steps.committed(news)
		return nil
	case guarded:
		t.rollback(conn)
		if _, err := s.fate(ctx, &a, nil, nil); err != nil {
			return err
		}
		return errEnded // nobody else has changed anything
	case refusal(err) != nil, pgconn.SafeToRetry(err):
		t.rollback(conn)
		return fmt.Errorf("durable: the transaction of the step was not committed: %w", inOwnTime(err, s.opts.Lease))
	}
	conn.Conn().Close(ctx)
	release(conn)
	if made, failed := s.fate(ctx, &a, l.data, err); failed != nil || made {
		return failed
	}
	return fmt.Errorf("durable: the transaction of the step was not committed: %w", inOwnTime(err, s.opts.Lease))
}

var errEnded = fmt.Errorf("%w: the body of the step has ended its transaction with SQL of its own: what it wrote may be committed without the step, let it run no COMMIT and no ROLLBACK", checkpoint.ErrMisused)

// fate finds out whether the commit of an append was made whose answer did not arrive;
// without data it was not, and fate tells why. It waits for those that hold the execution's row, and tries as long as ctx lasts.
func (s *Store) fate(ctx context.Context, a *checkpoint.Append, data [][]byte, cause error) (made bool, err error) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		news := advance{lastEvent: lastEvent(a.Records)}
		var owner *int64
		var epoch int64
		var found [][]byte
		question, args := s.mayBeAsked()
		err = s.session(ctx, func(conn *pgxpool.Conn) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				err := tx.QueryRow(ctx, question, args...).Scan(nil)
				if isOld(err) {
					return errOnlyReads
				}
				if err == nil {
					err = tx.QueryRow(ctx, s.sql.lockStep, s.sql.layout.idKey(a.ID)).
						Scan(&news.number, &news.rev, &owner, &epoch, &news.tail)
				}
				if err != nil {
					return err
				}
				rows, err := tx.Query(ctx, s.sql.stepWrites, news.number, int64(a.Tail), len(data))
				if err != nil {
					return err
				}
				found, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
				return err
			})
		})
		mine := err == nil && owner != nil && *owner == s.process.Load() && epoch == int64(a.Epoch)
		switch {
		case err == nil && len(data) > 0 && slices.EqualFunc(found, data, bytes.Equal):
			news.doubtful = true
			s.steps.committed(news)
			return true, nil
		case errors.Is(err, pgx.ErrNoRows), err == nil && !mine:
			return false, fmt.Errorf("step of %s under epoch %d: %w", a.ID, a.Epoch, checkpoint.ErrFenced)
		case err == nil && news.tail == a.Tail:
			return false, nil
		case err == nil:
			return false, fmt.Errorf("step of %s after record %d, the journal ends with %d: %w", a.ID, a.Tail, news.tail, checkpoint.ErrConflict)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("step of %s: %w: %w", a.ID, checkpoint.ErrUnknown, errors.Join(inOwnTime(cause, s.opts.Lease), inOwnTime(err, s.opts.Lease)))
		case <-time.After(wait):
		}
	}
}

// lastEvent is the number of the last event of records.
func lastEvent(records []checkpoint.Record) (last uint64) {
	for i := range records {
		if r := &records[i]; r.Events > 0 {
			last = r.EventID + uint64(r.Events) - 1
		}
	}
	return last
}

// committed tells the writer what it has to know.
func (ts *transactions) committed(a advance) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.news = append(ts.news, a)
}

// catchUp makes what the writer has kept what the transactions of steps have left.
func (s *Store) catchUp() {
	s.steps.mu.Lock()
	news := s.steps.news
	s.steps.news = nil
	s.steps.mu.Unlock()
	w := &s.writer
	for _, n := range news {
		switch x, ok := w.cache[n.number]; {
		case ok && n.doubtful:
			w.forget(n.number, x)
		case !ok || x.rev >= n.rev:
		case x.rev == n.rev-1:
			x.rev, x.row.Tail, x.row.LastEvent = n.rev, n.tail, max(x.row.LastEvent, n.lastEvent)
			x.base = *x.row
		default:
			w.forget(n.number, x)
		}
	}
}

// lose ends what was begun under a lease that has run out.
func (s *Store) lose() { s.steps.abandonAll() }
