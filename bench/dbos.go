package main

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// dbosEngine is DBOS on whatever database.
type dbosEngine struct {
	dbos.Context
	handles sync.Map // of the executions that this process started
	check   func(context.Context) (string, error)
	release func() error
}

const dbosVersion = "github.com/dbos-inc/dbos-transact-golang v1.8.0"

func dbosProgram(ctx dbos.Context, p program) (int, error) {
	id, err := dbos.GetWorkflowID(ctx)
	if err != nil {
		return 0, err
	}
	if err := dbosSteps(ctx, p.Steps); err != nil {
		return 0, err
	}
	watch.mark(id, replayed)
	var fan []<-chan dbos.StepOutcome[int]
	for i := range p.Fan {
		c, err := dbos.Go(ctx, func(context.Context) (int, error) { return step(i) })
		if err != nil {
			return 0, err
		}
		fan = append(fan, c)
	}
	for _, c := range fan {
		if outcome := <-c; outcome.Err != nil {
			return 0, outcome.Err
		}
	}
	if p.Sleep > 0 {
		watch.mark(id, asleep)
		if _, err := dbos.Sleep(ctx, p.Sleep); err != nil {
			return 0, err
		}
		watch.mark(id, awake)
	}
	if p.Signal {
		watch.mark(id, waiting)
		if _, err := dbos.Recv[int](ctx, "signal", 24*time.Hour); err != nil {
			return 0, err
		}
		watch.mark(id, signaled)
	}
	if err := dbosSteps(ctx, p.More); err != nil {
		return 0, err
	}
	watch.mark(id, ended)
	return p.total(), nil
}

func dbosSteps(ctx dbos.Context, n int) error {
	for i := range n {
		if _, err := dbos.RunAsStep(ctx, func(context.Context) (int, error) { return step(i) }); err != nil {
			return err
		}
	}
	return nil
}

// openDBOS launches DBOS on the database that the config names.
func openDBOS(ctx context.Context, config dbos.Config) (*dbosEngine, error) {
	config.AppName, config.ApplicationVersion = "bench", "bench"
	config.Logger = slog.New(slog.DiscardHandler)
	// Without the job's cancel: it would cancel executions durably.
	c, err := dbos.NewContext(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, err
	}
	dbos.RegisterWorkflow(c, dbosProgram)
	if err := dbos.Launch(c); err != nil {
		return nil, err
	}
	return &dbosEngine{Context: c}, nil
}

// dbosLimit: an execution that waits stays a goroutine.
func dbosLimit(workload string) limit {
	switch workload {
	case "signal, suspended":
		return cannot("keeps what waits in memory")
	case "parked more":
		return cannot("about two minutes to fill")
	}
	return limit{}
}

func (e *dbosEngine) start(_ context.Context, id string, p program) error {
	h, err := dbos.RunWorkflow(e.Context, dbosProgram, p, dbos.WithWorkflowID(id))
	if err == nil {
		e.handles.Store(id, h)
	}
	return err
}

func (e *dbosEngine) result(_ context.Context, id string) (int, error) {
	h, _ := e.handles.LoadAndDelete(id)
	return h.(dbos.WorkflowHandle[int]).GetResult()
}

func (e *dbosEngine) run(_ context.Context, id string, p program) (int, error) {
	h, err := dbos.RunWorkflow(e.Context, dbosProgram, p, dbos.WithWorkflowID(id))
	if err != nil {
		return 0, err
	}
	return h.GetResult()
}

func (e *dbosEngine) token(context.Context, string) (string, error) { return "", nil }

func (e *dbosEngine) signal(_ context.Context, id, _ string) error {
	return dbos.Send(e.Context, id, 1, "signal")
}

func (e *dbosEngine) idle(ctx context.Context) error { return rest(ctx) }

func (e *dbosEngine) reenters() {}

func (e *dbosEngine) durability(ctx context.Context) (string, error) { return e.check(ctx) }

func (e *dbosEngine) close() error {
	err := dbos.Shutdown(e.Context, 10*time.Second)
	if e.release != nil {
		return e.release()
	}
	return err
}

// poolLike is the pool that DBOS would open by itself.
func poolLike(db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	db.SetConnMaxLifetime(time.Hour)
	return db
}
