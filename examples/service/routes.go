package main

import (
	"net/http"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/durableui"
)

// routes are all that the service answers.
func routes(e *durable.Engine, s *shop, p *provider, admin *password, metrics http.Handler) http.Handler {
	api := durablehttp.Admin(e, &durablehttp.AdminOptions{Authorize: admin.authorize})
	mux := http.NewServeMux()

	// For everybody. The ID in the path of a callback is the permission to complete it.
	mux.HandleFunc("POST /orders", s.create)
	mux.HandleFunc("GET /orders/{id}", s.show)
	mux.Handle("/callbacks/", durablehttp.Callbacks(e, nil))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := e.Count(r.Context(), durable.Query{}); err != nil { // the store can be read
			answer(w, http.StatusServiceUnavailable, "the store can't be read")
			return
		}
		answer(w, http.StatusOK, map[string]bool{"ok": true})
	})

	// For those with the password.
	mux.Handle("/console/", admin.guard(http.StripPrefix("/console", durableui.Handler(api))))
	mux.Handle("/admin/", http.StripPrefix("/admin", api))
	mux.Handle("GET /metrics", admin.guard(metrics))
	mux.Handle("POST /broken/payment", admin.guard(p.set(true)))
	mux.Handle("DELETE /broken/payment", admin.guard(p.set(false)))
	return mux
}
