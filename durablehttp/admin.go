package durablehttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durable-go/durable"
)

// AdminOptions of Inspect, Steer, Admin and ServeBeside. The zero value of each field
// is its default.
type AdminOptions struct {
	// Authorize decides whether a request may do what it asks for; nil is yes. It is
	// asked for each request, also for each stream of events once when it begins.
	// ErrUnauthenticated is answered 401, any other error 403; its text stays here.
	// Without it nothing is served but an error, unless AllowUnauthenticated is set.
	Authorize func(r *http.Request, access Access) error
	// Challenge is the WWW-Authenticate header of an answer 401; default
	// `Basic realm="durable"`, for which browsers ask for a name and a password.
	Challenge string
	// AllowUnauthenticated serves whoever can reach the server, if Authorize is nil:
	// for a server on localhost. Only requests for Hosts are served then, because a
	// web page can point a name of its own at 127.0.0.1.
	AllowUnauthenticated bool
	// ReadOnly leaves steering out.
	ReadOnly bool
	// HidePayloads leaves inputs, results, and the messages, data and stacks of failures
	// out, unless a request says ?payloads=true, for which Authorize is asked
	// about the access Payloads as well.
	HidePayloads bool
	// Origins are origins ("https://ops.example.com") whose pages may steer, besides
	// those of the server itself. They get no CORS headers from here.
	Origins []string
	// Hosts are the names under which the server may be addressed, with a port to
	// allow just that one. Default: any; with AllowUnauthenticated localhost,
	// 127.0.0.1 and [::1].
	Hosts []string
	// MaxBody bounds the body of a request in bytes; default 2 MiB. The engine's
	// Options.MaxPayload holds as well.
	MaxBody int64
	// MaxImport bounds the body of POST /import in bytes; default 64 MiB.
	MaxImport int64
	// Logger takes the errors that are answered with status 500, and a line at level
	// Info for each request that steered: what, and which execution. Default
	// slog.Default(). Payloads, reasons and callback IDs are never logged.
	Logger *slog.Logger
}

// Access is what a request is for.
type Access int

// What requests are for.
const (
	Reading  Access = 1 + iota // see executions
	Steering                   // start, end, repair and delete them, and complete their callbacks
	Payloads                   // see what AdminOptions.HidePayloads hides; asked after Reading
)

// String returns the name of the access: reading, steering or payloads.
func (a Access) String() string {
	switch a {
	case Reading:
		return "reading"
	case Steering:
		return "steering"
	case Payloads:
		return "payloads"
	}
	return fmt.Sprintf("Access(%d)", int(a))
}

// ErrUnauthenticated is what AdminOptions.Authorize returns for a request that does
// not say, or not truly, who asks: it is answered 401 with AdminOptions.Challenge.
var ErrUnauthenticated = errors.New("durablehttp: not authenticated")

// Inspect returns a handler that shows executions; it answers GET only. The document
// under /openapi.json describes its routes and answers; docs/admin-api.md is a
// guide. No answer holds a callback ID.
//
// Without an authorizer it answers each request with an error, see AdminOptions.
// Mount it under a prefix with http.StripPrefix. Streams of events end when the
// engine closes or the http.Server shuts down.
func Inspect(e *durable.Engine, opts *AdminOptions) http.Handler {
	return newAdmin(e, opts, readingRoutes)
}

// Steer returns a handler that starts, ends, repairs and deletes executions and
// completes their callbacks, named by execution and operation. It takes POST, with
// bodies of JSON that say so, and DELETE, and not from pages of other origins. It
// answers once what was asked for is durable. The rest is as of Inspect.
func Steer(e *durable.Engine, opts *AdminOptions) http.Handler {
	return newAdmin(e, opts, steeringRoutes)
}

// Admin returns Inspect and Steer as one handler; Inspect alone if opts.ReadOnly.
func Admin(e *durable.Engine, opts *AdminOptions) http.Handler {
	return newAdmin(e, opts, slices.Concat(readingRoutes, steeringRoutes))
}

// route is something that can be asked for.
type route struct {
	method, path string
	access       Access
	params       []string // of the query; all others are refused
	serve        func(*admin, http.ResponseWriter, *request) error
}

var errNoEngine = errors.New("durablehttp: the engine is nil: give the one that durable.Open or New returned, and look at the error that they return")

// admin serves routes.
type admin struct {
	engine *durable.Engine
	opts   AdminOptions
	local  bool // what is asked comes through a socket that only the owner can reach
	mux    *http.ServeMux
	cross  *http.CrossOriginProtection

	mu      sync.Mutex
	servers map[*http.Server]context.Context // end when the server shuts down
}

// request is a request whose parameters were checked.
type request struct {
	*http.Request
	query    map[string]string
	payloads bool // asked for, and allowed
	listed   int  // bytes of the items of a list so far
	subject       // for the log
}

// subject is what a request is about.
type subject struct {
	execution string
	operation string // its ID
	made      string // the ID of an execution that begins with what execution has recorded
}

func newAdmin(e *durable.Engine, opts *AdminOptions, routes []route) *admin {
	if e == nil {
		panic(errNoEngine) // when the program begins, not at the first request
	}
	a := &admin{engine: e, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection(), servers: make(map[*http.Server]context.Context)}
	if opts != nil {
		a.opts = *opts
	}
	a.opts.Logger = cmp.Or(a.opts.Logger, slog.Default())
	a.opts.MaxBody = cmp.Or(a.opts.MaxBody, defaultMaxBody)
	a.opts.MaxImport = cmp.Or(a.opts.MaxImport, 64<<20)
	a.opts.Challenge = cmp.Or(a.opts.Challenge, `Basic realm="durable"`)
	if len(a.opts.Hosts) == 0 && a.opts.Authorize == nil {
		a.opts.Hosts = []string{"localhost", "127.0.0.1", "[::1]"}
	}
	if a.refuses() {
		a.opts.Logger.Error("durablehttp: " + errNoAuthorizer.text)
	}
	for _, origin := range a.opts.Origins {
		if err := a.cross.AddTrustedOrigin(origin); err != nil {
			a.opts.Logger.Error("durablehttp: one of AdminOptions.Origins is not an origin like https://ops.example.com: it is left out", "origin", origin)
		}
	}
	paths := make(map[string][]route)
	for _, r := range routes {
		if r.access != Steering || !a.opts.ReadOnly {
			paths[r.path] = append(paths[r.path], r)
		}
	}
	for path, here := range paths {
		a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { a.dispatch(w, r, here) })
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeProblem(w, errNoPath) })
	return a
}

// refuses reports whether nobody said who may do what.
func (a *admin) refuses() bool { return a.opts.Authorize == nil && !a.opts.AllowUnauthenticated }

func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	asked := r.URL.EscapedPath()
	switch clean := path.Clean(asked); {
	case a.refuses():
		a.opts.Logger.Error("durablehttp: "+errNoAuthorizer.text, "method", r.Method)
		writeProblem(w, errNoAuthorizer)
	case !a.local && !a.addressed(r.Host):
		writeProblem(w, problem{http.StatusForbidden, "forbidden", "the server is not addressed by this name: see AdminOptions.Hosts"})
	case asked != clean: // the mux would redirect, past the prefix that it can't know
		writeProblem(w, errNoPath)
	default:
		a.mux.ServeHTTP(w, r)
	}
}

// addressed reports whether host, of a request, is one of AdminOptions.Hosts.
func (a *admin) addressed(host string) bool {
	if len(a.opts.Hosts) == 0 {
		return true
	}
	name := host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name = host[:i]
	}
	return slices.ContainsFunc(a.opts.Hosts, func(h string) bool { return strings.EqualFold(h, host) || strings.EqualFold(h, name) })
}

// dispatch serves a request for a path by the route that has its method.
func (a *admin) dispatch(w http.ResponseWriter, r *http.Request, routes []route) {
	i := slices.IndexFunc(routes, func(here route) bool { return here.method == r.Method })
	if i < 0 {
		var methods []string
		for _, here := range routes {
			methods = append(methods, here.method)
		}
		allow := strings.Join(methods, ", ")
		w.Header().Set("Allow", allow)
		writeProblem(w, problem{http.StatusMethodNotAllowed, "method_not_allowed", "use " + allow})
		return
	}
	req := &request{Request: r, subject: subject{execution: r.PathValue("id")}}
	err := a.serve(w, req, &routes[i])
	if err == nil {
		if routes[i].access == Steering {
			a.opts.Logger.Info("durablehttp: steered", req.keys()...)
		}
		return
	}
	if refused := refusedRetryOf(err); refused != nil {
		writeJSON(w, http.StatusConflict, refused)
		return
	}
	p := problemOf(err)
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", a.opts.Challenge)
	}
	if p.status == http.StatusInternalServerError && r.Context().Err() == nil {
		a.failed(req, err)
	}
	writeProblem(w, p)
}

// failed logs an error that the outside is not told.
func (a *admin) failed(r *request, err error) {
	a.opts.Logger.Error("durablehttp: a request failed", append(r.keys(), "error", err.Error())...)
}

// keys are those of a line of the log.
func (r *request) keys() []any {
	keys := []any{"route", r.Method + " " + r.Pattern}
	for _, k := range []struct{ key, value string }{{"execution", r.execution}, {"operation", r.operation}, {"new", r.made}} {
		if k.value != "" {
			keys = append(keys, k.key, k.value)
		}
	}
	return keys
}

func (a *admin) serve(w http.ResponseWriter, req *request, route *route) error {
	r := req.Request
	if route.access == Steering {
		if err := a.cross.Check(r); err != nil {
			return problem{http.StatusForbidden, "forbidden", "a page of another origin may not steer: see AdminOptions.Origins"}
		}
	}
	if err := a.authorize(r, route.access); err != nil {
		return err
	}
	query, err := parameters(r, route.params)
	if err != nil {
		return err
	}
	req.query = query
	if slices.Contains(route.params, "payloads") {
		if err := a.grantPayloads(req, route); err != nil {
			return err
		}
	}
	return route.serve(a, w, req)
}

func (a *admin) authorize(r *http.Request, access Access) error {
	if a.opts.Authorize == nil {
		return nil
	}
	switch err := a.opts.Authorize(r, access); {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnauthenticated):
		return problem{http.StatusUnauthorized, "unauthorized", "say who you are"}
	}
	return problem{http.StatusForbidden, "forbidden", "not allowed: " + access.String()}
}

// grantPayloads decides whether the answer holds payloads.
func (a *admin) grantPayloads(r *request, route *route) error {
	switch r.query["payloads"] {
	case "":
		r.payloads = !a.opts.HidePayloads && !slices.Contains(briefRoutes, route.path)
	case "true":
		r.payloads = true
		if a.opts.HidePayloads {
			return a.authorize(r.Request, Payloads)
		}
	case "false":
	default:
		return badRequest("payloads is true or false")
	}
	return nil
}

// now is the time as answers have it.
func now() time.Time { return time.Now().UTC() }
