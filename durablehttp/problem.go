package durablehttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/durable-go/durable"
)

// problem is an answer that is not a success.
type problem struct {
	status int
	code   string
	text   string
}

func (p problem) Error() string { return p.text }

// MarshalJSON returns what the outside is told.
func (p problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}{p.text, p.code})
}

var (
	errNotJSON     = badRequest("the body is not JSON")
	errNotJSONType = problem{http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json in UTF-8, uncompressed"}
)

// Answers of the admin handlers.
var (
	errNoAuthorizer = problem{http.StatusInternalServerError, "no_authorizer", "this handler serves nothing: set AdminOptions.Authorize, or AllowUnauthenticated on localhost"}
	errNoPath       = problem{http.StatusNotFound, "not_found", "no such path: see openapi.json"}
	errNoOperation  = problem{http.StatusNotFound, "operation_not_found", "the execution has no such operation"}
	errHidden       = problem{http.StatusForbidden, "payloads_hidden", "payloads are hidden: ask with payloads=true"}
)

func badRequest(text string) problem {
	return problem{http.StatusBadRequest, "bad_request", text}
}

// problemOf is the answer to an error. The text of an error that is not known
// here is not told to the outside.
func problemOf(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem{http.StatusRequestEntityTooLarge, "payload_too_large", fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	}
	switch {
	case errors.Is(err, durable.ErrCallbackNotFound):
		return problem{http.StatusNotFound, "not_found", "no such callback"}
	case errors.Is(err, durable.ErrCallbackCompleted):
		return problem{http.StatusConflict, "already_completed", "the callback has an outcome already, timed out, or nobody waits for it any more"}
	case errors.Is(err, durable.ErrCallbackAmbiguous):
		return problem{http.StatusConflict, "callback_ambiguous", "several open callbacks have that name: use the ID of the operation"}
	case errors.Is(err, durable.ErrInvalidID):
		return problem{http.StatusBadRequest, "invalid_id", "IDs of executions have 1 to 128 of A-Z a-z 0-9 . _ : -, and new ones are not . or .. and don't begin with inv-"}
	case errors.Is(err, durable.ErrExecutionNotFound):
		return problem{http.StatusNotFound, "execution_not_found", "no such execution"}
	case errors.Is(err, durable.ErrExecutionExists):
		return problem{http.StatusConflict, "execution_exists", "the ID is taken by an execution of another function or with another input"}
	case errors.Is(err, durable.ErrExecutionRunning):
		return problem{http.StatusConflict, "execution_running", "the execution has not ended, or one that it invoked has not"}
	case errors.Is(err, durable.ErrExecutionSucceeded):
		return problem{http.StatusConflict, "execution_succeeded", "the execution has succeeded: there is nothing to retry, but it can be restarted"}
	case errors.Is(err, durable.ErrWouldDrop):
		return problem{http.StatusConflict, "would_drop", "the retry would forget what happened after the failure: ask with allowDrop, or restart from the first operation that was undone, with newIdempotencyKeys"}
	case errors.Is(err, durable.ErrInvoked):
		return problem{http.StatusConflict, "invoked", "the execution was invoked, and nobody would take the result of another one: retry its caller, which keeps what this one has finished"}
	case errors.Is(err, durable.ErrOperationNotFound):
		return errNoOperation
	case errors.Is(err, durable.ErrFunctionNotFound):
		return problem{http.StatusNotFound, "function_not_found", "the engine has no function with this name"}
	case errors.Is(err, durable.ErrPayloadTooLarge):
		return problem{http.StatusRequestEntityTooLarge, "payload_too_large", "the payload is larger than the engine takes"}
	case errors.Is(err, durable.ErrClosed):
		return problem{http.StatusServiceUnavailable, "closed", "the engine is closed: try again later"}
	case errors.Is(err, durable.ErrStoreFailed):
		return problem{http.StatusServiceUnavailable, "store_failed", "the store takes no writes until it is opened again: try again later"}
	case errors.Is(err, durable.ErrCorrupt):
		return problem{http.StatusInternalServerError, "damaged", "something that is recorded is damaged and can't be read: the log of the service says where"}
	}
	return problem{http.StatusInternalServerError, "internal", "internal error"}
}

// writeProblem writes p as JSON.
func writeProblem(w http.ResponseWriter, p problem) {
	body, _ := json.Marshal(p)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.status)
	w.Write(append(body, '\n'))
}
