package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/durable-go/durable"
)

// shop is the API for customers.
type shop struct {
	engine *durable.Engine
	orders *durable.Function[order, outcome]
}

// view is what a customer sees of an order: nothing of how it is made, or why it failed.
type view struct {
	ID     string                  `json:"id"`
	Status durable.ExecutionStatus `json:"status"`
	Result json.RawMessage         `json:"result,omitempty"`
}

// executionID is the execution that an order starts. A request that is repeated, because
// its answer was lost, so starts nothing twice.
func executionID(order string) string { return "order-" + order }

// create takes an order: POST /orders.
func (s *shop) create(w http.ResponseWriter, r *http.Request) {
	var o order
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil || o.ID == "" || o.Item == "" || o.Euros <= 0 {
		answer(w, http.StatusBadRequest, `send {"id": "1001", "item": "lamp", "euros": 40}`)
		return
	}
	_, err := s.orders.Start(r.Context(), s.engine, o, durable.WithExecutionID(executionID(o.ID)))
	switch {
	case errors.Is(err, durable.ErrInvalidID):
		answer(w, http.StatusBadRequest, "the ID of an order has letters, digits, and hyphens")
	case errors.Is(err, durable.ErrExecutionExists):
		answer(w, http.StatusConflict, "there is another order with this ID")
	case err != nil:
		s.failed(w, "take", o.ID, err)
	default: // from here on it is on disk, and runs to its end
		w.Header().Set("Location", "/orders/"+o.ID)
		answer(w, http.StatusAccepted, view{ID: o.ID, Status: durable.ExecutionRunning})
	}
}

// show tells about an order: GET /orders/{id}.
func (s *shop) show(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	info, err := s.current(r.Context(), id)
	switch {
	case errors.Is(err, durable.ErrExecutionNotFound), errors.Is(err, durable.ErrInvalidID):
		answer(w, http.StatusNotFound, "there is no such order")
	case err != nil:
		s.failed(w, "show", id, err)
	default:
		answer(w, http.StatusOK, view{id, info.Status, info.Result})
	}
}

// current is the execution that an order is in the hands of. Whoever retries one that
// failed starts another, with the same input: the newest counts. It costs reading
// what was started since the failure; a shop with a database would keep the state there.
func (s *shop) current(ctx context.Context, id string) (durable.ExecutionInfo, error) {
	first, err := s.engine.Describe(ctx, executionID(id))
	if err != nil || first.Status == durable.ExecutionRunning || first.Status == durable.ExecutionSucceeded {
		return first, err
	}
	for x, err := range s.engine.Executions(ctx, durable.Query{Function: s.orders.Name(), StartedAfter: first.EndedAt}) {
		if err != nil {
			return first, err
		}
		var o order
		if json.Unmarshal(x.Input, &o) == nil && o.ID == id && x.RestartOf != "" {
			return x, nil
		}
	}
	return first, nil
}

// failed tells the log why, and the customer that.
func (s *shop) failed(w http.ResponseWriter, what, id string, err error) {
	slog.Error("an order was not served", "what", what, "order", id, "error", err)
	answer(w, http.StatusInternalServerError, "try again later")
}

// answer writes a value as JSON, or a text as an error.
func answer(w http.ResponseWriter, status int, value any) {
	if text, ok := value.(string); ok {
		value = map[string]string{"error": text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value) // an error is that of a client that is gone
}
