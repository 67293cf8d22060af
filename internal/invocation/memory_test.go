package invocation

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// memory is a host in memory: a journal, an inbox, a clock, and what is wrong with it.
type memory struct {
	program *program
	fault   hostFault // planted
	x       *Invocation

	records []checkpoint.Record // durable
	cuts    []cut               // where it may be cut off: behind each append
	inbox   []checkpoint.Record
	loaded  int // records that this stay began with
	clock   int64
	alarm   int64
	asked   []func()
	answers bool // one answer is on its way

	status   checkpoint.Status
	released *checkpoint.Release
	gone     bool
	problem  string

	cancelled, retired bool            // that has happened
	completed          map[string]bool // callbacks and invokes with an outcome
}

// cut is what was durable at a moment.
type cut struct {
	records   int
	inbox     int
	inboxSeen uint64
	completed map[string]bool
}

// hostFault is a fault of a host, to see that it is found.
type hostFault int

const (
	sound          hostFault = iota
	earlyAnswers             // an append is answered before it is durable
	lostNews                 // the invocation is not told of news
	lostAlarms               // nor of what is due
	swappedAnswers           // appends are made in another order
)

func newMemory(p *program, f hostFault) *memory {
	return &memory{program: p, fault: f, clock: 1, completed: make(map[string]bool),
		records: []checkpoint.Record{{Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Time: 1, Function: "f", Codec: "json"}},
		cuts:    []cut{{records: 1}}}
}

func (m *memory) failed(format string, args ...any) {
	if m.problem == "" {
		m.problem = fmt.Sprintf(format, args...)
	}
}

func (m *memory) Now() int64            { return m.clock }
func (m *memory) Base() context.Context { return context.Background() }
func (m *memory) Alarm(at int64) {
	if m.fault != lostAlarms {
		m.alarm = at
	}
}

func (m *memory) Records(_ context.Context, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		for _, r := range m.records {
			if r.Seq > after && !yield(r, nil) {
				return
			}
		}
	}
}

func (m *memory) Append(a checkpoint.Append, done func(error)) {
	write := func() error {
		if a.Tail != uint64(len(m.records)) {
			return checkpoint.ErrConflict
		}
		if a.Release != nil && a.Release.Hold == nil && int(a.InboxSeen) < len(m.inbox) {
			return checkpoint.ErrInboxNews
		}
		m.records = append(m.records, a.Records...)
		m.status, m.released = a.Status, a.Release
		if a.Release != nil && a.Release.Hold != nil {
			m.failed("held: %s", a.Release.Hold.Failure)
		}
		for _, id := range a.CloseCallbacks {
			m.completed[id] = true
		}
		if r := a.Release; r != nil && r.Hold == nil && r.WakeAt == 0 && len(m.open()) == 0 {
			m.failed("released, and nothing will wake it")
		}
		m.cuts = append(m.cuts, cut{len(m.records), len(m.inbox), a.InboxSeen, maps.Clone(m.completed)})
		return nil
	}
	switch m.fault {
	case earlyAnswers:
		m.asked = append(m.asked, func() { done(nil) }, func() { _ = write() })
	case swappedAnswers:
		m.asked = append([]func(){func() { done(write()) }}, m.asked...)
	default:
		m.asked = append(m.asked, func() { done(write()) })
	}
}

func (m *memory) Inbox(_ context.Context, after, _ uint64) ([]checkpoint.Record, error) {
	return slices.Clone(m.inbox[after:]), nil
}

// deliver puts a record into the inbox, if it is the first outcome of its operation.
func (m *memory) deliver(rec checkpoint.Record) error {
	if rec.OperationID != "" {
		if m.completed[rec.OperationID] {
			return checkpoint.ErrCallbackClosed
		}
		m.completed[rec.OperationID] = true
	}
	rec.Seq, rec.Time = uint64(len(m.inbox)+1), m.clock
	m.inbox = append(m.inbox, rec)
	return nil
}

func (m *memory) Offer(_ context.Context, rec *checkpoint.Record) error { return m.deliver(*rec) }

func (m *memory) Expire(context.Context) error {
	m.status = checkpoint.TimedOut
	return nil
}

func (m *memory) Open(*checkpoint.Record) error                   { return nil }
func (m *memory) Seal(*checkpoint.Record) error                   { return nil }
func (m *memory) Knows(string) bool                               { return true }
func (m *memory) Invoke(*history.Operation, *history.Known) error { return nil }
func (m *memory) CancelInvoked(string, string)                    {}
func (m *memory) CallbackID(id string) string                     { return "callback " + id }
func (m *memory) MayBegin() bool                                  { return true }
func (m *memory) Wanted() bool                                    { return !m.program.park }
func (m *memory) Reason(err error) *Reason {
	return &Reason{Err: err, Record: &fault.Failure{Type: "error", Message: err.Error()}}
}

func (m *memory) Held(reason error) Held {
	return Held{Note: &checkpoint.Hold{Failure: []byte(reason.Error())}}
}

func (m *memory) Lost(err error) { m.failed("lost: %v", err) }

func (m *memory) Gone() {
	if m.gone {
		m.failed("gone twice")
	}
	m.gone = true
}

func (m *memory) Unbegun()                                        {}
func (m *memory) Parked(bool)                                     {}
func (m *memory) Closed(bool, bool)                               {}
func (m *memory) Loaded(bool, bool) context.Context               { return nil }
func (m *memory) Began(bool)                                      {}
func (m *memory) Recorded(*checkpoint.Record, *history.Operation) {}
func (m *memory) Settled(*history.Operation)                      {}
func (m *memory) Durable(uint64)                                  {}
func (m *memory) Opened()                                         {}
func (m *memory) Ended(checkpoint.Status, int64, *fault.Failure)  {}
func (m *memory) Woken(int64, int64)                              {}
func (m *memory) Bodies(int)                                      {}
func (m *memory) Attempt(bool)                                    {}
func (m *memory) KeepPace()                                       {}

// outside is what may come now.
func (m *memory) outside() (list []event) {
	if len(m.asked) > 0 && !m.answers {
		list = append(list, func() func() {
			next := m.asked[0]
			m.asked, m.answers = m.asked[1:], true
			return func() {
				next()
				m.answers = false
			}
		})
	}
	if m.gone {
		return list
	}
	news := func(deliver func()) {
		list = append(list, func() func() {
			deliver()
			if m.fault == lostNews {
				return func() {}
			}
			return m.x.News
		})
	}
	if at := m.alarm; at != 0 {
		list = append(list, func() func() {
			m.clock, m.alarm = max(m.clock, at), 0
			return m.x.Due
		})
	}
	if m.program.cancel && !m.cancelled {
		news(func() {
			m.cancelled = true
			_ = m.deliver(checkpoint.Record{Type: checkpoint.CancelRequested})
		})
	}
	if m.program.retire && !m.retired {
		list = append(list, func() func() {
			m.retired = true
			return m.x.Retire
		})
	}
	for _, rec := range m.answerable() {
		news(func() { _ = m.deliver(rec) })
	}
	return list
}

// open are the starts of callbacks and invokes that have no outcome.
func (m *memory) open() (list []checkpoint.Record) {
	for _, rec := range m.records {
		if (rec.Type == checkpoint.CallbackStarted || rec.Type == checkpoint.ChainedInvokeStarted) && !m.completed[rec.OperationID] {
			list = append(list, rec)
		}
	}
	return list
}

// answerable are the outcomes that others may send of what is open.
func (m *memory) answerable() (list []checkpoint.Record) {
	for _, rec := range m.open() {
		t := checkpoint.CallbackSucceeded
		switch {
		case rec.Type == checkpoint.ChainedInvokeStarted:
			t = checkpoint.ChainedInvokeSucceeded
		case m.program.unanswered:
			continue
		}
		list = append(list, checkpoint.Record{Type: t, SubType: rec.SubType, OperationID: rec.OperationID, Payload: []byte("7"), Flags: checkpoint.FlagPayload})
	}
	return list
}

// stay runs one invocation over what is durable, in the order that choose says.
func (m *memory) stay(choose func(options int) int) {
	m.gone, m.asked, m.answers, m.alarm, m.loaded = false, nil, false, 0, len(m.records)
	lost := m.released == nil && len(m.cuts) > 1
	m.released = nil
	last := m.cuts[len(m.cuts)-1]
	sum := checkpoint.Summary{ID: "x", Function: "f", Status: checkpoint.Running, StartedAt: 1, Tail: uint64(len(m.records)), InboxSeen: last.inboxSeen, InboxTail: uint64(len(m.inbox))}
	for _, rec := range m.records {
		if rec.Events > 0 {
			sum.LastEvent = rec.EventID + uint64(rec.Events) - 1
		}
	}
	s := newOrders(choose)
	m.x = New(&Config{Host: m, Execution: sum, Lost: lost, Codec: "json", ParkFor: m.program.parkFor(), Inline: 1 << 20, Log: slog.New(slog.DiscardHandler), Threads: s,
		Handler: func(c Context, _ []byte, _ string) Return { return m.program.run(m, c) }})
	s.outside = m.outside
	s.idle = func() {
		if len(m.asked) == 0 && !m.gone && m.status == 0 && !m.program.park {
			m.failed("nothing of it can go on, and it stays in memory")
		}
	}
	s.Go(m.x.Run)
	s.run()
	s.end()
	switch {
	case m.status != 0 || m.problem != "":
	case !m.gone:
		m.failed("stuck: nothing goes on, and it is still in memory")
	case m.released == nil:
		m.failed("gone, and neither ended nor released")
	}
}

// finish lets the execution go on, stay by stay, without interruptions, until it has ended,
// and returns how. What it waits for comes while it is not in memory.
func (m *memory) finish() string {
	for range 30 {
		if m.problem != "" {
			return m.problem
		}
		if m.status != 0 {
			return m.result()
		}
		if m.released != nil && m.released.WakeAt != 0 {
			m.clock = max(m.clock, m.released.WakeAt)
		} else {
			for _, rec := range m.answerable() {
				_ = m.deliver(rec)
			}
		}
		m.retired = true
		m.stay(func(int) int { return 0 })
	}
	return "it does not end"
}

func (m *memory) result() string {
	last := m.records[len(m.records)-1]
	if last.Failure != nil {
		f, err := fault.Decode(last.Failure)
		if err != nil {
			return err.Error()
		}
		return "failed: " + f.Message
	}
	return string(last.Payload)
}

// cutOff is what is there after a crash behind an append.
func (m *memory) cutOff(c cut) *memory {
	after := newMemory(m.program, m.fault)
	after.records, after.cuts = slices.Clone(m.records[:c.records]), []cut{{records: 1}, c}
	after.inbox, after.clock, after.completed = slices.Clone(m.inbox[:c.inbox]), m.clock, maps.Clone(c.completed)
	after.cancelled = slices.ContainsFunc(after.inbox, func(rec checkpoint.Record) bool { return rec.Type == checkpoint.CancelRequested })
	if after.completed == nil {
		after.completed = make(map[string]bool)
	}
	return after
}
