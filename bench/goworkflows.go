package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cschleiden/go-workflows/backend"
	"github.com/cschleiden/go-workflows/backend/monoprocess"
	"github.com/cschleiden/go-workflows/backend/sqlite"
	"github.com/cschleiden/go-workflows/client"
	"github.com/cschleiden/go-workflows/worker"
	"github.com/cschleiden/go-workflows/workflow"
)

// goWorkflows is go-workflows on SQLite, in the wrapper that wakes its workers
// without polling.
type goWorkflows struct{}

func (goWorkflows) name() string { return "go-workflows SQLite" }
func (goWorkflows) kind() kind   { return peer }
func (goWorkflows) about() string {
	return "github.com/cschleiden/go-workflows v1.4.2; SQLite (modernc), WAL, synchronous=FULL, one connection as its own; monoprocess; " +
		"MaxHistorySize raised from 10,000 events, cache raised from 128 to 1,024 executions, else defaults"
}

func (goWorkflows) limit(workload string) limit {
	switch workload {
	case "replay", "late":
		return limit{2_000, "10,000 take too long"}
	case "fan more":
		return cannot("minutes: its time grows with the square")
	case "parked":
		return limit{2_000, "10,000 take a minute to fill"}
	case "parked more":
		return cannot("ten minutes to fill")
	}
	return limit{}
}

type goWorkflowsEngine struct {
	*client.Client
	db      *sql.DB
	worker  *worker.Worker
	stop    context.CancelFunc
	started sync.Map // instances, by ID
}

func (goWorkflows) open(_ context.Context, folder string, r residence) (engine, error) {
	db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(folder, "goworkflows.sqlite")))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	b := monoprocess.NewMonoprocessBackend(sqlite.NewSqliteBackendWithDB(db, sqlite.WithApplyMigrations(true), sqlite.WithBackendOptions(
		backend.WithLogger(slog.New(slog.DiscardHandler)), backend.WithMaxHistorySize(1_000_000), backend.WithWorkerName("bench"))))
	options := worker.DefaultOptions
	options.WorkflowExecutorCacheSize = 1024
	switch r {
	case kept:
		options.WorkflowExecutorCacheTTL = time.Hour
	case evicted:
		options.WorkflowExecutorCacheSize = 1
	}
	w := worker.New(b, &options)
	if err := errors.Join(w.RegisterWorkflow(goWorkflowsProgram), w.RegisterActivity(goWorkflowsStep)); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	if err := w.Start(running); err != nil {
		stop()
		return nil, err
	}
	return &goWorkflowsEngine{Client: client.New(b), db: db, worker: w, stop: stop}, nil
}

func goWorkflowsStep(_ context.Context, i int) (int, error) { return step(i) }

func goWorkflowsProgram(ctx workflow.Context, p program) (int, error) {
	id := workflow.WorkflowInstance(ctx).InstanceID
	if err := goWorkflowsSteps(ctx, p.Steps); err != nil {
		return 0, err
	}
	watch.mark(id, replayed)
	var fan []workflow.Future[int]
	for i := range p.Fan {
		fan = append(fan, workflow.ExecuteActivity[int](ctx, workflow.DefaultActivityOptions, goWorkflowsStep, i))
	}
	for _, f := range fan {
		if _, err := f.Get(ctx); err != nil {
			return 0, err
		}
	}
	if p.Sleep > 0 {
		watch.mark(id, asleep)
		if err := workflow.Sleep(ctx, p.Sleep); err != nil {
			return 0, err
		}
		watch.mark(id, awake)
	}
	if p.Signal {
		signals := workflow.NewSignalChannel[int](ctx, "signal")
		watch.mark(id, waiting)
		signals.Receive(ctx)
		watch.mark(id, signaled)
	}
	if err := goWorkflowsSteps(ctx, p.More); err != nil {
		return 0, err
	}
	watch.mark(id, ended)
	return p.total(), nil
}

func goWorkflowsSteps(ctx workflow.Context, n int) error {
	for i := range n {
		if _, err := workflow.ExecuteActivity[int](ctx, workflow.DefaultActivityOptions, goWorkflowsStep, i).Get(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *goWorkflowsEngine) start(ctx context.Context, id string, p program) error {
	instance, err := e.CreateWorkflowInstance(ctx, client.WorkflowInstanceOptions{InstanceID: id}, goWorkflowsProgram, p)
	if err == nil {
		e.started.Store(id, instance)
	}
	return err
}

func (e *goWorkflowsEngine) result(ctx context.Context, id string) (int, error) {
	instance, _ := e.started.LoadAndDelete(id)
	return client.GetWorkflowResult[int](ctx, e.Client, instance.(*workflow.Instance), 5*time.Minute)
}

func (e *goWorkflowsEngine) run(ctx context.Context, id string, p program) (int, error) {
	if err := e.start(ctx, id, p); err != nil {
		return 0, err
	}
	return e.result(ctx, id)
}

func (e *goWorkflowsEngine) token(context.Context, string) (string, error) { return "", nil }

func (e *goWorkflowsEngine) signal(ctx context.Context, id, _ string) error {
	return e.SignalWorkflow(ctx, id, "signal", 1)
}

func (e *goWorkflowsEngine) idle(ctx context.Context) error { return rest(ctx) }

func (e *goWorkflowsEngine) durability(ctx context.Context) (string, error) {
	return sqliteDurability(ctx, e.db)
}

func (e *goWorkflowsEngine) close() error {
	e.stop()
	return errors.Join(e.worker.WaitForCompletion(), e.db.Close())
}
