package main

import (
	"context"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// order is what a customer wants.
type order struct {
	ID    string `json:"id"`
	Item  string `json:"item"`
	Euros int    `json:"euros"`
}

// outcome is what became of an order.
type outcome struct {
	Status     string `json:"status"` // shipped or declined
	Receipt    string `json:"receipt,omitempty"`
	ApprovedBy string `json:"approvedBy,omitempty"`
}

// decision is what the boss answers.
type decision struct {
	Approved bool   `json:"approved"`
	By       string `json:"by"`
}

const (
	coolOff     = 3 * time.Second // in which a customer may think again
	bossFrom    = 500             // euros
	bossTimeout = 48 * time.Hour
)

// newOrders returns the workflow of an order. Mails say that the service is at url.
func newOrders(payments *durable.Function[payment, string], url string) *durable.Function[order, outcome] {
	return durable.Define("order", func(ctx *durable.Context, o order) (outcome, error) {
		var out outcome
		if err := durable.Do(ctx, "reserve", warehouse("reserved", o)); err != nil {
			return out, err
		}
		if err := durable.Wait(ctx, "cool-off", coolOff); err != nil {
			return out, err
		}
		if o.Euros >= bossFrom {
			d, err := durable.WaitForCallback[decision](ctx, "approval", func(_ context.Context, callback string) error {
				mailBoss(o, url+"/callbacks/"+callback)
				return nil
			}, durable.WithTimeout(bossTimeout))
			if err != nil {
				return out, err
			}
			if !d.Approved { // an outcome like any other, not a failure
				out.Status = "declined"
				return out, durable.Do(ctx, "release", warehouse("released", o))
			}
			out.ApprovedBy = d.By
		}
		// An execution of its own: it has its own history, and fails and is counted by
		// its own name.
		var err error
		if out.Receipt, err = durable.Invoke(ctx, "pay", payments, payment{o.ID, o.Euros}); err != nil {
			return out, err // what is reserved stays so: the order can be retried
		}
		out.Status = "shipped"
		return out, durable.Do(ctx, "ship", warehouse("shipped", o))
	})
}

// warehouse stands for a request to the warehouse. As it may be sent twice, when a
// crash comes before its outcome is on disk, it would carry the key.
func warehouse(what string, o order) func(context.Context) error {
	return func(ctx context.Context) error {
		info, _ := durable.StepInfoFrom(ctx)
		info.Logger.Info(what, "order", o.ID, "item", o.Item, "key", info.IdempotencyKey)
		return nil
	}
}

// mailBoss stands for a mail. Whoever has the address may answer, once, so it stands in
// no log and in no answer of the API.
func mailBoss(o order, callback string) {
	fmt.Printf(`mail to the boss: order %s, %s for %d euros. Approve it with
  curl --json '{"approved": true, "by": "the boss"}' %s/succeed
`, o.ID, o.Item, o.Euros, callback)
}
