package durablehttp

import (
	"context"
	_ "embed"
	"errors"
	"iter"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/durable-go/durable"
)

// readingRoutes are what Inspect serves.
var readingRoutes = []route{
	{"GET", "/executions", Reading, []string{"status", "function", "prefix", "startedAfter", "startedBefore", "limit", "cursor", "payloads"}, (*admin).list},
	{"GET", "/counts", Reading, []string{"function", "prefix", "startedAfter", "startedBefore"}, (*admin).counts},
	{"GET", "/executions/{id}", Reading, []string{"payloads"}, (*admin).describe},
	{"GET", "/executions/{id}/operations", Reading, []string{"open", "payloads"}, (*admin).operations},
	{"GET", "/executions/{id}/operations/{operation}", Reading, []string{"payloads"}, (*admin).operation},
	{"GET", "/executions/{id}/history", Reading, []string{"operation", "after", "limit", "payloads"}, (*admin).history},
	{"GET", "/executions/{id}/recording", Reading, []string{"payloads"}, (*admin).recording},
	{"GET", "/executions/{id}/children", Reading, []string{"after", "limit", "payloads"}, (*admin).children},
	{"GET", "/executions/{id}/result", Reading, []string{"wait", "payloads"}, (*admin).result},
	{"GET", "/executions/{id}/events", Reading, []string{"after", "payloads"}, (*admin).follow},
	{"GET", "/events", Reading, nil, (*admin).changes},
	{"GET", "/functions", Reading, nil, (*admin).functions},
	{"GET", "/stats", Reading, nil, (*admin).stats},
	{"GET", "/about", Reading, nil, (*admin).about},
	{"GET", "/openapi.json", Reading, nil, (*admin).openapi},
}

// briefRoutes have many entries, and so leave payloads out if they aren't asked for.
var briefRoutes = []string{"/executions", "/executions/{id}/operations", "/executions/{id}/children"}

// execution is an execution as it is shown.
type execution struct {
	durable.ExecutionInfo
	// Unreadable: its values can't be read, because they are damaged or their key is
	// missing; the rest is true.
	Unreadable bool `json:"unreadable,omitempty"`
}

func (a *admin) list(w http.ResponseWriter, r *request) error {
	q, err := r.selection()
	if err != nil {
		return err
	}
	if q.Before, err = r.cursor(); err != nil {
		return err
	}
	limit, err := r.number("limit", 1, 500, 50)
	if err != nil {
		return err
	}
	q.Limit = int(limit) + 1 // one more tells whether there is another page
	var n, last uint64
	more := false
	return a.writeList(w, r, "executions", func(yield func(any, error) bool) {
		for info, err := range a.engine.Executions(r.Context(), q) {
			if more = n == uint64(limit) || r.full(); more {
				return
			}
			n, last = n+1, info.Number
			unreadable := err != nil && info.Number != 0
			if unreadable {
				if errors.Is(err, durable.ErrCorrupt) {
					a.failed(r, err)
				}
				err = nil
			}
			if !yield(execution{a.show(r, info), unreadable}, err) {
				return
			}
		}
	}, func() any {
		if !more {
			return nil
		}
		return strconv.FormatUint(last, 10)
	})
}

func (a *admin) counts(w http.ResponseWriter, r *request) error {
	q, err := r.selection()
	if err != nil {
		return err
	}
	counts, err := a.engine.Count(r.Context(), q)
	if err != nil {
		return err
	}
	for _, status := range executionStatuses {
		counts[status] += 0 // those that none has are told, too
	}
	return writeJSON(w, http.StatusOK, counts)
}

func (a *admin) describe(w http.ResponseWriter, r *request) error {
	x, err := a.execution(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, x)
}

// execution is one execution as the request may see it.
func (a *admin) execution(r *request, id string) (x execution, err error) {
	x.ExecutionInfo, err = a.engine.Describe(r.Context(), id)
	if err != nil && x.Number != 0 {
		a.failed(r, err)
		x.Unreadable, err = true, nil
	}
	x.ExecutionInfo = a.show(r, x.ExecutionInfo)
	return x, err
}

func (a *admin) operations(w http.ResponseWriter, r *request) error {
	open, err := r.boolean("open")
	if err != nil {
		return err
	}
	ops, err := a.engine.Operations(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.writeList(w, r, "operations", func(yield func(any, error) bool) {
		for _, o := range ops {
			if open && !slices.Contains(openStatuses, o.Status) {
				continue
			}
			if !yield(a.showOperation(r, o), nil) {
				return
			}
		}
	}, func() any { return nil })
}

// openStatuses are those of operations that have no outcome.
var openStatuses = []durable.OperationStatus{durable.OperationStarted, durable.OperationPending, durable.OperationReady}

func (a *admin) operation(w http.ResponseWriter, r *request) error {
	ops, err := a.engine.Operations(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ops, func(o durable.Operation) bool { return o.ID == r.PathValue("operation") })
	if i < 0 {
		return errNoOperation
	}
	return writeJSON(w, http.StatusOK, a.showOperation(r, ops[i]))
}

// page is the part of a history that a request asks for: after an event, and so many.
func (r *request) page(most int64) (after, limit int64, err error) {
	if after, err = r.number("after", 0, 1<<62, 0); err == nil {
		limit, err = r.number("limit", 1, most, min(500, most))
	}
	return after, limit, err
}

func (a *admin) history(w http.ResponseWriter, r *request) error {
	after, limit, err := r.page(5000)
	if err != nil {
		return err
	}
	operation := r.query["operation"]
	events, next := a.events(r, after, limit, func(ev durable.Event) bool { return operation == "" || ev.OperationID == operation })
	return a.writeList(w, r, "events", func(yield func(any, error) bool) {
		for ev, err := range events {
			if !yield(a.showEvent(r, ev), err) {
				return
			}
		}
	}, next)
}

// events are up to limit events behind after that are wanted, or so many as fill a page; next is behind which event
// there are more, nil if there are none.
func (a *admin) events(r *request, after, limit int64, wanted func(durable.Event) bool) (events iter.Seq2[durable.Event, error], next func() any) {
	n, last, more := int64(0), int64(0), false
	return func(yield func(durable.Event, error) bool) {
			for ev, err := range a.engine.HistoryAfter(r.Context(), r.PathValue("id"), after) {
				if err == nil && !wanted(ev) {
					continue
				}
				if more = n == limit || r.full(); more {
					if err == nil {
						last = ev.EventID - 1 // all until there has been read
					}
					return
				}
				n, last = n+1, ev.EventID
				if !yield(ev, err) {
					return
				}
			}
		}, func() any {
			if !more {
				return nil
			}
			return last
		}
}

func (a *admin) recording(w http.ResponseWriter, r *request) error {
	if !r.payloads {
		return errHidden
	}
	recording, err := a.engine.Recording(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, recording)
}

func (a *admin) children(w http.ResponseWriter, r *request) error {
	after, limit, err := r.page(500)
	if err != nil {
		return err
	}
	invokes, next := a.events(r, after, limit, func(ev durable.Event) bool { return ev.InvokedID != "" })
	return a.writeList(w, r, "executions", func(yield func(any, error) bool) {
		for ev, err := range invokes {
			var x execution
			if err == nil {
				x, err = a.execution(r, ev.InvokedID)
			}
			if errors.Is(err, durable.ErrExecutionNotFound) && x.ID == "" && ev.InvokedID != "" {
				continue // not created yet, or deleted
			}
			if !yield(x, err) {
				return
			}
		}
	}, next)
}

// longestWait bounds ?wait=, below what proxies take for a dead connection.
const longestWait = time.Minute

func (a *admin) result(w http.ResponseWriter, r *request) error {
	var wait time.Duration
	if text := r.query["wait"]; text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > longestWait {
			return badRequest("wait is a duration like 30s, up to 1m")
		}
	}
	if !r.payloads {
		return errHidden
	}
	info, err := a.engine.Describe(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, cancel := a.untilShutdown(r)
	defer cancel()
	ctx, cancel = context.WithTimeoutCause(ctx, wait, errStillRunning)
	defer cancel()
	if info.Status == durable.ExecutionRunning && wait == 0 {
		return writeJSON(w, http.StatusAccepted, stillRunning{info.Status})
	} else if info.Status != durable.ExecutionRunning {
		ctx = r.Context()
	}
	result, err := a.engine.ResultJSON(ctx, info.ID)
	op, failed := errors.AsType[*durable.OpError](err)
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		w.Write(result)
		return nil
	case failed:
		if info, err = a.engine.Describe(r.Context(), info.ID); err != nil {
			return err
		}
		failure, _ := errors.AsType[*durable.Failure](op)
		return writeJSON(w, http.StatusConflict, executionFailed{"the execution did not succeed", "execution_failed", info.Status, a.showFailure(r, failure)})
	case errors.Is(err, errStillRunning), errors.Is(err, errShutdown):
		return writeJSON(w, http.StatusAccepted, stillRunning{durable.ExecutionRunning})
	}
	return err
}

var errStillRunning = errors.New("durablehttp: the execution is still running")

type stillRunning struct {
	Status durable.ExecutionStatus `json:"status"`
}

// executionFailed is the problem of an execution that has no result.
type executionFailed struct {
	Error   string                  `json:"error"`
	Code    string                  `json:"code"`
	Status  durable.ExecutionStatus `json:"status"`
	Failure *durable.Failure        `json:"failure"`
}

func (a *admin) functions(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, functionList{a.engine.Functions()})
}

type functionList struct {
	Functions []durable.FunctionInfo `json:"functions"`
}

func (a *admin) stats(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, a.engine.Stats())
}

func (a *admin) about(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, about{a.opts.ReadOnly, a.opts.HidePayloads, version(), now()})
}

type about struct {
	ReadOnly     bool      `json:"readOnly"`
	HidePayloads bool      `json:"hidePayloads"`
	Version      string    `json:"version"` // of this module
	Now          time.Time `json:"now"`     // by the clock of this process
}

// version is the version of this module in the program; "(devel)" if it has none.
func version() string {
	const module = "github.com/durable-go/durable"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
}

//go:embed openapi.json
var openAPI []byte

func (a *admin) openapi(w http.ResponseWriter, _ *request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Write(openAPI)
	return nil
}
