package durablehttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/durable-go/durable"
)

const (
	heartbeatEvery = 15 * time.Second
	changedEvery   = 250 * time.Millisecond
	// mostChanged bounds the IDs in one event of changes.
	mostChanged = 500
	// slowest is how long a client may take nothing before it is cut off.
	slowest = 30 * time.Second
)

// stream sends server-sent events to one client.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// openStream begins an answer that is a stream.
func openStream(w http.ResponseWriter) (*stream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy would keep events back
	s := &stream{w, http.NewResponseController(w)}
	if err := s.flush(); err != nil {
		return nil, err
	}
	s.print("retry: 2000\n\n")
	return s, s.flush()
}

// unlistened is the error of a stream that could not begin: none if only nobody listens
// any more.
func unlistened(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("durablehttp: a middleware's ResponseWriter can't flush: give it Unwrap, see http.ResponseController: %w", err)
	}
	return nil
}

// print writes text, which is sent with the next flush. An error shows there.
func (s *stream) print(text string) {
	s.c.SetWriteDeadline(time.Now().Add(slowest)) // instead of the server's, which is for whole answers
	fmt.Fprint(s.w, text)
}

// event writes an event; id may be "".
func (s *stream) event(name, id string, data any) error {
	encoded, err := json.Marshal(data) // has no line breaks
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	s.print("event: " + name + "\n" + id + "data: " + string(encoded) + "\n\n")
	return nil
}

func (s *stream) flush() error { return s.c.Flush() }

var errShutdown = errors.New("durablehttp: the server shuts down")

// untilShutdown is the request's context, which also ends when its server begins to
// shut down: http.Server.Shutdown waits for answers that would never end.
func (a *admin) untilShutdown(r *request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(r.Context())
	release := func() bool { return true }
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		release = context.AfterFunc(a.life(server), func() { cancel(errShutdown) })
	}
	return ctx, func() { release(); cancel(context.Canceled) }
}

// life is a context that ends when the server begins to shut down.
func (a *admin) life(server *http.Server) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.servers[server] == nil {
		ctx, end := context.WithCancel(context.Background())
		a.servers[server] = ctx
		server.RegisterOnShutdown(func() {
			end()
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.servers, server)
		})
	}
	return a.servers[server]
}

// pumped is a sequence as a channel, read ahead by a goroutine. It is closed at the
// sequence's end; stop ends the sequence by its context and returns when that is done.
func pumped[T any](ctx context.Context, cancel context.CancelFunc, seq iter.Seq[T]) (items <-chan T, stop func()) {
	c := make(chan T, 64)
	go func() {
		defer close(c)
		for item := range seq {
			select {
			case c <- item:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c, func() {
		cancel()
		for range c {
		}
	}
}

// changes streams the IDs of executions that something happened to.
func (a *admin) changes(w http.ResponseWriter, r *request) error {
	if err := a.alive(r.Context()); err != nil {
		return err
	}
	ctx, cancel := a.untilShutdown(r)
	ids, stop := pumped(ctx, cancel, a.engine.Changes(ctx))
	defer stop()
	s, err := openStream(w)
	if err != nil {
		return unlistened(err)
	}
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	next := time.NewTimer(time.Hour)
	next.Stop()
	pending, sent := make(map[string]struct{}), time.Time{}
	for {
		select {
		case id, ok := <-ids:
			if !ok {
				return nil
			}
			if len(pending) == 0 {
				next.Reset(changedEvery - time.Since(sent)) // at once if that is over
			}
			pending[id] = struct{}{}
			continue
		case <-next.C:
			s.changed(pending)
			clear(pending)
			sent = time.Now()
		case <-heartbeat.C:
			s.print(":\n\n")
		}
		if s.flush() != nil {
			return nil
		}
	}
}

func (s *stream) changed(ids map[string]struct{}) {
	c := changed{IDs: make([]string, 0, min(len(ids), mostChanged))}
	for id := range ids {
		if c.More = len(c.IDs) == mostChanged; c.More {
			break
		}
		c.IDs = append(c.IDs, id)
	}
	slices.Sort(c.IDs)
	s.event("changed", "", c)
}

// changed is the data of an event of changes.
type changed struct {
	IDs  []string `json:"ids"`
	More bool     `json:"more,omitempty"` // others changed as well: read again what is shown
}

// alive is an error when the engine can't be asked any more.
func (a *admin) alive(ctx context.Context) error {
	for info, err := range a.engine.Executions(ctx, durable.Query{Limit: 1}) {
		if info.Number == 0 {
			return err
		}
	}
	return nil
}

// follow streams the events of an execution, those that were and those that come.
func (a *admin) follow(w http.ResponseWriter, r *request) error {
	after, err := r.number("after", 0, 1<<62, 0)
	if err != nil {
		return err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" { // a client that connects again
		if after, err = strconv.ParseInt(last, 10, 64); err != nil || after < 0 {
			return badRequest("Last-Event-ID is not the ID of an event")
		}
	}
	id := r.PathValue("id")
	if x, err := a.engine.Describe(r.Context(), id); err != nil && x.ID == "" {
		return err
	}
	ctx, cancel := a.untilShutdown(r)
	type item struct {
		ev  durable.Event
		err error
	}
	items, stop := pumped(ctx, cancel, func(yield func(item) bool) {
		for ev, err := range a.engine.Follow(ctx, id, after) {
			if !yield(item{ev, err}) {
				return
			}
		}
	})
	defer stop()
	s, err := openStream(w)
	if err != nil {
		return unlistened(err)
	}
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for {
		select {
		case it, ok := <-items:
			switch {
			case !ok:
				s.event("end", "", struct{}{})
				s.flush()
				return nil
			case it.err != nil:
				s.problem(a, r, it.err)
				return nil
			}
			if err := s.event("event", strconv.FormatInt(it.ev.EventID, 10), a.showEvent(r, it.ev)); err != nil {
				s.problem(a, r, err)
				return nil
			}
			if len(items) > 0 {
				continue // they go out together
			}
		case <-heartbeat.C:
			s.print(":\n\n")
		}
		if s.flush() != nil {
			return nil
		}
	}
}

// problem ends a stream that can't go on, without the event that says that all was told.
func (s *stream) problem(a *admin, r *request, err error) {
	if r.Context().Err() != nil || errors.Is(err, errShutdown) {
		return
	}
	p := problemOf(err)
	if p.status == http.StatusInternalServerError {
		a.failed(r, err)
	}
	s.event("problem", "", p)
	s.flush()
}
