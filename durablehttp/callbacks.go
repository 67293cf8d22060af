package durablehttp

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/durable-go/durable"
)

// Options of a handler. The zero value of each field is its default.
type Options struct {
	// MaxBody bounds the body of a request in bytes; default 2 MiB. The engine's
	// Options.MaxPayload holds as well.
	MaxBody int64
	// Logger takes the errors that are answered with status 500; default
	// slog.Default(). Callback IDs and payloads are never logged.
	Logger *slog.Logger
}

// DefaultFailureType is the Type of a failure that is reported without one.
const DefaultFailureType = "CallbackFailed"

const defaultMaxBody = 2 << 20

// Callbacks returns a handler through which the outside completes callbacks:
//
//	POST /callbacks/{id}/succeed     the body is the payload: any JSON value; none is null
//	POST /callbacks/{id}/fail        {"type": …, "message": …, "data": …}; each, and the body, may be absent
//	POST /callbacks/{id}/heartbeat   no body
//
// It answers 204 once the outcome is durable. Anything else is an error with the
// body {"error": text, "code": code}, and the callback is as it was:
//
//	400 bad_request              the body is not what is said above
//	404 not_found                no such callback, or no such path
//	405 method_not_allowed       not a POST
//	409 already_completed        the callback has an outcome, timed out, or nobody waits for it any more
//	413 payload_too_large        see Options.MaxBody and durable.Options.MaxPayload
//	415 unsupported_media_type   a Content-Type that is not JSON in UTF-8; none is fine
//	503 closed, store_failed     the engine takes nothing any more: try again later, or elsewhere
//	500 damaged                  what is recorded of the execution can't be read
//	500 internal                 anything else
//
// A failure without a type gets DefaultFailureType. A field that is not one of
// those above is refused: a callback is completed once, so a misspelt message
// would be lost for good.
//
// Repeating a request is safe: the second one is answered 409. To mount the
// handler under a prefix use http.StripPrefix.
func Callbacks(e *durable.Engine, opts *Options) http.Handler {
	if e == nil {
		panic(errNoEngine)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	h := &callbacks{
		engine:  e,
		maxBody: cmp.Or(o.MaxBody, defaultMaxBody),
		log:     cmp.Or(o.Logger, slog.Default()),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/callbacks/{id}/succeed", h.serve(h.succeed))
	mux.HandleFunc("/callbacks/{id}/fail", h.serve(h.fail))
	mux.HandleFunc("/callbacks/{id}/heartbeat", h.serve(h.heartbeat))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, problem{http.StatusNotFound, "not_found", "no such path: POST /callbacks/{id}/succeed, /fail or /heartbeat"})
	})
	return mux
}

type callbacks struct {
	engine  *durable.Engine
	maxBody int64
	log     *slog.Logger
}

// serve makes an HTTP handler of an action on the callback named in the path.
func (h *callbacks) serve(action func(http.ResponseWriter, *http.Request, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			writeProblem(w, problem{http.StatusMethodNotAllowed, "method_not_allowed", "use POST"})
			return
		}
		err := action(w, r, r.PathValue("id"))
		if err == nil {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		p := problemOf(err)
		if p.status == http.StatusInternalServerError && r.Context().Err() == nil {
			h.log.Error("durablehttp: a callback could not be completed", "route", r.Method+" "+r.Pattern, "error", err.Error())
		}
		writeProblem(w, p)
	}
}

func (h *callbacks) succeed(w http.ResponseWriter, r *http.Request, id string) error {
	payload, err := jsonBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	if payload != nil && !json.Valid(payload) {
		return errNotJSON
	}
	return h.engine.SucceedCallback(r.Context(), id, payload)
}

func (h *callbacks) fail(w http.ResponseWriter, r *http.Request, id string) error {
	body, err := jsonBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	failure, err := decodeFailure(body)
	if err != nil {
		return err
	}
	return h.engine.FailCallback(r.Context(), id, failure)
}

func (h *callbacks) heartbeat(_ http.ResponseWriter, r *http.Request, id string) error {
	return h.engine.HeartbeatCallback(r.Context(), id)
}

// decodeFailure decodes the body of a fail request.
func decodeFailure(body []byte) (durable.Failure, error) {
	var f struct {
		Type    string          `json:"type"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := decodeStrict(body, &f); err != nil {
		return durable.Failure{}, badRequest("the body is not a failure, which is {\"type\": …, \"message\": …, \"data\": …}: " + err.Error())
	}
	return durable.Failure{Type: cmp.Or(f.Type, DefaultFailureType), Message: f.Message, Data: f.Data}, nil
}
