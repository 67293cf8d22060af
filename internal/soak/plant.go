package soak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// Bug is one that a process has on purpose.
type Bug struct {
	Breaks    Rule
	Functions string // that show it; "": everything
	Point     string // where processes end themselves; "": anywhere

	below   func(checkpoint.Store) checkpoint.Store // between the witness and the store
	above   func(checkpoint.Store) checkpoint.Store // between the engine and the witness
	options func(*durable.Options)
	closes  bool     // instead of shutting down
	File    bool     // only a file shows it
	Fleet   bool     // it takes a fleet to show it
	Faults  []string // and these
}

func (Bug) in(place func(checkpoint.Store) checkpoint.Store, s checkpoint.Store) checkpoint.Store {
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

// Plants are the bugs that a process may have, by name.
var Plants = map[string]Bug{
	"":                          {},
	"AcknowledgesBeforeTheDisk": {Breaks: ruleRecord, Functions: "chain", Point: "told", below: hasty},
	"GoesOnBeforeTheDisk":       {Breaks: ruleOrder, Functions: "chain", Point: "told", above: hasty},
	"RunsBodiesTwice": {Breaks: ruleTwice, Functions: "chain", options: func(o *durable.Options) {
		o.Interceptor = func(ctx context.Context, _ durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			next(ctx)
			return next(ctx)
		}
	}},
	"RunsBodiesLater": {Breaks: ruleAfter, Functions: "chain", options: func(o *durable.Options) {
		o.Interceptor = func(ctx context.Context, _ durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			time.AfterFunc(50*time.Millisecond, func() { next(ctx) })
			return next(ctx)
		}
	}},
	"ClosesForShutdown": {File: true, Breaks: ruleShutdown, Functions: "chain", Point: "close after all", closes: true},
	"RecordsTwice":      {Breaks: ruleJournal, Functions: "chain", above: adding(checkpoint.StepSucceeded)},
	"StartsAgain":       {Breaks: ruleHistory, Functions: "chain", above: adding(checkpoint.StepStarted)},
	"Panics": {Breaks: ruleProcess, Functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(context.Context, checkpoint.Creation) (checkpoint.Summary, bool, error) { panic("planted") }}
	}},
	"RefusesStarts": {Breaks: ruleAnswer, Functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(context.Context, checkpoint.Creation) (checkpoint.Summary, bool, error) {
			return checkpoint.Summary{}, false, errors.New("planted")
		}}
	}},
	"ForgetsAtMostOnce": {Breaks: ruleOnce, Functions: "pay", Point: "effect", above: changing(func(a *checkpoint.Append) {
		for i := range a.Records {
			a.Records[i].Flags &^= checkpoint.FlagAtMostOnce
		}
	})},
	"ForgetsOutcomes": {Breaks: ruleRerun, Functions: "chain", above: reading(func(r *checkpoint.Record) {
		if r.Type == checkpoint.StepSucceeded {
			r.Type, r.Payload, r.Flags = checkpoint.StepStarted, nil, r.Flags&^checkpoint.FlagPayload
		}
	})},
	"ReadsOtherOutcomes": {Breaks: ruleValue, Functions: "chain", above: reading(func(r *checkpoint.Record) {
		if r.Type == checkpoint.StepSucceeded && len(r.Payload) > 5 {
			r.Payload = []byte(`"` + strings.Repeat("0", len(r.Payload)-2) + `"`)
		}
	})},
	"WakesEarly": {Breaks: ruleEarly, Functions: "order", above: changing(func(a *checkpoint.Append) {
		for i := range a.Records {
			if r := &a.Records[i]; r.Type == checkpoint.WaitStarted {
				r.WakeAt = time.Now().UnixNano()
			}
		}
		if a.Release != nil && a.Release.WakeAt != 0 {
			a.Release.WakeAt = time.Now().UnixNano()
		}
	})},
	"NeverWakes": {Breaks: ruleEnds, Functions: "order", above: changing(func(a *checkpoint.Append) {
		if a.Release != nil {
			a.Release.WakeAt = 0
		}
	})},
	"ChangesResults": {Breaks: ruleResult, Functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, get: func(ctx context.Context, id string) (checkpoint.Summary, error) {
			sum, err := s.Get(ctx, id)
			if len(sum.Ended.Payload) > 0 {
				sum.Ended.Payload = fmt.Appendf(nil, `["%d"]`, os.Getpid())
			}
			return sum, err
		}}
	}},
	"LosesStarts": {Breaks: ruleStart, Functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
			if strings.HasSuffix(c.ID, "1") {
				return checkpoint.Summary{ID: c.ID, Incarnation: c.Incarnation, Function: c.Started.Function, Status: checkpoint.Running, Started: c.Started}, false, nil
			}
			return s.Create(ctx, c)
		}}
	}},
	"LosesCallbacks": {Breaks: ruleEnds, Functions: "order", above: delivering(func(r *checkpoint.Record) bool { return r.Type != checkpoint.CallbackSucceeded })},
	"DeliversOtherCallbacks": {Breaks: ruleCallback, Functions: "order", above: delivering(func(r *checkpoint.Record) bool {
		if r.Type == checkpoint.CallbackSucceeded {
			r.Payload = []byte(`"another"`)
		}
		return true
	})},
	"InvokesTwice": {Breaks: ruleInvoke, Functions: "chain", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, create: func(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
			if second := c; c.Caller != nil {
				second.ID, second.Incarnation, second.Claim = c.ID+"-again", checkpoint.Incarnation{1}, false
				s.Create(ctx, second)
			}
			return s.Create(ctx, c)
		}}
	}},
	"ForgetsStops": {Breaks: ruleSteer, Functions: "endless", above: func(s checkpoint.Store) checkpoint.Store {
		return &bent{Store: s, end: func(context.Context, checkpoint.Ending) (bool, error) { return true, nil }}
	}},
	"WritesAlthoughDeposed": {Breaks: ruleOwner, Functions: "chain order", Fleet: true, Faults: []string{faultStop}},            // see the worker
	"TakesOverLate":         {Breaks: ruleTakeover, Functions: "chain order sleeper", Fleet: true, Faults: []string{faultKill}}, // see the worker
	"ForgetsCancels":        {Breaks: ruleEnds, Functions: "sleeper", above: delivering(func(r *checkpoint.Record) bool { return r.Type != checkpoint.CancelRequested })},
}
