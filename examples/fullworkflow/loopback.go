package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

// loopback serves this machine while the program runs and nobody else can open
// its file: it takes callbacks and tells histories. Its address stands in a file
// beside the database, readable by the user alone; a secret in the address keeps
// other users of the machine out. After kill -9 that file stays behind, which
// does no harm: it is looked at only while the database is locked, and whoever
// locks the database to run replaces it.
type loopback struct {
	server *http.Server
	path   string
}

func addressFile(db string) string { return db + ".addr" }

// listen serves e until close.
func listen(db string, e *durable.Engine) (*loopback, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for resume and history: %w", err)
	}
	secret := "/" + rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/callbacks/", durablehttp.Callbacks(e, nil))
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) { serveHistory(w, r, e) })
	l := &loopback{
		server: &http.Server{Handler: http.StripPrefix(secret, mux), ReadHeaderTimeout: 5 * time.Second},
		path:   addressFile(db),
	}
	if err := writePrivately(l.path, "http://"+listener.Addr().String()+secret); err != nil {
		listener.Close()
		return nil, fmt.Errorf("leave the address for resume and history: %w", err)
	}
	go l.server.Serve(listener)
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
