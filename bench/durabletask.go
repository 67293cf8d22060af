package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/backend"
	"github.com/microsoft/durabletask-go/backend/sqlite"
	"github.com/microsoft/durabletask-go/task"
)

// durableTask is durabletask-go on SQLite.
type durableTask struct{}

func (durableTask) name() string { return "durabletask SQLite" }
func (durableTask) kind() kind   { return peer }
func (durableTask) about() string {
	return "github.com/microsoft/durabletask-go v0.6.0; SQLite (modernc), WAL (its default is a rollback journal, slower), synchronous=FULL, " +
		"its own single connection; 32 work items at once (its default is 1); it polls each 50 ms and more"
}

func (durableTask) limit(workload string) limit {
	switch workload {
	case "replay":
		return limit{100, "50 ms and more a step"}
	case "late":
		return limit{200, "50 ms and more a step"}
	case "fan more":
		return cannot("minutes: its time grows with the square")
	case "parked":
		return limit{1_000, "slow to fill"}
	case "parked more":
		return cannot("slow to fill")
	case "signal, resident":
		return cannot("keeps nothing in memory")
	}
	return limit{}
}

type durableTaskEngine struct {
	backend.TaskHubClient
	worker backend.TaskHubWorker
}

func (durableTask) open(ctx context.Context, folder string, _ residence) (engine, error) {
	registry := task.NewTaskRegistry()
	err := errors.Join(
		registry.AddOrchestratorN("program", durableTaskProgram),
		registry.AddActivityN("step", func(ctx task.ActivityContext) (any, error) {
			var i int
			if err := ctx.GetInput(&i); err != nil {
				return nil, err
			}
			return step(i)
		}))
	if err != nil {
		return nil, err
	}
	b := sqlite.NewSqliteBackend(sqlite.NewSqliteOptions(sqliteDSN(filepath.Join(folder, "durabletask.sqlite"))), silent{})
	executor := task.NewTaskExecutor(registry)
	e := &durableTaskEngine{backend.NewTaskHubClient(b), backend.NewTaskHubWorker(b,
		backend.NewOrchestrationWorker(b, executor, silent{}, backend.WithMaxParallelism(32)),
		backend.NewActivityTaskWorker(b, executor, silent{}, backend.WithMaxParallelism(32)), silent{})}
	return e, e.worker.Start(context.WithoutCancel(ctx))
}

func durableTaskProgram(ctx *task.OrchestrationContext) (any, error) {
	var p program
	if err := ctx.GetInput(&p); err != nil {
		return nil, err
	}
	id := string(ctx.ID)
	if err := durableTaskSteps(ctx, p.Steps); err != nil {
		return nil, err
	}
	watch.mark(id, replayed)
	var fan []task.Task
	for i := range p.Fan {
		fan = append(fan, ctx.CallActivity("step", task.WithActivityInput(i)))
	}
	for _, t := range fan {
		if err := t.Await(nil); err != nil {
			return nil, err
		}
	}
	if p.Sleep > 0 {
		watch.mark(id, asleep)
		if err := ctx.CreateTimer(p.Sleep).Await(nil); err != nil {
			return nil, err
		}
		watch.mark(id, awake)
	}
	if p.Signal {
		signal := ctx.WaitForSingleEvent("signal", 24*time.Hour)
		watch.mark(id, waiting)
		if err := signal.Await(nil); err != nil {
			return nil, err
		}
		watch.mark(id, signaled)
	}
	if err := durableTaskSteps(ctx, p.More); err != nil {
		return nil, err
	}
	watch.mark(id, ended)
	return p.total(), nil
}

func durableTaskSteps(ctx *task.OrchestrationContext, n int) error {
	for i := range n {
		if err := ctx.CallActivity("step", task.WithActivityInput(i)).Await(nil); err != nil {
			return err
		}
	}
	return nil
}

func (e *durableTaskEngine) start(ctx context.Context, id string, p program) error {
	_, err := e.ScheduleNewOrchestration(ctx, "program", api.WithInstanceID(api.InstanceID(id)), api.WithInput(p))
	return err
}

// result asks each millisecond: the library's own wait begins at 100 ms.
func (e *durableTaskEngine) result(ctx context.Context, id string) (int, error) {
	for {
		m, err := e.FetchOrchestrationMetadata(ctx, api.InstanceID(id))
		if err != nil {
			return 0, err
		}
		if m.IsComplete() {
			return durableTaskOutput(m)
		}
		time.Sleep(time.Millisecond)
	}
}

func (e *durableTaskEngine) run(ctx context.Context, id string, p program) (int, error) {
	if err := e.start(ctx, id, p); err != nil {
		return 0, err
	}
	m, err := e.WaitForOrchestrationCompletion(ctx, api.InstanceID(id))
	if err != nil {
		return 0, err
	}
	return durableTaskOutput(m)
}

func durableTaskOutput(m *api.OrchestrationMetadata) (n int, err error) {
	if m.FailureDetails != nil {
		return 0, errors.New(m.FailureDetails.ErrorMessage)
	}
	return n, json.Unmarshal([]byte(m.SerializedOutput), &n)
}

func (e *durableTaskEngine) token(context.Context, string) (string, error) { return "", nil }

func (e *durableTaskEngine) signal(ctx context.Context, id, _ string) error {
	return e.RaiseEvent(ctx, api.InstanceID(id), "signal", api.WithEventPayload(1))
}

func (e *durableTaskEngine) idle(ctx context.Context) error { return rest(ctx) }

// durability can't ask the connection again: the library does not give it away.
func (e *durableTaskEngine) durability(ctx context.Context) (string, error) {
	return sqliteDurability(ctx, nil)
}

func (e *durableTaskEngine) close() error { return e.worker.Shutdown(context.Background()) }

// silent is a logger.
type silent struct{}

func (silent) Debug(...any)          {}
func (silent) Debugf(string, ...any) {}
func (silent) Info(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Warnf(string, ...any)  {}
func (silent) Error(...any)          {}
func (silent) Errorf(string, ...any) {}
