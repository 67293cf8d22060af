package durablehttp

import (
	"errors"
	"net/http"
	"time"
)

// backupTrailer is the trailer that tells whether a copy is whole.
const backupTrailer = "Durable-Backup"

// backup answers with a copy of the store, which holds every payload and the secret
// behind callback IDs: who asks must be allowed to steer and to see payloads.
func (a *admin) backup(w http.ResponseWriter, r *request) error {
	if err := a.nothing(w, r); err != nil {
		return err
	}
	if err := a.authorize(r.Request, Payloads); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", backupTrailer)
	out := &patient{w: w, c: http.NewResponseController(w)}
	written, err := a.engine.Backup(r.Context(), out)
	switch {
	case err == nil:
		w.Header().Set(backupTrailer, "complete")
		return nil
	case written == 0:
		w.Header().Del("Trailer")
		if errors.Is(err, errors.ErrUnsupported) {
			return problem{http.StatusNotImplemented, "unsupported", "the store has tools of its own for copies"}
		}
		return err
	}
	a.failed(r, err)
	panic(http.ErrAbortHandler) // the client has a part: it must see that it is one
}

// patient gives a client that takes what it gets as long as it needs, and one that takes
// nothing no longer than slowest.
type patient struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	p.c.SetWriteDeadline(time.Now().Add(slowest))
	return p.w.Write(b)
}
