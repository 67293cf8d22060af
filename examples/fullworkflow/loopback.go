package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/durableui"
)

// loopback serves this machine while the program runs and nobody else can open
// its file: it takes callbacks, tells histories, and has the console, in front of the
// admin API. The same API is on a socket beside the file, for the durable command.
// Its address stands in a file
// beside the database, readable by the user alone; a secret in the address keeps
// other users of the machine out. After kill -9 that file stays behind, which
// does no harm: it is looked at only while the database is locked, and whoever
// locks the database to run replaces it.
type loopback struct {
	server  *http.Server
	path    string
	address string // of the console
	leave   func() // the socket
}

func addressFile(db string) string { return db + ".addr" }

// listen serves e until close.
func listen(db string, e *durable.Engine, log *slog.Logger) (*loopback, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for resume and history: %w", err)
	}
	secret := "/" + rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/callbacks/", durablehttp.Callbacks(e, nil))
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) { serveHistory(w, r, e) })
	admin := &durablehttp.AdminOptions{AllowUnauthenticated: true, Logger: log} // who has the secret
	mux.Handle("/", durableui.Handler(durablehttp.Admin(e, admin)))
	base := "http://" + listener.Addr().String() + secret
	l := &loopback{
		server:  &http.Server{Handler: http.StripPrefix(secret, mux), ReadHeaderTimeout: 5 * time.Second},
		path:    addressFile(db),
		address: base + "/",
	}
	if err := writePrivately(l.path, base); err != nil {
		listener.Close()
		return nil, fmt.Errorf("leave the address for resume and history: %w", err)
	}
	go l.server.Serve(listener)
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() {
		defer close(left)
		if err := durablehttp.ServeBeside(ctx, e, db, admin); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			log.Warn("durable --store can't reach this program while it runs", "error", err)
		}
	}()
	l.leave = func() { cancel(); <-left }
	return l, nil
}

// close ends serving. It may be called again, and if nothing listens.
func (l *loopback) close() {
	if l == nil || l.path == "" {
		return
	}
	os.Remove(l.path)
	l.path = ""
	l.server.Close()
	l.leave()
}

// writePrivately replaces a file as a whole, so that nobody reads half an address.
func writePrivately(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails if all went well
	if _, err := f.WriteString(text + "\n"); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func serveHistory(w http.ResponseWriter, r *http.Request, e *durable.Engine) {
	w.Header().Set("Content-Type", "application/json")
	h, err := readHistory(r.Context(), e, r.URL.Query().Get("id"))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(refusal{Error: plain(err)})
		return
	}
	json.NewEncoder(w).Encode(h)
}
