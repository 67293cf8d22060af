package soak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// bug is one that a process has on purpose.
type bug struct {
	breaks    rule
	functions string // that show it; "": everything
	point     string // where processes end themselves; "": anywhere

	below   func(checkpoint.Store) checkpoint.Store // between the witness and the store
	above   func(checkpoint.Store) checkpoint.Store // between the engine and the witness
	options func(*durable.Options)
	closes  bool // instead of shutting down
}

func (bug) in(place func(checkpoint.Store) checkpoint.Store, s checkpoint.Store) checkpoint.Store {
	if place == nil {
		return s
	}
	return place(s)
}

// bent is a store of which some methods are others.
type bent struct {
	checkpoint.Store
	append  func(a checkpoint.Append, done func(error))
	create  func(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error)
	deliver func(ctx context.Context, d checkpoint.Delivery) error
	end     func(ctx context.Context, e checkpoint.Ending) (bool, error)
	get     func(ctx context.Context, id string) (checkpoint.Summary, error)
	read    func(r *checkpoint.Record)
}

func (b *bent) Append(a checkpoint.Append, done func(error)) {
	if b.append == nil {
		b.Store.Append(a, done)
		return
	}
	b.append(a, done)
}

func (b *bent) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	if b.create == nil {
		return b.Store.Create(ctx, c)
	}
	return b.create(ctx, c)
}

func (b *bent) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	if b.deliver == nil {
		return b.Store.Deliver(ctx, d)
	}
	return b.deliver(ctx, d)
}

func (b *bent) End(ctx context.Context, e checkpoint.Ending) (bool, error) {
	if b.end == nil {
		return b.Store.End(ctx, e)
	}
	return b.end(ctx, e)
}

func (b *bent) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	if b.get == nil {
		return b.Store.Get(ctx, id)
	}
	return b.get(ctx, id)
}

func (b *bent) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		for r, err := range b.Store.Records(ctx, id, after) {
			if b.read != nil && err == nil {
				b.read(&r)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// hasty says that plain appends are durable before they are handed over.
func hasty(s checkpoint.Store) checkpoint.Store {
	told, late := make(chan func(), 1<<16), make(chan func(), 1<<16)
	go func() {
		for f := range told {
			f()
		}
	}()
	go func() {
		for f := range late {
			time.Sleep(200 * time.Microsecond) // the disk
			f()
		}
	}()
	return &bent{Store: s, append: func(a checkpoint.Append, done func(error)) {
		then := done
		if a.Release == nil && a.Status == 0 {
			told <- func() { done(nil) }
			then = func(error) {}
		}
		late <- func() { s.Append(a, then) }
	}}
}

// changing appends what change made of it.
func changing(change func(a *checkpoint.Append)) func(checkpoint.Store) checkpoint.Store {
	return func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, append: func(a checkpoint.Append, done func(error)) {
			change(&a)
			s.Append(a, done)
		}}
	}
}

// adding puts an event of the first operation before the last one of an execution.
func adding(e checkpoint.EventType) func(checkpoint.Store) checkpoint.Store {
	return changing(func(a *checkpoint.Append) {
		if a.Status != checkpoint.Succeeded {
			return
		}
		n := len(a.Records) - 1
		last := a.Records[n]
		first := checkpoint.Record{Seq: last.Seq, EventID: last.EventID, Events: 1, Time: last.Time, Type: e, SubType: checkpoint.Step, OperationID: "1", Attempt: 1}
		last.Seq, last.EventID = last.Seq+1, last.EventID+1
		a.Records = append(slices.Clone(a.Records[:n]), first, last)
	})
}

// delivering delivers what change made of it; nothing, if it says so.
func delivering(change func(r *checkpoint.Record) bool) func(checkpoint.Store) checkpoint.Store {
	return func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, deliver: func(ctx context.Context, d checkpoint.Delivery) error {
			if !change(&d.Record) {
				return nil
			}
			return s.Deliver(ctx, d)
		}}
	}
}

func reading(read func(r *checkpoint.Record)) func(checkpoint.Store) checkpoint.Store {
	return func(s checkpoint.Store) checkpoint.Store { return &bent{Store: s, read: read} }
}

var plants = map[string]bug{
	"":                          {},
	"AcknowledgesBeforeTheDisk": {breaks: ruleRecord, functions: "chain", point: "told", below: hasty},
	"GoesOnBeforeTheDisk":       {breaks: ruleOrder, functions: "chain", point: "told", above: hasty},
	"RunsBodiesTwice": {breaks: ruleTwice, functions: "chain", options: func(o *durable.Options) {
		o.Interceptor = func(ctx context.Context, _ durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			next(ctx)
			return next(ctx)
		}
	}},
	"RunsBodiesLater": {breaks: ruleAfter, functions: "chain", options: func(o *durable.Options) {
		o.Interceptor = func(ctx context.Context, _ durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			time.AfterFunc(50*time.Millisecond, func() { next(ctx) })
			return next(ctx)
		}
	}},
	"ClosesForShutdown": {breaks: ruleShutdown, functions: "chain", point: "close after all", closes: true},
	"RecordsTwice":      {breaks: ruleJournal, functions: "chain", above: adding(checkpoint.StepSucceeded)},
	"StartsAgain":       {breaks: ruleHistory, functions: "chain", above: adding(checkpoint.StepStarted)},
	"Panics": {breaks: ruleProcess, functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(context.Context, checkpoint.Creation) (checkpoint.Summary, bool, error) { panic("planted") }}
	}},
	"RefusesStarts": {breaks: ruleAnswer, functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(context.Context, checkpoint.Creation) (checkpoint.Summary, bool, error) {
			return checkpoint.Summary{}, false, errors.New("planted")
		}}
	}},
	"ForgetsAtMostOnce": {breaks: ruleOnce, functions: "pay", point: "effect", above: changing(func(a *checkpoint.Append) {
		for i := range a.Records {
			a.Records[i].Flags &^= checkpoint.FlagAtMostOnce
		}
	})},
	"ForgetsOutcomes": {breaks: ruleRerun, functions: "chain", above: reading(func(r *checkpoint.Record) {
		if r.Type == checkpoint.StepSucceeded {
			r.Type, r.Payload, r.Flags = checkpoint.StepStarted, nil, r.Flags&^checkpoint.FlagPayload
		}
	})},
	"ReadsOtherOutcomes": {breaks: ruleValue, functions: "chain", above: reading(func(r *checkpoint.Record) {
		if r.Type == checkpoint.StepSucceeded && len(r.Payload) > 5 {
			r.Payload = []byte(`"` + strings.Repeat("0", len(r.Payload)-2) + `"`)
		}
	})},
	"WakesEarly": {breaks: ruleEarly, functions: "order", above: changing(func(a *checkpoint.Append) {
		for i := range a.Records {
			if r := &a.Records[i]; r.Type == checkpoint.WaitStarted {
				r.WakeAt = time.Now().UnixNano()
			}
		}
		if a.Release != nil && a.Release.WakeAt != 0 {
			a.Release.WakeAt = time.Now().UnixNano()
		}
	})},
	"NeverWakes": {breaks: ruleEnds, functions: "order", above: changing(func(a *checkpoint.Append) {
		if a.Release != nil {
			a.Release.WakeAt = 0
		}
	})},
	"ChangesResults": {breaks: ruleResult, functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, get: func(ctx context.Context, id string) (checkpoint.Summary, error) {
			sum, err := s.Get(ctx, id)
			if len(sum.Ended.Payload) > 0 {
				sum.Ended.Payload = fmt.Appendf(nil, `["%d"]`, os.Getpid())
			}
			return sum, err
		}}
	}},
	"LosesStarts": {breaks: ruleStart, functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
			if strings.HasSuffix(c.ID, "1") {
				return checkpoint.Summary{ID: c.ID, Incarnation: c.Incarnation, Function: c.Started.Function, Status: checkpoint.Running, Started: c.Started}, false, nil
			}
			return s.Create(ctx, c)
		}}
	}},
	"LosesCallbacks": {breaks: ruleEnds, functions: "order", above: delivering(func(r *checkpoint.Record) bool { return r.Type != checkpoint.CallbackSucceeded })},
	"DeliversOtherCallbacks": {breaks: ruleCallback, functions: "order", above: delivering(func(r *checkpoint.Record) bool {
		if r.Type == checkpoint.CallbackSucceeded {
			r.Payload = []byte(`"another"`)
		}
		return true
	})},
	"InvokesTwice": {breaks: ruleInvoke, functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
			if second := c; c.Caller != nil {
				second.ID, second.Incarnation, second.Claim = c.ID+"-again", checkpoint.Incarnation{1}, false
				s.Create(ctx, second)
			}
			return s.Create(ctx, c)
		}}
	}},
	"ForgetsStops": {breaks: ruleSteer, functions: "endless", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, end: func(context.Context, checkpoint.Ending) (bool, error) { return true, nil }}
	}},
	"ForgetsCancels": {breaks: ruleEnds, functions: "sleeper", above: delivering(func(r *checkpoint.Record) bool { return r.Type != checkpoint.CancelRequested })},
}

// TestPlants soaks processes that have a bug, each breaking another rule.
func TestPlants(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	for name, bug := range plants {
		if name == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config{kills: 6, width: 8, functions: strings.Fields(bug.functions), plant: name, points: points, patience: time.Second}
			if bug.point != "" {
				c.points = []string{bug.point}
			}
			for c.seed = 1; ; c.seed++ { // the machine may be too slow for the kills to hit
				w, err := c.soak(t)
				require.NoError(t, err)
				caught := 0
				for _, v := range w.violations {
					if v.rule == bug.breaks {
						caught++
					}
				}
				if caught > 0 {
					t.Logf("caught in %d kills: %d times that %s", uint64(c.kills)*c.seed, caught, bug.breaks)
					return
				}
				require.Less(t, c.seed, uint64(40), "not caught that %s is broken:\n%s", bug.breaks, w.report())
			}
		})
	}
}
