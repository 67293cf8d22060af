package boltstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// engineWorkload runs executions with all that has an effect outside. Its notes
// are the witness:
//
//	start ID                    the start was acknowledged
//	effect ID OPERATION VALUE DEPENDS…  a body ran, and was given those values
//	once ID ATTEMPT             an attempt of the step that runs at most once
//	callback ID PAYLOAD         the completion was acknowledged
//	result ID RESULT            the result was reported
var engineWorkload = workload{"engine", runEngine, checkEngine}

const powerCutOrders = 3

// orders are the functions of one life.
func orders(how planted, path string, say func(string, ...any)) (*durable.Engine, *durable.Function[int, []string], error) {
	effect := func(ctx *durable.Context, name string, depends ...string) (string, error) {
		return durable.Step(ctx, name, func(sc context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(sc)
			value := fmt.Sprintf("%s-%d", name, time.Now().UnixNano())
			say("effect %s %s %s %s", info.ExecutionID, info.OperationID, value, strings.Join(depends, " "))
			return value, nil
		})
	}
	ship := durable.Define("ship", func(ctx *durable.Context, reserved string) (string, error) {
		packed, err := effect(ctx, "pack", reserved)
		if err != nil {
			return "", err
		}
		return packed, durable.Wait(ctx, "rest", time.Millisecond)
	})
	order := durable.Define("order", func(ctx *durable.Context, _ int) ([]string, error) {
		reserved, err := effect(ctx, "reserve")
		if err != nil {
			return nil, err
		}
		charged, err := durable.Step(ctx, "charge", func(sc context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(sc)
			say("once %s %d", info.ExecutionID, info.Attempt)
			return fmt.Sprintf("charge-%s-%d", info.ExecutionID, info.Attempt), nil
		}, durable.AtMostOnce(), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 100, Initial: time.Millisecond, Max: time.Millisecond}))
		if err != nil {
			return nil, err
		}
		lines, err := durable.Map(ctx, "lines", []int{1, 2}, func(ctx *durable.Context, _, _ int) (string, error) {
			return effect(ctx, "pick", reserved, charged)
		})
		if err != nil {
			return nil, err
		}
		approval, err := durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
		if err != nil {
			return nil, err
		}
		shipped, err := durable.Invoke(ctx, "ship", ship, reserved)
		if err != nil {
			return nil, err
		}
		closed, err := effect(ctx, "close", append(lines.Values(), shipped)...)
		return []string{reserved, charged, approval, shipped, closed}, err
	})
	s, err := boltstore.Open(path, how.options())
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{order, ship}, ParkFor: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	return e, order, err
}

func runEngine(path string, how planted, say func(string, ...any)) error {
	e, order, err := orders(how, path, say)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var all sync.WaitGroup
	errs := make([]error, powerCutOrders)
	for i := range powerCutOrders {
		all.Go(func() {
			id := fmt.Sprint("order-", i)
			x, err := order.Start(ctx, e, i, durable.WithExecutionID(id))
			if err == nil {
				say("start %s", id)
				_, err = finish(ctx, e, order, x.ID(), say)
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(append(errs, e.Shutdown(ctx))...)
}

// finish answers the callback of an order and waits for its end.
func finish(ctx context.Context, e *durable.Engine, order *durable.Function[int, []string], id string, say func(string, ...any)) (string, error) {
	switch callback, err := e.CallbackID(ctx, id, "approval"); {
	case errors.Is(err, durable.ErrCallbackNotFound): // it has ended
	case err != nil:
		return "", err
	default:
		payload := fmt.Sprintf("yes-%d", time.Now().UnixNano())
		if err := e.SucceedCallback(ctx, callback, payload); err == nil {
			say("callback %s %s", id, payload)
		} else if !errors.Is(err, durable.ErrCallbackCompleted) {
			return "", err
		}
	}
	out, err := order.Attach(e, id).Result(ctx)
	if err == nil {
		say("result %s %s", id, strings.Join(out, ","))
	}
	return strings.Join(out, ","), err
}

// checkEngine compares what is recorded with the witness, runs everything to its
// end, and compares again.
func checkEngine(ctx context.Context, path string, notes []string) error {
	before, err := readRecorded(ctx, path)
	if err != nil {
		return err
	}
	for _, note := range notes {
		w := strings.Fields(note)
		if before.journals[w[1]] == nil {
			return fmt.Errorf("%s: the execution is lost", note)
		}
		if w[0] == "effect" {
			for _, value := range w[4:] {
				if !before.values[value] {
					return fmt.Errorf("%s: it was given %s, which is not recorded", note, value)
				}
			}
		}
	}
	var mu sync.Mutex
	said := slices.Clone(notes)
	e, order, err := orders(noSync, path, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	})
	if err != nil {
		return err
	}
	defer e.Close()
	results := map[string]string{}
	for id := range before.journals {
		if strings.HasPrefix(id, "order-") {
			if results[id], err = finish(ctx, e, order, id, func(string, ...any) {}); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
	}
	if err := e.Shutdown(ctx); err != nil {
		return err
	}
	after, err := readRecorded(ctx, path)
	if err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	for id, was := range before.journals {
		now := after.journals[id]
		if len(now) < len(was) {
			return fmt.Errorf("%s: its journal became shorter", id)
		}
		for i, r := range was {
			if !bytes.Equal(checkpoint.AppendRecord(nil, &r), checkpoint.AppendRecord(nil, &now[i])) {
				return fmt.Errorf("%s: record %d was changed from %+v to %+v", id, i+1, r, now[i])
			}
		}
	}
	attempts := map[string]bool{}
	for i, note := range said {
		w := strings.Fields(note)
		switch w[0] {
		case "effect":
			if i >= len(notes) && before.succeeded[w[1]+" "+w[2]] {
				return fmt.Errorf("%s: it ran again, with its outcome recorded", note)
			}
		case "once":
			if attempts[note] {
				return fmt.Errorf("%s: twice", note)
			}
			attempts[note] = true
		case "callback":
			if !slices.Contains(strings.Split(results[w[1]], ","), w[2]) {
				return fmt.Errorf("%s: the result is %s", note, results[w[1]])
			}
		case "result":
			if results[w[1]] != w[2] {
				return fmt.Errorf("%s: now it is %s", note, results[w[1]])
			}
		}
	}
	return nil
}

// recorded is what a store holds.
type recorded struct {
	journals  map[string][]checkpoint.Record
	values    map[string]bool // results of steps and executions
	succeeded map[string]bool // "execution operation"
}

func readRecorded(ctx context.Context, path string) (r recorded, err error) {
	r = recorded{map[string][]checkpoint.Record{}, map[string]bool{}, map[string]bool{}}
	s, err := boltstore.Open(path, boltstore.SmallSegments(true, true))
	if err != nil {
		return r, fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	for c, err := range s.List(ctx, checkpoint.Query{}) {
		if err != nil {
			return r, err
		}
		for rec, err := range s.Records(ctx, c.ID, 0) {
			if err != nil {
				return r, err
			}
			r.journals[c.ID] = append(r.journals[c.ID], rec)
			if rec.Seq != uint64(len(r.journals[c.ID])) {
				return r, fmt.Errorf("%s: record %d stands at %d", c.ID, rec.Seq, len(r.journals[c.ID]))
			}
			var value string
			if json.Unmarshal(rec.Payload, &value) == nil {
				r.values[value] = true
			}
			if rec.Type == checkpoint.StepSucceeded {
				r.succeeded[c.ID+" "+rec.OperationID] = true
			}
		}
		if c.Tail != uint64(len(r.journals[c.ID])) {
			return r, fmt.Errorf("%s: its journal has %d records, its row says %d", c.ID, len(r.journals[c.ID]), c.Tail)
		}
	}
	return r, s.Close()
}
