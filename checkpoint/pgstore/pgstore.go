package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/queue"
	"github.com/durable-go/durable/internal/teller"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Store is a checkpoint.Store in a PostgreSQL database. Get one from Open or New.
type Store struct {
	opts    Options
	log     *slog.Logger // what it is given, nobody waits for
	teller  teller.Teller
	pool    *pgxpool.Pool // of those who read
	ownPool bool
	secret  []byte
	sql     statements
	clock   clock

	queue  *queue.Queue[*command]
	calls  *dispatch.Dispatcher
	writer writer
	marks  marks

	behindPace, newsPace pace // of looking behind the marks, and for news

	steps transactions
	seen  seen

	delivered delivered

	rumours rumours

	notifier *notifier
	listener atomic.Pointer[context.CancelFunc] // has the session that listens begun anew

	process   atomic.Int64 // the writer's lease, for those who look
	lease     atomic.Pointer[lease]
	company   company
	older     atomic.Bool                            // programs were alive then that know of no builds that are unfit
	listening atomic.Bool                            // notifications come
	missed    chan struct{}                          // another process says that it has not told everything
	looked    [allEnds + 1]atomic.Pointer[time.Time] // when it was looked for what has ended
	expiredTo atomic.Pointer[ending]                 // the end that Expire goes on behind; nil: it begins with the first
	closeBy   atomic.Int64                           // Unix nanoseconds, once the store closes
	line      atomic.Pointer[net.Conn]               // of the writer
	parted    chan struct{}                          // the connection that listens has ended
	life      context.Context
	end       context.CancelFunc
	looking   sync.WaitGroup
	written   chan struct{} // closed when the writer has ended
	closing   sync.Once
	closed    atomic.Bool

	committed atomic.Pointer[func(checkpoint.Commit)] // nil: nobody watches
}

var (
	_ checkpoint.Store     = (*Store)(nil)
	_ checkpoint.Leased    = (*Store)(nil)
	_ checkpoint.Deliverer = (*Store)(nil)
)

// Open opens the store in a database, and makes its schema if it is not there.
// It refuses one that can't keep what the store promises, by its version, its encoding or
// its settings, and says what to do. connString is a URL or a DSN as of pgxpool.ParseConfig. Beside the pool, which
// serves reads, a store has three connections: one writes, one listens, and one notifies
// other processes, if there are any; and up to Options.StepConns for transactions of
// steps, made when they are needed.
func Open(ctx context.Context, connString string, opts *Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, fmt.Errorf("durable: open the database: %w", err)
	}
	config.PingTimeout = opts.orDefaults().Lease / 4 // connections that were idle may have gone silent
	toPrimary(config.ConnConfig, opts.orDefaults().Lease)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("durable: open the database: %w", err)
	}
	s, err := New(ctx, pool, opts)
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.ownPool = true
	return s, nil
}

// New is Open for a pool that exists. It stays the caller's, who closes it after
// the store.
func New(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*Store, error) {
	s := &Store{opts: opts.orDefaults(), pool: pool, queue: queue.New[*command](maxRound, maxRoundBytes), calls: dispatch.New(), written: make(chan struct{}), parted: make(chan struct{}, 1), missed: make(chan struct{}, 1)}
	s.log = s.teller.Logger(s.opts.Logger.Handler())
	s.life, s.end = context.WithCancel(context.Background())
	s.marks.at = make(map[string]int64)
	now := time.Now()
	s.looked[newEnds].Store(&now)
	s.looked[allEnds].Store(&now)
	s.writer = writer{turns: ledger.NewTurns(), cache: make(map[uint64]believed), ids: make(map[string]uint64), next: make(map[ledger.Queue]int64)}
	if err := s.open(ctx); err != nil {
		s.end()
		s.calls.Close()
		s.disconnect()
		return nil, err
	}
	s.notifier = newNotifier(s)
	go s.write()
	if err := s.sweep(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.company.met.Store(false) // nobody has waited yet for what those did who are gone
	s.looking.Go(s.renew)
	s.looking.Go(s.look)
	s.looking.Go(func() { s.endListeners(s.life) })
	if !s.opts.NoListen {
		s.looking.Go(s.listen)
	}
	return s, nil
}

// maxSchema is how long names are, in bytes.
const maxSchema = 63

func (s *Store) open(ctx context.Context) (err error) {
	if n := len(s.opts.Schema); n > maxSchema {
		return fmt.Errorf("durable: the name of the schema %q has %d bytes: the server would cut it to %d, which may be the name of another one: shorten it", s.opts.Schema, n, maxSchema)
	}
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("durable: open the database: %w", err)
	}
	if err := s.inspect(ctx, s.writer.conn); err != nil {
		return fmt.Errorf("durable: open the database: %w", err)
	}
	var keys layout
	if s.secret, keys, err = migrate(ctx, s.writer.conn, &s.opts); err != nil {
		return err
	}
	s.sql = newStatements(s.opts.Schema, keys)
	return s.register(ctx)
}

// Secret was drawn when the schema was made.
func (s *Store) Secret() []byte { return slices.Clone(s.secret) }

// Now is the database's clock, as far as this process knows it: it is behind by
// no more than a message takes.
func (s *Store) Now() time.Time { return s.clock.now() }

// Shared is true: any number of processes may use the database.
func (s *Store) Shared() bool { return true }

// Watch sets who gets the hints, on the goroutine that calls done of Append.
func (s *Store) Watch(fn func(checkpoint.Hint)) { s.calls.Watch(fn) }

// Append changes a journal; done is called on the store's own goroutine.
func (s *Store) Append(a checkpoint.Append, done func(error)) {
	c := &command{Command: queue.Command{Done: done, Bytes: sizes(a.Records...)}, a: a}
	if err := ledger.CheckAppend(&a); err != nil {
		c.Err, c.Refused = err, true
	}
	if err := s.queue.Add(c); err != nil {
		s.calls.Done(done, err)
	}
}

// sizes is about how long the binary form of records is.
func sizes(records ...checkpoint.Record) (n int) {
	for i := range records {
		r := &records[i]
		n += 96 + len(r.OperationID) + len(r.Name) + len(r.Payload) + len(r.Failure) + len(r.Batch) + len(r.Keys)
	}
	return n
}

// Create makes an execution.
func (s *Store) Create(ctx context.Context, c checkpoint.Creation) (sum checkpoint.Summary, created bool, err error) {
	ids := []string{c.ID}
	if c.Caller != nil {
		ids = append(ids, c.Caller.ID)
	}
	err = s.do(ctx, &command{Command: queue.Command{Bytes: sizes(c.Started) + sizes(c.Records...)}, ids: ids, creates: true, change: func(v *view, r *ledger.Round) (err error) {
		if sum, created, err = r.Create(&c); !v.strict && !created && (err == nil || errors.Is(err, checkpoint.ErrExists)) {
			v.s.writer.beWary()
		}
		return err
	}})
	return sum, created && err == nil, err
}

// Disown gives up ownership as if the owner had died.
func (s *Store) Disown(ctx context.Context, id string, epoch uint64) error {
	return s.do(ctx, &command{ids: []string{id}, change: func(_ *view, r *ledger.Round) error { return r.Disown(id, epoch) }})
}

// Deliver puts an event from outside into an inbox.
func (s *Store) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	c := &command{Command: queue.Command{Bytes: sizes(d.Record)}, change: func(_ *view, r *ledger.Round) error { return r.Deliver(&d) }}
	switch d.Record.Type {
	case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
		c.about = d.Record.OperationID
	}
	return s.do(ctx, c.at(d.ID, d.Number))
}

// Heartbeat moves the heartbeat due time of a callback.
func (s *Store) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	change := func(_ *view, r *ledger.Round) error { return r.Heartbeat(&c) }
	return s.do(ctx, (&command{about: c.OperationID, change: change}).at(c.ID, c.Number))
}

// End gives an execution a final status from outside.
func (s *Store) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	ids := []string{e.ID}
	for i := range e.Deliver {
		ids = append(ids, e.Deliver[i].ID)
	}
	err = s.do(ctx, &command{ids: ids, change: func(_ *view, r *ledger.Round) (err error) {
		ended, err = r.End(&e)
		return err
	}})
	return ended && err == nil, err
}

// Resume lifts a hold.
func (s *Store) Resume(ctx context.Context, id string) error {
	return s.do(ctx, &command{ids: []string{id}, change: func(_ *view, r *ledger.Round) error { return r.Resume(id) }})
}

// Delete removes an execution that has ended.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.do(ctx, &command{ids: []string{id}, change: func(_ *view, r *ledger.Round) error { return r.Delete(id) }})
}

// do has the writer make a change and waits for it. If ctx ends first, the change
// is not made; once the writer has begun with it, do waits for the end.
func (s *Store) do(ctx context.Context, c *command) error { return s.queue.Do(ctx, c) }

// Close makes what is queued and gives up the lease: executions that are still
// owned are lost, and others may take them. While the database can't be reached it
// goes on trying for 3 s; what is not made then gets an error. It must not be called from done of
// Append, nor from the function set by Watch.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closeBy.Store(time.Now().Add(closePatience).UnixNano())
		s.deadline(time.Unix(0, s.closeBy.Load())) // the writer may wait for a network that is silent
		s.end()
		s.steps.close()
		s.looking.Wait()
		s.queue.Close()
		<-s.written
		s.resign()
		s.disconnect()
		s.notifier.close()
		s.closed.Store(true)
		s.calls.Close()
		if s.ownPool {
			s.pool.Close()
		}
		s.teller.CatchUpWithAll(lastLines, nil)
	})
	return nil
}

// lastLines is how long Close waits for a line of the log that does not get written.
const lastLines = time.Second

func (s *Store) disconnect() {
	if conn := s.writer.conn; conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
		s.writer.pipe.forget(checkpoint.ErrClosed)
		s.writer.conn = nil
	}
}

// closePatience is how long Close tries to reach the database.
const closePatience = 3 * time.Second

// patience is a context for what the writer tries again and again: until the lease has
// run out, or Close has waited long enough.
func (s *Store) patience(until time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	stop := context.AfterFunc(s.life, func() {
		select {
		case <-time.After(time.Until(time.Unix(0, s.closeBy.Load()))):
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// deadline is until when the writer waits for an answer, or until Close has waited long
// enough.
func (s *Store) deadline(t time.Time) error {
	err := (*s.line.Load()).SetDeadline(t)
	if by := s.closeBy.Load(); by != 0 && by < t.UnixNano() { // Close comes before or behind: it has the last word
		err = (*s.line.Load()).SetDeadline(time.Unix(0, by))
	}
	return err
}

// connect makes the writer's connection.
func (s *Store) connect(ctx context.Context) (err error) {
	s.disconnect()
	s.writer.conn, err = s.dial(ctx, s.ownMode)
	if err != nil {
		return err
	}
	s.writer.pipe = newPipe(s, s.writer.conn)
	line := s.writer.conn.PgConn().Conn()
	s.line.Store(&line)
	if s.opts.NoListen {
		return nil
	}
	// Every statement of the writer finds its rows by keys. To think about that anew each
	// time costs more than the statement; to think once, while the tables were empty,
	// would end in reading all of them. (What stands between might give the settings to
	// somebody else, if it can't LISTEN: each transaction has its own then, see set.)
	_, err = s.writer.conn.Exec(ctx, `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
		SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET `+s.idleTimeout(), pgx.QueryExecModeSimpleProtocol)
	return err
}

// ownMode is how the store's own connections speak to the server, unless somebody has chosen.
func (s *Store) ownMode(config *pgx.ConnConfig) {
	if s.opts.NoListen && config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// The server then plans each statement for the tables as they are: see connect.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// dial makes a connection as the pool would, with its hooks: they know passwords that
// expire, and set roles.
func (s *Store) dial(ctx context.Context, change func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	config := s.pool.Config()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	toPrimary(config.ConnConfig, s.opts.Lease)
	change(config.ConnConfig)
	asking := ask(config.ConnConfig)
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	asking.closed.Store(true)
	if err == nil && config.AfterConnect != nil {
		if err = config.AfterConnect(ctx, conn); err != nil {
			conn.Close(ctx)
			return nil, err
		}
	}
	if err == nil && !s.opts.NoListen {
		if _, err = conn.Exec(ctx, own, s.opts.Lease.Milliseconds()); err != nil {
			conn.Close(ctx)
			return nil, err
		}
	}
	return conn, err
}

// idleTimeout is the setting of idle.
func (s *Store) idleTimeout() string {
	return fmt.Sprintf("idle_in_transaction_session_timeout = %d", s.idle().Milliseconds())
}

// set has a transaction begin with the settings that the session does not have, see connect.
func (s *Store) set(b *pgx.Batch) {
	if s.opts.NoListen {
		b.Queue(`SELECT set_config('idle_in_transaction_session_timeout', $1, true)`+byKeys, fmt.Sprint(s.idle().Milliseconds()))
	}
}
