package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

var flakyTests = []test{
	{"NothingIsLostWhenAllFatesAreSettled", func(p *probe) {
		for seed := range uint64(3) {
			p.driveFlaky(seed)
		}
	}},
	{"DoneStaysInOrder", func(p *probe) {
		o := p.own("a")
		f := Flaky(p.s, 1, 0.3)
		const n = 300
		order := make(chan int, n)
		for i := range n {
			f.Append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}), func(error) { order <- i })
		}
		for i := range n {
			same(p, "order of done", <-order, i)
		}
	}},
	{"WhatNobodyKnowsToOwnIsClaimable", func(p *probe) {
		f := Flaky(p.s, 1, 1)
		ids := numbered("x", 20) // half of them are created
		for _, id := range ids {
			_, _, err := f.Create(p.ctx, claimed(creation(id, "f")))
			p.is(err, ErrInjected)
		}
		for range 20 {
			_, err := f.Claim(p.ctx, request("f"))
			p.is(err, ErrInjected)
		}
		created := p.list(checkpoint.Query{})
		if len(created) == 0 || len(created) == len(ids) {
			p.Fatalf("%d of %d were created", len(created), len(ids))
		}
		p.claims(request("f"), created...)
	}},
	{"RateZeroNeverFails", func(p *probe) {
		f := Flaky(p.s, 1, 1)
		_, err := f.Get(p.ctx, "a")
		p.is(err, ErrInjected)
		f.SetRate(0)
		for i := range 50 {
			_, _, err := f.Create(p.ctx, creation(fmt.Sprint(i), "f"))
			p.ok(err)
		}
	}},
}

// driveFlaky drives executions over a store whose calls fail, as an engine would:
// what fails is tried again, and after an append of unknown fate the execution
// is claimed and read anew. In the end every journal holds each step once.
func (p *probe) driveFlaky(seed uint64) {
	p.Helper()
	const steps = 12
	f := Flaky(p.s, seed, 0.15)
	ctx := p.ctx
	function := fmt.Sprintf("flaky%d", seed)
	ids := numbered(function, 8)
	for _, id := range ids {
		retry(func() error {
			_, _, err := f.Create(ctx, creation(id, function))
			return err
		})
	}
	for left := len(ids); left > 0; {
		claims, err := f.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{function}, Max: 2})
		if err != nil {
			continue
		}
		for _, c := range claims {
			var ended bool
			retry(func() (err error) {
				ended, err = driveOnce(ctx, p, f, c, steps)
				return err
			})
			if ended {
				left--
				continue
			}
			retry(func() error { return f.Disown(ctx, c.ID, c.Epoch) })
		}
	}
	for _, id := range ids {
		var n int
		for _, r := range p.journal(id, 0) {
			if r.Type == checkpoint.StepSucceeded {
				same(p, "step", r.Number, int64(n))
				n++
			}
		}
		same(p, "steps", n, steps)
		same(p, "Status", p.get(id).Status, checkpoint.Succeeded)
	}
}

// driveOnce reads a journal and makes the steps that it lacks, until an append
// fails. An error is one of reading.
func driveOnce(ctx context.Context, p *probe, f checkpoint.Store, c checkpoint.Claim, steps int) (ended bool, err error) {
	o := p.ownerOf(c.Summary)
	var n int64
	for r, err := range f.Records(ctx, c.ID, 0) {
		if err != nil {
			return false, err
		}
		if r.Type == checkpoint.StepSucceeded {
			n = r.Number + 1
		}
	}
	send := func(a checkpoint.Append) error {
		done := make(chan error, 1)
		f.Append(a, func(err error) { done <- err })
		return <-done
	}
	for ; n < int64(steps); n++ {
		if send(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1", Number: n})) != nil {
			return false, nil
		}
	}
	if err := send(o.final()); err == nil {
		return true, nil
	}
	s, err := f.Get(ctx, c.ID) // did it end all the same?
	return s.Status == checkpoint.Succeeded, err
}

// retry calls f until it fails no more of its own accord.
func retry(f func() error) {
	for errors.Is(f(), ErrInjected) {
	}
}
