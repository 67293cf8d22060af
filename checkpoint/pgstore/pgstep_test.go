package pgstore_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgstep"
	"github.com/durable-go/durable/durableseal"
	"github.com/durable-go/durable/internal/pause"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// till is the table of payments that the transactional steps of the tests write: the
// outside witness. Nothing of it is unique.
type till struct {
	name  string
	crash func() // called at the end of a body; nil: nothing happens
}

func newTill(t testing.TB, c *cluster, schema string) *till {
	k := &till{name: pgx.Identifier{schema + " till"}.Sanitize()}
	c.exec(t, `CREATE TABLE `+k.name+` (execution text NOT NULL, step int NOT NULL, value bigint NOT NULL)`)
	return k
}

// pay writes a payment of a random value, and returns that.
func (k *till) pay(ctx context.Context, tx pgx.Tx, step int) (int64, error) {
	info, _ := durable.StepInfoFrom(ctx)
	value := rand.Int64()
	_, err := tx.Exec(ctx, `INSERT INTO `+k.name+` VALUES ($1, $2, $3)`, info.ExecutionID, step, value)
	if err == nil && k.crash != nil {
		k.crash()
	}
	if err == nil && rand.IntN(20) == 0 {
		err = errors.New("it fails now and then")
	}
	return value, err
}

var often = durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1000, Initial: 5 * time.Millisecond, Max: 50 * time.Millisecond})

const payments = 8 // of an execution: half one after the other, half side by side

// function makes payments, and other steps between them.
func (k *till) function() *durable.Function[int, []int64] {
	one := func(ctx *durable.Context, i int) (int64, error) {
		return pgstep.Step(ctx, "pay", func(c context.Context, tx pgx.Tx) (int64, error) { return k.pay(c, tx, i) }, often)
	}
	return durable.Define("pay", func(ctx *durable.Context, _ int) ([]int64, error) {
		var values []int64
		for i := range payments / 2 {
			v, err := one(ctx, i)
			if err != nil {
				return nil, err
			}
			values = append(values, v)
			if err := durable.Do(ctx, "other", func(context.Context) error { return nil }); err != nil {
				return nil, err
			}
		}
		batch, err := durable.Map(ctx, "side by side", make([]int, payments/2), func(ctx *durable.Context, _, i int) (int64, error) {
			return one(ctx, payments/2+i)
		})
		if err != nil {
			return nil, err
		}
		return append(values, batch.Values()...), nil
	})
}

// check compares what executions returned with what is in the till.
func (k *till) check(t testing.TB, c *cluster, results map[string][]int64) (wrong []string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), c.url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), `SELECT execution, step, value FROM `+k.name)
	require.NoError(t, err)
	paid := make(map[string][]int64)
	var id string
	var step int
	var value int64
	_, err = pgx.ForEachRow(rows, []any{&id, &step, &value}, func() error {
		key := fmt.Sprint(id, " ", step)
		paid[key] = append(paid[key], value)
		return nil
	})
	require.NoError(t, err)
	for id, values := range results {
		for step, value := range values {
			key := fmt.Sprint(id, " ", step)
			if got := paid[key]; len(got) != 1 || got[0] != value {
				wrong = append(wrong, fmt.Sprintf("%s: paid %d, recorded %d", key, got, value))
			}
			delete(paid, key)
		}
	}
	for key, values := range paid {
		wrong = append(wrong, fmt.Sprintf("%s: paid %d, nothing recorded", key, values))
	}
	return wrong
}

var quiet = slog.New(slog.DiscardHandler)

// payer is an engine that makes payments.
func (k *till) payer(t testing.TB, s checkpoint.Store, f durable.Definition) *durable.Engine {
	t.Helper()
	e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{f}, Logger: quiet, Build: "b"})
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

// payAll starts executions and returns their results.
func payAll(t testing.TB, e *durable.Engine, f *durable.Function[int, []int64], executions int) map[string][]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	results := make(map[string][]int64)
	var wg sync.WaitGroup
	for i := range executions {
		wg.Go(func() {
			id := fmt.Sprint("p", i)
			values, err := f.Run(ctx, e, i, durable.WithExecutionID(id))
			if err != nil || len(values) != payments {
				t.Errorf("%s: %d payments: %v", id, len(values), err)
			}
			mu.Lock()
			results[id] = values
			mu.Unlock()
		})
	}
	wg.Wait()
	return results
}

func TestStepsPayOnce(t *testing.T) {
	c := need(t)
	t.Run("WhenNothingHappens", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		k := newTill(t, c, schema)
		f := k.function()
		require.Empty(t, k.check(t, c, payAll(t, k.payer(t, open(t, schema, pgstore.Options{Logger: quiet, StepConns: 4}), f), f, 30)))
	})

	t.Run("WhenConnectionsEnd", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		k := newTill(t, c, schema)
		p := startProxy(t, c)
		var drops, resets atomic.Int64
		k.crash = func() {
			switch rand.IntN(12) {
			case 0:
				drops.Add(1)
				p.dropAnswer()
			case 1:
				resets.Add(1)
				p.reset()
			}
		}
		f := k.function()
		results := payAll(t, k.payer(t, openAt(t, p.url(), schema, pgstore.Options{Logger: quiet}), f), f, 30)
		require.Empty(t, k.check(t, c, results))
		t.Logf("%d payments, %d answers dropped and %d times all connections reset at the end of a body: each paid once", len(results)*payments, drops.Load(), resets.Load())
	})

	t.Run("ThroughPgBouncer", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		k := newTill(t, c, schema)
		f := k.function()
		b, err := startBouncer(c.port)
		if err != nil {
			t.Skip(err.Error())
		}
		t.Cleanup(b.stop)
		url := fmt.Sprintf("postgres://tests@127.0.0.1:%d/postgres?sslmode=disable&default_query_exec_mode=exec", b.port)
		s := openAt(t, url, schema, pgstore.Options{Logger: quiet, NoListen: true, StepConns: 4, Poll: 100 * time.Millisecond})
		require.Empty(t, k.check(t, c, payAll(t, k.payer(t, s, f), f, 20)))
	})

	t.Run("WhenProcessesAreKilled", func(t *testing.T) {
		t.Parallel()
		killPayers(t, c)
	})

	// The check sees a store that keeps to the contract, but for one bug.
	for name, recordFirst := range map[string]bool{"TheRecordComesAfterTheCommit": false, "TheRecordComesBefore": true} {
		t.Run("OrItIsSeen/"+name, func(t *testing.T) {
			t.Parallel()
			schema := c.Schema()
			k := newTill(t, c, schema)
			f := k.function()
			e := k.payer(t, &apart{open(t, schema, pgstore.Options{Logger: quiet}), c.url, recordFirst}, f)
			wrong := k.check(t, c, payAll(t, e, f, 20))
			require.NotEmpty(t, wrong, "the bug was not seen")
			t.Logf("planted and found: %d of %d payments are wrong", len(wrong), 20*payments)
		})
	}
}

// apart is a store whose transactions do not hold the record; now and then something
// happens between the two.
type apart struct {
	*pgstore.Store
	url         string
	recordFirst bool
}

func (s *apart) Begin(ctx context.Context, _ any) (checkpoint.Transaction, error) {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return nil, err
	}
	tx, err := conn.Begin(ctx)
	return &apartTx{s, tx}, err
}

type apartTx struct {
	s  *apart
	tx pgx.Tx
}

func (t *apartTx) Handle() any { return t.tx }
func (t *apartTx) Rollback()   { t.tx.Conn().Close(context.Background()) }
func (t *apartTx) Abandon()    { t.tx.Conn().PgConn().Conn().Close() }
func (t *apartTx) Commit(a checkpoint.Append) error {
	defer t.Rollback()
	cut := rand.IntN(8) == 0
	if t.s.recordFirst {
		if err := appendTo(t.s.Store, a); err != nil || cut {
			return err
		}
		return t.tx.Commit(context.Background())
	}
	if err := t.tx.Commit(context.Background()); err != nil {
		return err
	}
	if cut {
		return checkpoint.ErrUnknown
	}
	return appendTo(t.s.Store, a)
}

var killFor = flag.Duration("pgstore.kills", 6*time.Second, "how long the processes of TestStepsPayOnce are killed")

// What a process that pays is told.
const (
	payerSchema = "PGSTEP_TEST_SCHEMA"
	payerURL    = "PGSTEP_TEST_URL"
)

// payerProcess runs payments until it is killed; now and then it kills itself at the end
// of a body, before the commit.
func payerProcess() {
	schema := os.Getenv(payerSchema)
	s, err := pgstore.Open(context.Background(), os.Getenv(payerURL), &pgstore.Options{Schema: schema, Lease: time.Second, Poll: 50 * time.Millisecond, Logger: quiet})
	if err != nil {
		os.Exit(1)
	}
	k := &till{name: pgx.Identifier{schema + " till"}.Sanitize(), crash: func() {
		if rand.IntN(60) == 0 {
			if self, err := os.FindProcess(os.Getpid()); err == nil && self.Kill() == nil {
				select {}
			}
			os.Exit(1)
		}
	}}
	if _, err := durable.New(s, &durable.Options{Functions: []durable.Definition{k.function()}, Logger: quiet, Build: "b"}); err != nil {
		os.Exit(1)
	}
	select {}
}

// killPayers has three processes pay, and kills them: by themselves before a commit, by
// the answer of a commit that never arrives, and at any time.
func killPayers(t *testing.T, c *cluster) {
	schema := c.Schema()
	k := newTill(t, c, schema)
	f := k.function()
	opts := pgstore.Options{Lease: time.Second, Poll: 50 * time.Millisecond, Logger: quiet}
	starter, err := durable.New(open(t, schema, opts), &durable.Options{Functions: []durable.Definition{f}, MaxResident: 1, Logger: quiet, Build: "b"})
	require.NoError(t, err)
	defer starter.Close()
	var kills, atCommit, bySelf, stops atomic.Int64
	until := time.Now().Add(*killFor)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				p := startProxy(t, c)
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), payerURL+"="+p.url(), payerSchema+"="+schema)
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				over := time.Now().After(until)
				if !over {
					p.onAnswer(func(answer []byte) bool {
						if !bytes.Contains(answer, []byte("COMMIT\x00")) || rand.IntN(40) > 0 || cmd.Process.Kill() != nil {
							return false
						}
						atCommit.Add(1)
						return true
					})
				}
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				life := time.Duration(500+rand.IntN(1500)) * time.Millisecond
				if over {
					life = time.Hour
				}
				select {
				case <-ended:
					bySelf.Add(1)
					kills.Add(1)
					p.reset()
					continue
				case <-ctx.Done():
				case <-time.After(life):
					if rand.IntN(3) == 0 { // past its lease, with bodies and commits half-way
						stops.Add(1)
						pause.Stop(cmd.Process)
						time.Sleep(1500 * time.Millisecond)
						pause.GoOn(cmd.Process)
						time.Sleep(500 * time.Millisecond)
					}
				}
				cmd.Process.Kill()
				<-ended
				kills.Add(1)
				p.reset()
			}
		})
	}
	results := make(map[string][]int64)
	long, done := context.WithTimeout(t.Context(), *killFor+2*time.Minute)
	defer done()
	for n := 0; time.Now().Before(until) || n < 40; n += 20 {
		var batch []*durable.Execution[[]int64]
		for i := range 20 {
			x, err := f.Start(long, starter, 0, durable.WithExecutionID(fmt.Sprint("k", n+i)))
			require.NoError(t, err)
			batch = append(batch, x)
		}
		for _, x := range batch {
			values, err := x.Result(long)
			require.NoError(t, err)
			results[x.ID()] = values
		}
	}
	cancel()
	wg.Wait()
	require.Empty(t, k.check(t, c, results))
	t.Logf("%d payments; %d processes killed (%d at the answer of a commit, which was dropped, %d by themselves before one or so), %d stopped past their lease: each paid once",
		len(results)*payments, kills.Load(), atCommit.Load(), bySelf.Load()-atCommit.Load(), stops.Load())
}

// TestSteps has the rest of what such a step does.
func TestSteps(t *testing.T) {
	c := need(t)
	run := func(t *testing.T, opts durable.Options, body func(ctx *durable.Context, table string, i int) (int64, error), executions int) (schema, table string, errs []error) {
		schema = c.Schema()
		table = pgx.Identifier{schema + " account"}.Sanitize()
		c.exec(t, `CREATE TABLE `+table+` (id int, n bigint NOT NULL, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO `+table+` VALUES (1, 0), (2, 0)`)
		f := durable.Define("f", func(ctx *durable.Context, i int) (int64, error) { return body(ctx, table, i) })
		opts.Functions, opts.Logger = []durable.Definition{f}, quiet
		e, err := durable.New(open(t, schema, pgstore.Options{Logger: quiet}), &opts)
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		errs = make([]error, executions)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = f.Run(ctx, e, i, durable.WithExecutionID(fmt.Sprint("x", i))) })
		}
		wg.Wait()
		return schema, table, errs
	}
	sum := func(t *testing.T, table string) (sum int64) {
		conn, err := pgx.Connect(t.Context(), c.url)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT sum(n) FROM `+table).Scan(&sum))
		return sum
	}

	t.Run("DeadlocksAreRetried", func(t *testing.T) {
		t.Parallel()
		var deadlocks atomic.Int64
		_, table, errs := run(t, durable.Options{}, func(ctx *durable.Context, table string, i int) (int64, error) {
			return pgstep.Step(ctx, "transfer", func(c context.Context, tx pgx.Tx) (int64, error) {
				for j := range 2 {
					_, err := tx.Exec(c, `UPDATE `+table+` SET n = n + 1 FROM pg_sleep(0.1) WHERE id = $1`, (i+j)%2+1)
					if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "40P01" {
						deadlocks.Add(1)
					}
					if err != nil {
						return 0, err
					}
				}
				return 0, nil
			}, often)
		}, 2)
		require.NoError(t, errors.Join(errs...))
		require.EqualValues(t, 4, sum(t, table))
		require.NotZero(t, deadlocks.Load())
	})

	t.Run("SerializationFailuresAreRetried", func(t *testing.T) {
		t.Parallel()
		var attempts atomic.Int64
		const executions = 6
		_, table, errs := run(t, durable.Options{}, func(ctx *durable.Context, table string, i int) (int64, error) {
			return pgstep.Step(ctx, "add", func(c context.Context, tx pgx.Tx) (n int64, err error) {
				attempts.Add(1)
				if err := tx.QueryRow(c, `SELECT sum(n) FROM `+table).Scan(&n); err != nil {
					return 0, err
				}
				_, err = tx.Exec(c, `INSERT INTO `+table+` VALUES ($1, $2)`, 100+i, n+1)
				return n, err
			}, often, pgstep.WithTxOptions(pgx.TxOptions{IsoLevel: pgx.Serializable}))
		}, executions)
		require.NoError(t, errors.Join(errs...))
		require.EqualValues(t, 1<<executions-1, sum(t, table), "as one after the other")
		t.Logf("%d serializable steps took %d attempts", executions, attempts.Load())
	})

	t.Run("ASnapshotIsNotOldBecauseOfItsOwnStart", func(t *testing.T) {
		t.Parallel()
		_, _, errs := run(t, durable.Options{}, func(ctx *durable.Context, table string, i int) (int64, error) {
			return pgstep.Step(ctx, "slow", func(c context.Context, tx pgx.Tx) (n int64, err error) {
				return n, tx.QueryRow(c, `SELECT 1 FROM pg_sleep(0.3)`).Scan(&n)
			}, durable.WithRetry(durable.NoRetry()), pgstep.WithTxOptions(pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))
		}, 1)
		require.NoError(t, errors.Join(errs...))
	})

	t.Run("AConstraintThatFailsTheCommit", func(t *testing.T) {
		t.Parallel()
		_, table, errs := run(t, durable.Options{}, func(ctx *durable.Context, table string, i int) (int64, error) {
			return 0, pgstep.Do(ctx, "insert", func(c context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(c, `INSERT INTO `+table+` VALUES (1, 1000)`)
				return err
			}, durable.WithRetry(durable.NoRetry()))
		}, 1)
		require.ErrorContains(t, errs[0], "23505")
		require.Zero(t, sum(t, table))
	})

	t.Run("TheContextOfABodyEndsWithTheLease", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		k := newTill(t, c, schema)
		var bodies atomic.Int64
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int64, error) {
			return pgstep.Step(ctx, "slow", func(c context.Context, tx pgx.Tx) (int64, error) {
				_, err := tx.Exec(c, `INSERT INTO `+k.name+` VALUES ('x', $1, 0)`, bodies.Add(1))
				if bodies.Load() == 1 {
					<-c.Done() // and no error
				}
				return bodies.Load(), err
			})
		})
		e := k.payer(t, open(t, schema, pgstore.Options{Lease: time.Second, Poll: 50 * time.Millisecond, Logger: quiet}), f)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		x, err := f.Start(ctx, e, 0)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return bodies.Load() == 1 }, patience, time.Millisecond)
		c.exec(t, `UPDATE "`+schema+`".process SET lease_until = 1`)
		v, err := x.Result(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 2, v)
		require.EqualValues(t, 1, c.exec(t, `SELECT FROM `+k.name), "what the first body wrote is rolled back")
	})

	t.Run("Sealed", func(t *testing.T) {
		t.Parallel()
		secret := make([]byte, 32)
		crand.Read(secret)
		sealer, err := durableseal.New(durableseal.Key{ID: "1", Secret: secret})
		require.NoError(t, err)
		schema, _, errs := run(t, durable.Options{Sealer: sealer}, func(ctx *durable.Context, table string, i int) (int64, error) {
			v, err := pgstep.Step(ctx, "secret", func(context.Context, pgx.Tx) (string, error) { return "hidden", nil })
			if err == nil && v != "hidden" {
				err = fmt.Errorf("it is %q", v)
			}
			return 0, errors.Join(err, durable.Wait(ctx, "replay", 1200*time.Millisecond))
		}, 1)
		require.NoError(t, errors.Join(errs...))
		require.Zero(t, c.exec(t, `SELECT FROM "`+schema+`".journal WHERE position('hidden'::bytea in data) > 0`))
	})
}
