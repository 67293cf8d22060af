package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable"
)

// payment is what is to be charged for an order.
type payment struct {
	Order string `json:"order"`
	Euros int    `json:"euros"`
}

// newPayments returns the function that charges at a provider, and returns the receipt.
func newPayments(p *provider) *durable.Function[payment, string] {
	return durable.Define("payment", func(ctx *durable.Context, in payment) (string, error) {
		return durable.Call(ctx, "charge", p.charge, in, durable.WithTimeout(time.Minute),
			durable.WithRetry(durable.RetryPolicy{MaxAttempts: 4, Initial: time.Second, Max: 10 * time.Second, Multiplier: 2, Jitter: durable.HalfJitter}))
	})
}

// provider stands for somebody else's service that takes money. It can be broken.
type provider struct{ broken atomic.Bool }

// providerError is what the provider answers when it does not charge. As one of
// durable.Options.Errors it is the same error after a replay, and metrics count it by name.
type providerError struct{ Status int }

func (e providerError) Error() string {
	return fmt.Sprintf("the payment provider answers %d %s", e.Status, http.StatusText(e.Status))
}

// charge takes the order's number as its key, and not StepInfo.IdempotencyKey: an order
// that is retried by hand is another execution, but is to be paid once.
func (p *provider) charge(_ context.Context, in payment) (receipt string, err error) {
	if p.broken.Load() {
		return "", providerError{http.StatusServiceUnavailable}
	}
	return "receipt-" + in.Order, nil
}

// set returns a handler that breaks or mends the provider.
func (p *provider) set(broken bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.broken.Store(broken)
		w.WriteHeader(http.StatusNoContent)
	})
}
