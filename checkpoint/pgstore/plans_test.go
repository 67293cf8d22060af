package pgstore_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// wholeTables are statements that read all, as it says where they are offered.
var wholeTables = []string{"count", "backlog"}

// owned are statements that read all that a process owns, or that has ended lately, or of
// each table what the catalog says of it.
var owned = map[string]int{"news": 200, "ended": 200, "size": 5}

// TestPlans has the server execute all statements of a store over a million executions, and
// counts what it looks at: with statistics, without, and with such as are wrong, on
// connections that are the store's own and on such as PgBouncer would give it.
func TestPlans(t *testing.T) {
	if testing.Short() {
		t.Skip("a million executions take a while to make")
	}
	m := makeMillion(t)
	statements := pgstore.Statements(m.schema)
	names := make(map[string]string)
	for name, sql := range statements {
		names[sql] = name
	}
	for _, statistics := range []string{"OfAnEmptyTable", "None", "Fresh"} { // in this order, see there
		m.statistics(t, statistics)
		for _, mode := range []string{"Prepared", "Pooled"} {
			t.Run(statistics+"/"+mode, func(t *testing.T) {
				d := &driver{T: t, m: m, names: names, ran: make(map[string]int), id: statistics + mode}
				d.open(mode == "Pooled")
				d.everything()
				for _, name := range slices.Sorted(maps.Keys(statements)) {
					if !strings.HasPrefix(name, "steps.") {
						require.NotZero(t, d.ran[name], "%s was not executed: a test has to, here", name)
					}
				}
			})
		}
	}
}

// driver has a store execute its statements.
type driver struct {
	*testing.T
	m     *million
	names map[string]string
	ran   map[string]int // by the statement's name
	id    string

	pooled bool
	plans  plans
	url    string
	a, b   *pgstore.Store // of two processes; those of a are explained
}

func (d *driver) open(pooled bool) {
	d.url, d.pooled = d.m.url, pooled
	opts := pgstore.Options{Schema: d.m.schema, Poll: 50 * time.Millisecond, NoListen: *throughBouncer}
	if pooled {
		d.url += "&default_query_exec_mode=exec"
		opts.NoListen = true
	}
	pool := d.plans.explained(d, d.url)
	d.b = openAt(d, d.m.url, d.m.schema, pgstore.Options{Poll: time.Hour})
	var err error
	d.a, err = pgstore.New(d.Context(), pool, &opts)
	require.NoError(d, err)
	d.Cleanup(func() { d.a.Close() })
	d.check("open", 1)
}

// check looks at what was executed since the last one, for n executions.
func (d *driver) check(what string, n int) {
	d.Helper()
	for _, e := range d.plans.take() {
		name, ok := d.names[e.sql]
		if !ok {
			if strings.Contains(e.sql, pgx.Identifier{d.m.schema}.Sanitize()) && !strings.Contains(e.sql, ".meta") {
				d.Errorf("%s: a statement that is not in the table of statements: %s", what, e.sql)
			}
			continue
		}
		d.ran[name]++
		if slices.Contains(wholeTables, name) {
			continue
		}
		if most := 150 + 60*max(n, owned[name]); e.blocks() > most || e.rows() > most {
			d.Errorf("%s: %s looked at %d blocks and read %d rows, for %d executions at most: %s", what, name, e.blocks(), e.rows(), n, e.json)
		}
	}
}

// repeated is how often something is asked for: the server may have another plan for what
// comes again and again. Behind PgBouncer nothing does.
const repeated = 7

func (d *driver) everything() {
	s, ctx := d.a, d.Context()
	id := func(i int) string { return fmt.Sprint(d.id, i) }
	order := func(i int) string { return fmt.Sprint("order-", 1000+i) }
	parallel := func(n int, f func(i int) error) {
		d.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, n)
		for i := range n {
			wg.Go(func() { errs <- f(i) })
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(d, err)
		}
	}
	times := func(what string, n int, f func(i int) error) {
		d.Helper()
		for i := range repeated {
			if d.pooled && i == 2 {
				break
			}
			require.NoError(d, f(i))
			d.check(what, n)
		}
	}
	req := checkpoint.ClaimRequest{Functions: []string{"f", "g", "busy"}, Build: "old", Max: 64}

	// What reads.
	times("Get", 1, func(i int) error { _, err := s.Get(ctx, order(i)); return err })
	times("Find", 1, func(i int) error { _, err := s.Find(ctx, uint64(500_000+i)); return err })
	times("Records", 1, func(i int) error {
		for _, err := range s.Records(ctx, order(i), 0) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	times("Inbox", 1, func(i int) error { _, err := s.Inbox(ctx, order(i), 0); return err })
	times("NextDue", 1, func(int) error { _, err := s.NextDue(ctx, req); return err })
	for _, before := range []uint64{0, 500_000} {
		times("List", 128, func(int) error {
			for _, err := range s.List(ctx, checkpoint.Query{Before: before, Limit: 128}) {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	_, err := s.Count(ctx, checkpoint.Query{})
	require.NoError(d, err)
	_, err = s.Backlog(ctx)
	require.NoError(d, err)
	_, err = s.Size(ctx)
	require.NoError(d, err)

	// Executions of this process, one by one and many at a time.
	mine := make([]checkpoint.Summary, 200)
	for i := range repeated {
		mine[i] = create(d, s, id(i), true)
	}
	d.check("Create", 1)
	parallel(len(mine)-repeated, func(i int) (err error) {
		i += repeated
		mine[i], _, err = s.Create(ctx, creation(id(i), "f", true))
		return err
	})
	d.check("Create", len(mine))
	times("Create of one that is there", 1, func(i int) error {
		_, _, err := s.Create(ctx, creation(order(10*i+5), "f", false))
		return err
	})
	times("Append", 1, func(i int) error { return appendTo(s, step(mine[i], 1)) })
	parallel(len(mine)-repeated, func(i int) error { return appendTo(s, step(mine[i+repeated], 1)) })
	d.check("Append", len(mine))
	times("a transaction", 1, func(i int) error { return begin(d, s).Commit(step(mine[i], 2)) })
	callback := func(i int) error {
		a := step(mine[i], 2)
		a.Records[0] = checkpoint.Record{Seq: 3, EventID: 3, Events: 1, Type: checkpoint.CallbackStarted, OperationID: "2", HeartbeatTimeout: int64(time.Hour), Time: s.Now().UnixNano()}
		return appendTo(s, a)
	}
	for i := repeated; i < 20; i++ {
		require.NoError(d, callback(i))
	}
	d.check("a callback", 1)
	times("Heartbeat", 1, func(i int) error {
		return d.b.Heartbeat(ctx, checkpoint.CallbackRef{ID: mine[10+i].ID, OperationID: "2"})
	})
	for i := 10; i < 20; i++ {
		a := step(mine[i], 3)
		a.Records, a.Release = nil, &checkpoint.Release{WakeAt: s.Now().Add(time.Hour).UnixNano()}
		require.NoError(d, appendTo(s, a))
		require.NoError(d, s.Heartbeat(ctx, checkpoint.CallbackRef{ID: mine[i].ID, OperationID: "2"}))
		_, err := s.Get(ctx, mine[i].ID)
		require.NoError(d, err)
	}
	d.check("an execution with callbacks", 1)
	times("Deliver", 1, func(i int) error {
		return s.Deliver(ctx, checkpoint.Delivery{ID: mine[10+i].ID, Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "2"}})
	})
	times("Deliver to an owner", 1, func(i int) error {
		return s.Deliver(ctx, checkpoint.Delivery{ID: mine[20+i].ID, Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
	})
	times("Append with an inbox", 1, func(i int) error {
		a := step(mine[20+i], 2)
		a.InboxSeen = 1
		return appendTo(s, a)
	})
	hold := func(i int) {
		a := step(mine[i], 2)
		a.Records, a.Release = nil, &checkpoint.Release{Hold: &checkpoint.Hold{Build: "b"}}
		require.NoError(d, appendTo(s, a))
	}
	for i := 30; i < 40; i++ {
		hold(i)
	}
	d.check("a hold", 1)
	times("Resume", 1, func(i int) error { return s.Resume(ctx, mine[30+i].ID) })
	times("Disown", 1, func(i int) error { return s.Disown(ctx, mine[40+i].ID, mine[40+i].Epoch) })
	for i := range repeated {
		child := creation(id(1000+i), "g", false)
		child.Caller = &checkpoint.Caller{ID: mine[50+i].ID, Incarnation: checkpoint.Incarnation{1}, OperationID: "1"}
		_, _, err := s.Create(ctx, child)
		require.NoError(d, err)
	}
	d.check("an invoke", 1)
	times("End", 2, func(i int) error {
		_, err := s.End(ctx, checkpoint.Ending{ID: mine[50+i].ID, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		return err
	})
	parent := func(i int) checkpoint.Append {
		child := creation(id(1100+i), "g", false)
		child.Caller = &checkpoint.Caller{ID: mine[i].ID, Incarnation: checkpoint.Incarnation{1}, OperationID: "1"}
		_, _, err := s.Create(ctx, child)
		require.NoError(d, err)
		a := step(mine[i], 2)
		a.Records[0].Type, a.Status = checkpoint.ExecutionSucceeded, checkpoint.Succeeded
		return a
	}
	times("the end of a parent", 2, func(i int) error { return appendTo(s, parent(60+i)) })
	ended := step(mine[7], 3)
	ended.Records[0].Type, ended.Status = checkpoint.ExecutionSucceeded, checkpoint.Succeeded
	require.NoError(d, appendTo(s, ended))
	d.check("the end of one with callbacks", 1)
	times("Glance", 64, func(i int) error {
		var ids []string
		for j := range 64 {
			ids = append(ids, order(64*i+j))
		}
		glances, err := s.Glance(ctx, ids)
		require.Len(d, glances, len(ids))
		return err
	})
	times("Delete", 1, func(i int) error { return s.Delete(ctx, mine[50+i].ID) })

	// Claims of what is due, among what builds hold, waits, and is due for others.
	for range repeated {
		claims, err := s.Claim(ctx, req)
		require.NoError(d, err)
		require.Len(d, claims, req.Max)
		for _, e := range d.plans.seen {
			if d.names[e.sql] == "claim" {
				require.InDelta(d, req.Max, e.locked(), 3, "it locks what it takes, as far as the server counts (it rounds)")
			}
		}
		d.check("Claim", req.Max)
	}
	nothing := req
	nothing.Functions = []string{"g", "f", "nothing"}
	for range repeated {
		_, err := s.Claim(ctx, nothing)
		require.NoError(d, err)
		d.check("Claim of little", req.Max)
	}

	// Retention, in bites: behind it are children of a caller that runs.
	for i := range 3 {
		n, err := s.Expire(ctx, s.Now().Add(-4*24*time.Hour), 100)
		require.NoError(d, err)
		require.Equal(d, 100, n)
		if i == 0 {
			d.check("Expire", 500)
		}
		d.check("Expire", 100)
	}

	// What another process leaves.
	for i := range 2 {
		c := openAt(d, d.m.url, d.m.schema, pgstore.Options{Poll: time.Hour})
		for j := range 20 {
			create(d, c, id(2000+100*i+j), true)
		}
		require.NoError(d, c.Close())
		require.Eventually(d, func() bool {
			sum, err := s.Get(ctx, id(2000+100*i))
			return err == nil && !sum.Owned
		}, patience, 10*time.Millisecond)
	}
	d.check("a takeover", 20)

	d.asked()
	require.NoError(d, s.Close())
	d.check("Close", 1)
}

// asked executes what a store executes only in need.
func (d *driver) asked() {
	ctx := context.Background()
	pool := d.plans.explained(d, d.url)
	number := func(sql string) (n int64) {
		require.NoError(d, pool.QueryRow(ctx, strings.ReplaceAll(sql, "$S", pgx.Identifier{d.m.schema}.Sanitize())).Scan(&n))
		return n
	}
	process := number(`SELECT max(id) FROM $S.process`)
	one := number(`SELECT number FROM $S.execution WHERE id = 'order-777777'`)
	hash := []byte(strings.Repeat("x", 32))
	queue := [][]byte{hash}
	marks := []int64{0}
	d.plans.take()
	for name, args := range map[string][]any{
		"get.numbers":  {hash},
		"find.numbers": {one},
		"list.numbers": {nil, 0, 0, 0, nil, one, 128},
		"row":          {one},
		"record":       {one, 1},
		"firstBeatOf":  {one},
		"broken":       {queue, marks, 64},
		"behind":       {queue, marks},
		"made":         {[]int64{one, one + 1}},
		"lock":         {queue, []int64{one}},
		"lockNow":      {queue, []int64{one}},
		"lockFamilies": {queue, []int64{one}, []int64{one}},
		"children":     {[]int64{one}},
		"lockMore":     {[]int64{one}},
		"lockStep":     {hash},
		"stepWrites":   {one, 1, 5},
		"claimed":      {process, -5},
		"callback":     {one, hash},
		"firstBeat":    {one, 1},
		"shorten":      {},
		"round":        {process},
		"lockRound":    {process},
		"settleRound":  {process, 7},
		"endListeners": {-1},
	} {
		sql := ""
		for text, n := range d.names {
			if n == name {
				sql = text
			}
		}
		for range repeated {
			tx, err := pool.Begin(ctx)
			require.NoError(d, err)
			_, err = tx.Exec(ctx, sql, args...)
			require.NoError(d, err, name)
			require.NoError(d, tx.Rollback(ctx))
		}
		d.check(name, 128)
	}
	pool.Close()
}
