package durablehttp

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// steeringRoutes are what Steer serves.
var steeringRoutes = []route{
	{"POST", "/executions", Steering, nil, (*admin).start},
	{"POST", "/executions/{id}/cancel", Steering, nil, (*admin).cancel},
	{"POST", "/executions/{id}/stop", Steering, nil, (*admin).stop},
	{"POST", "/executions/{id}/resume", Steering, nil, (*admin).resume},
	{"POST", "/executions/{id}/retry", Steering, nil, (*admin).retry},
	{"POST", "/executions/{id}/restart", Steering, nil, (*admin).restart},
	{"POST", "/executions/{id}/callbacks/{operation}/succeed", Steering, nil, (*admin).succeedCallback},
	{"POST", "/executions/{id}/callbacks/{operation}/fail", Steering, nil, (*admin).failCallback},
	{"POST", "/executions/{id}/callbacks/{operation}/heartbeat", Steering, nil, (*admin).heartbeatCallback},
	{"POST", "/import", Steering, []string{"id", "newIdempotencyKeys"}, (*admin).importExecution},
	{"DELETE", "/executions/{id}", Steering, nil, (*admin).delete},
	{"POST", "/store/backup", Steering, nil, (*admin).backup},
}

// steeringBody reads the body of a steering request. One that is there must say that it
// is JSON, which a form of a foreign page can't.
func steeringBody(w http.ResponseWriter, r *request, max int64) (json.RawMessage, error) {
	body, err := jsonBody(w, r.Request, max)
	if err == nil && body != nil && r.Header.Get("Content-Type") == "" {
		err = errNotJSONType
	}
	return body, err
}

// decode decodes the body of a request into v, which says what it is like.
func (a *admin) decode(w http.ResponseWriter, r *request, v any, like string) error {
	body, err := steeringBody(w, r, a.opts.MaxBody)
	if err != nil {
		return err
	}
	if err := decodeStrict(body, v); err != nil {
		return badRequest("the body is not " + like + ": " + err.Error())
	}
	return nil
}

// noContent answers that it is done.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// created answers with the ID of a new execution, which is what the request is about
// unless it is about another one.
func created(w http.ResponseWriter, r *request, id string, err error) error {
	if err != nil {
		return err
	}
	if r.PathValue("id") == "" {
		r.execution = id
	} else {
		r.made = id
	}
	return writeJSON(w, http.StatusCreated, newExecution{id})
}

type newExecution struct {
	ID string `json:"id"`
}

type startRequest struct {
	Function string          `json:"function"`
	Input    json.RawMessage `json:"input"`
	ID       *string         `json:"id"`
	Timeout  string          `json:"timeout"`
}

func (a *admin) start(w http.ResponseWriter, r *request) error {
	var in startRequest
	if err := a.decode(w, r, &in, `{"function": …, "input": …, "id": …, "timeout": "1h"}`); err != nil {
		return err
	}
	if in.Input == nil {
		in.Input = json.RawMessage("null")
	}
	opts := idOption(in.ID)
	if in.Timeout != "" {
		d, err := time.ParseDuration(in.Timeout)
		if err != nil || d <= 0 {
			return badRequest("timeout is a duration like 90s or 1h30m, and positive")
		}
		opts = append(opts, durable.WithExecutionTimeout(d))
	}
	r.execution = asked(in.ID)
	id, err := a.engine.StartByName(r.Context(), in.Function, in.Input, opts...)
	if errors.Is(err, durable.ErrFunctionNotFound) {
		return a.noFunction(r, in.Function)
	}
	return created(w, r, id, err)
}

// noFunction says which function there is none of, and to who may know it which there are.
func (a *admin) noFunction(r *request, name string) error {
	const shownName, shownFunctions = 128, 20
	text := fmt.Sprintf("the engine has no function %.*q", shownName, name)
	if a.authorize(r.Request, Reading) == nil {
		var names []string
		for _, f := range a.engine.Functions() {
			names = append(names, f.Name)
		}
		switch n := len(names); {
		case n == 0:
			text += ": it has none"
		case n > shownFunctions:
			text += fmt.Sprintf(": it has %s and %d more", strings.Join(names[:shownFunctions], ", "), n-shownFunctions)
		default:
			text += ": it has " + strings.Join(names, ", ")
		}
	}
	return problem{http.StatusNotFound, "function_not_found", text}
}

// taken is err, of a request for an execution that is not a plain start: the ID may be
// taken whatever the function and the input are.
func taken(err error) error {
	if errors.Is(err, durable.ErrExecutionExists) {
		return problem{http.StatusConflict, "execution_exists", "the ID is taken by another execution: give another one"}
	}
	return err
}

// asked is the ID that was asked for; "" if none was.
func asked(id *string) string {
	if id == nil {
		return ""
	}
	return *id
}

func idOption(id *string) []durable.StartOption {
	if id == nil {
		return nil
	}
	return []durable.StartOption{durable.WithExecutionID(*id)}
}

type reasonRequest struct {
	Reason string `json:"reason"`
}

func (a *admin) cancel(w http.ResponseWriter, r *request) error {
	var in reasonRequest
	if err := a.decode(w, r, &in, `{"reason": …}`); err != nil {
		return err
	}
	return noContent(w, a.engine.Cancel(r.Context(), r.PathValue("id"), in.Reason))
}

func (a *admin) stop(w http.ResponseWriter, r *request) error {
	var in reasonRequest
	if err := a.decode(w, r, &in, `{"reason": …}`); err != nil {
		return err
	}
	return noContent(w, a.engine.Stop(r.Context(), r.PathValue("id"), in.Reason))
}

func (a *admin) resume(w http.ResponseWriter, r *request) error {
	if err := a.nothing(w, r); err != nil {
		return err
	}
	return noContent(w, a.engine.Resume(r.Context(), r.PathValue("id")))
}

func (a *admin) delete(w http.ResponseWriter, r *request) error {
	if err := a.nothing(w, r); err != nil {
		return err
	}
	return noContent(w, a.engine.Delete(r.Context(), r.PathValue("id")))
}

type retryRequest struct {
	ID                 *string `json:"id"`
	AllowDrop          bool    `json:"allowDrop"`
	NewIdempotencyKeys bool    `json:"newIdempotencyKeys"`
}

func (a *admin) retry(w http.ResponseWriter, r *request) error {
	var in retryRequest
	if err := a.decode(w, r, &in, `{"id": …, "allowDrop": true, "newIdempotencyKeys": true}`); err != nil {
		return err
	}
	opts := againOptions(in.ID, in.NewIdempotencyKeys)
	if in.AllowDrop {
		opts = append(opts, durable.AllowDrop())
	}
	id, err := a.engine.Retry(r.Context(), r.PathValue("id"), opts...)
	return created(w, r, id, taken(err))
}

// refusedRetry is the problem of a retry that was refused, with what the next request needs.
type refusedRetry struct {
	Error   string                     `json:"error"`
	Code    string                     `json:"code"`
	Dropped []durable.DroppedOperation `json:"dropped,omitempty"` // would_drop
	Retry   string                     `json:"retry,omitempty"`   // invoked: the execution to retry instead
}

// refusedRetryOf is nil if err is another one.
func refusedRetryOf(err error) *refusedRetry {
	p := problemOf(err)
	drop, _ := errors.AsType[*durable.DropError](err)
	invoked, _ := errors.AsType[*durable.InvokedError](err)
	switch {
	case drop != nil:
		return &refusedRetry{p.text, p.code, drop.Operations, ""}
	case invoked != nil:
		return &refusedRetry{p.text, p.code, nil, invoked.Retry}
	}
	return nil
}

// againOptions are those of an execution that begins as another one.
func againOptions(id *string, newKeys bool) []durable.StartOption {
	opts := idOption(id)
	if newKeys {
		opts = append(opts, durable.WithNewIdempotencyKeys())
	}
	return opts
}

type restartRequest struct {
	Operation          string  `json:"operation"`
	ID                 *string `json:"id"`
	NewIdempotencyKeys bool    `json:"newIdempotencyKeys"`
}

func (a *admin) restart(w http.ResponseWriter, r *request) error {
	var in restartRequest
	if err := a.decode(w, r, &in, `{"operation": …, "id": …, "newIdempotencyKeys": true}`); err != nil {
		return err
	}
	id, err := a.engine.RestartFrom(r.Context(), r.PathValue("id"), in.Operation, againOptions(in.ID, in.NewIdempotencyKeys)...)
	return created(w, r, id, taken(err))
}

func (a *admin) importExecution(w http.ResponseWriter, r *request) error {
	body, err := steeringBody(w, r, a.opts.MaxImport)
	if err != nil {
		return err
	}
	var recording durable.Recording
	if err := json.Unmarshal(body, &recording); err != nil {
		return badRequest("the body is not a recording: " + err.Error())
	}
	var asID *string
	if id, ok := r.query["id"]; ok {
		asID = &id
	}
	r.execution = cmp.Or(asked(asID), recording.ID)
	newKeys, err := r.boolean("newIdempotencyKeys")
	if err != nil {
		return err
	}
	id, err := a.engine.Import(r.Context(), &recording, againOptions(asID, newKeys)...)
	if errors.Is(err, durable.ErrCorrupt) {
		return badRequest("the body is not a recording that can go on: " + err.Error())
	}
	if errors.Is(err, durable.ErrExecutionExists) {
		err = problem{http.StatusConflict, "execution_exists", "the ID is taken by another execution, or by this one, which is not any more as it was recorded: give another ID"}
	}
	return created(w, r, id, err)
}

// nothing checks that a body that says nothing is all there is.
func (a *admin) nothing(w http.ResponseWriter, r *request) error {
	return a.decode(w, r, &struct{}{}, "empty, which it is for this path")
}

func (a *admin) succeedCallback(w http.ResponseWriter, r *request) error {
	payload, err := steeringBody(w, r, a.opts.MaxBody)
	if err != nil {
		return err
	}
	if payload != nil && !json.Valid(payload) {
		return errNotJSON
	}
	id, err := a.callbackID(r)
	if err != nil {
		return err
	}
	return noContent(w, a.engine.SucceedCallback(r.Context(), id, payload))
}

func (a *admin) failCallback(w http.ResponseWriter, r *request) error {
	body, err := steeringBody(w, r, a.opts.MaxBody)
	if err != nil {
		return err
	}
	failure, err := decodeFailure(body)
	if err != nil {
		return err
	}
	id, err := a.callbackID(r)
	if err != nil {
		return err
	}
	return noContent(w, a.engine.FailCallback(r.Context(), id, failure))
}

func (a *admin) heartbeatCallback(w http.ResponseWriter, r *request) error {
	if err := a.nothing(w, r); err != nil {
		return err
	}
	id, err := a.callbackID(r)
	if err != nil {
		return err
	}
	return noContent(w, a.engine.HeartbeatCallback(r.Context(), id))
}

// callbackID is the ID of the callback that the path names: by the ID of its
// operation, or by its name if only one open callback has it. Engine.CallbackID would
// wait while there is none.
func (a *admin) callbackID(r *request) (string, error) {
	ops, err := a.engine.Operations(r.Context(), r.PathValue("id"))
	if err != nil {
		return "", err
	}
	var found []durable.Operation // callbacks of the name
	open := ""
	for _, o := range ops {
		if o.Type != "CALLBACK" || o.Name != r.PathValue("operation") && o.ID != r.PathValue("operation") {
			continue
		}
		if r.operation = o.ID; o.ID == r.PathValue("operation") {
			found, open = []durable.Operation{o}, o.CallbackID
			break
		}
		if found = append(found, o); o.CallbackID != "" && open != "" {
			return "", durable.ErrCallbackAmbiguous
		} else if o.CallbackID != "" {
			open = o.CallbackID
		}
	}
	switch {
	case len(found) == 0:
		return "", durable.ErrCallbackNotFound
	case open == "":
		return "", durable.ErrCallbackCompleted
	}
	return open, nil
}
