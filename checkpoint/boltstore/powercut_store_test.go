package boltstore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// storeWorkload makes all kinds of changes, while the file grows and the log's
// segments are used again and again. Its notes are pairs, the first before the
// store is asked and the second when it has said that it is done:
//
//	create ID SEQ     created ID SEQ    with a journal up to that
//	append ID SEQ     appended ID SEQ
//	end ID SEQ        ended ID SEQ      an append too
//	deliver ID        delivered ID
//	delete ID         deleted ID
//	                  opened SECRET
var storeWorkload = workload{"store", runStore, checkStore}

const powerCutExecutions = 5

// payloadOf is what a record holds, so that one knows it again.
func payloadOf(id string, seq uint64) []byte {
	r := rand.New(rand.NewPCG(seq, uint64(id[0])))
	b := make([]byte, []int{100, 700, 3000, 9000}[r.IntN(4)])
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// beginning makes an execution whose journal begins with so many records.
func beginning(id string, records int) checkpoint.Creation {
	c := checkpoint.Creation{ID: id, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}}
	for i := range records {
		c.Records = append(c.Records, another(checkpoint.Summary{ID: id, Tail: uint64(1 + i)}, false).Records...)
	}
	return c
}

// another is an append of one record, the last one if end is set.
func another(c checkpoint.Summary, end bool) checkpoint.Append {
	seq := c.Tail + 1
	a := checkpoint.Append{ID: c.ID, Epoch: c.Epoch, Tail: c.Tail, Records: []checkpoint.Record{{
		Seq: seq, EventID: seq, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "1", Payload: payloadOf(c.ID, seq),
	}}}
	if end {
		a.Records[0].Type, a.Records[0].OperationID, a.Records[0].Time, a.Status = checkpoint.ExecutionSucceeded, "", 1, checkpoint.Succeeded
	}
	return a
}

func runStore(path string, how planted, say func(string, ...any)) error {
	ctx := context.Background()
	for life := range 2 {
		s, err := boltstore.Open(path, how.options())
		if err != nil {
			return err
		}
		say("opened %x", s.Secret())
		empty := true
		for _, err := range s.List(ctx, checkpoint.Query{}) {
			if err != nil {
				return err
			}
			empty = false
		}
		if empty {
			for i := range powerCutExecutions {
				id := fmt.Sprint(i)
				c := beginning(id, i%3)
				say("create %s %d", id, 1+len(c.Records))
				if _, _, err := s.Create(ctx, c); err != nil {
					return err
				}
				say("created %s %d", id, 1+len(c.Records))
			}
		}
		claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Max: powerCutExecutions})
		if err != nil {
			return err
		}
		for round := range 6 {
			if err := appendAll(s, claims, false, say); err != nil {
				return err
			}
			cancelled := slices.ContainsFunc(claims, func(c checkpoint.Claim) bool { return c.ID == "1" })
			if round == 1 && cancelled {
				say("deliver 1")
				err := s.Deliver(ctx, checkpoint.Delivery{ID: "1", Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
				if err != nil {
					return err
				}
				say("delivered 1")
			}
			if round%2 == 1 { // List waits until bbolt has it all
				for _, err := range s.List(ctx, checkpoint.Query{}) {
					if err != nil {
						return err
					}
				}
			}
		}
		for _, c := range claims {
			if c.ID != fmt.Sprint(2+life) {
				continue
			}
			if err := appendAll(s, []checkpoint.Claim{c}, true, say); err != nil {
				return err
			}
			say("delete %s", c.ID)
			if err := s.Delete(ctx, c.ID); err != nil {
				return err
			}
			say("deleted %s", c.ID)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// appendAll appends a record to each, all at once, and notes the new tails in the
// claims.
func appendAll(s *boltstore.Store, claims []checkpoint.Claim, end bool, say func(string, ...any)) error {
	doing, did := "append", "appended"
	if end {
		doing, did = "end", "ended"
	}
	done := make(chan error, len(claims))
	for i := range claims {
		c := &claims[i]
		a := another(c.Summary, end)
		c.Tail++
		say("%s %s %d", doing, a.ID, c.Tail)
		s.Append(a, func(err error) {
			if err == nil {
				say("%s %s %d", did, a.ID, a.Tail+1)
			}
			done <- err
		})
	}
	var err error
	for range claims {
		err = errors.Join(err, <-done)
	}
	return err
}

// expected is what the notes say of an execution: the first of each pair what may
// be there, the second what must.
type expected struct {
	created, ended, deleted, delivered       bool
	mayCreate, mayEnd, mayDelete, mayDeliver bool
	begins, tail, mayTail                    uint64
}

func readNotes(notes []string) (all map[string]*expected, secret string) {
	all = map[string]*expected{}
	for _, note := range notes {
		var what, id string
		var seq uint64
		fmt.Sscan(note, &what, &id, &seq)
		if what == "opened" {
			secret = id
			continue
		}
		x := all[id]
		if x == nil {
			x = new(expected)
			all[id] = x
		}
		switch what {
		case "create":
			x.mayCreate, x.begins, x.mayTail = true, seq, seq
		case "created":
			x.created, x.tail = true, seq
		case "append":
			x.mayTail = seq
		case "end":
			x.mayTail, x.mayEnd = seq, true
		case "appended":
			x.tail = seq
		case "ended":
			x.tail, x.ended = seq, true
		case "delete":
			x.mayDelete = true
		case "deleted":
			x.deleted = true
		case "deliver":
			x.mayDeliver = true
		case "delivered":
			x.delivered = true
		}
	}
	return all, secret
}

// checkStore opens a store and compares it with the notes, brings all executions
// to their end, and looks at it again.
func checkStore(ctx context.Context, path string, notes []string) error {
	want, secret := readNotes(notes)
	s, err := boltstore.Open(path, boltstore.SmallSegments(true, true))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	if now := hex.EncodeToString(s.Secret()); secret != "" && secret != now {
		return fmt.Errorf("the secret is %s, it was %s", now, secret)
	}
	if err := compare(ctx, s, want); err != nil {
		return err
	}
	claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
	if err != nil {
		return err
	}
	running := 0
	for c, err := range s.List(ctx, checkpoint.Query{Status: checkpoint.Running}) {
		if err != nil {
			return err
		}
		running++
		x := want[c.ID]
		x.created, x.mayCreate, x.mayEnd = true, true, true
	}
	if running != len(claims) {
		return fmt.Errorf("%d are running, %d of them could be claimed", running, len(claims))
	}
	for _, end := range []bool{false, true} {
		if err := appendAll(s, claims, end, func(string, ...any) {}); err != nil {
			return err
		}
	}
	for _, c := range claims {
		x := want[c.ID]
		x.tail, x.mayTail, x.ended = c.Tail, c.Tail, true
	}
	if err := compare(ctx, s, want); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	s, err = boltstore.Open(path, boltstore.SmallSegments(true, true))
	if err != nil {
		return fmt.Errorf("open it again: %w", err)
	}
	defer s.Close()
	if err := compare(ctx, s, want); err != nil {
		return fmt.Errorf("when it was opened again: %w", err)
	}
	return s.Close()
}

func compare(ctx context.Context, s *boltstore.Store, want map[string]*expected) error {
	listed := map[string]bool{}
	for c, err := range s.List(ctx, checkpoint.Query{}) {
		if err != nil {
			return err
		}
		listed[c.ID] = true
		if want[c.ID] == nil {
			return fmt.Errorf("%s was never asked for", c.ID)
		}
	}
	for id, x := range want {
		c, err := s.Get(ctx, id)
		there := !errors.Is(err, checkpoint.ErrNotFound)
		switch {
		case there && err != nil:
			return err
		case there != listed[id]:
			return fmt.Errorf("%s: one way of reading sees it, another doesn't", id)
		case !there && x.created && !x.mayDelete:
			return fmt.Errorf("%s is lost", id)
		case there && (x.deleted || !x.mayCreate):
			return fmt.Errorf("%s is there: %+v", id, *x)
		case !there:
			continue
		case x.ended && c.Status != checkpoint.Succeeded, !x.mayEnd && c.Status != checkpoint.Running:
			return fmt.Errorf("%s: its status is %v: %+v", id, c.Status, *x)
		case x.delivered && c.InboxTail == 0, !x.mayDeliver && c.InboxTail != 0:
			return fmt.Errorf("%s: its inbox ends with %d: %+v", id, c.InboxTail, *x)
		case c.Tail < max(x.begins, x.tail), c.Tail > x.mayTail:
			return fmt.Errorf("%s: its journal ends with %d: %+v", id, c.Tail, *x)
		}
		n := uint64(0)
		for r, err := range s.Records(ctx, id, 0) {
			if err != nil {
				return err
			}
			if n++; r.Seq != n {
				return fmt.Errorf("%s: record %d stands at %d", id, r.Seq, n)
			}
			if n > 1 && !bytes.Equal(r.Payload, payloadOf(id, n)) {
				return fmt.Errorf("%s: record %d has another payload", id, n)
			}
		}
		if n != c.Tail {
			return fmt.Errorf("%s: its journal has %d records, its row says %d", id, n, c.Tail)
		}
	}
	return nil
}
