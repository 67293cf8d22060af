package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/cases"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/journal"
)

// TestTables runs the pages of testdata. A case is an execution, with what it does a line (see
// doing); below stands what changes of its journal, and what is handed on.
func TestTables(t *testing.T) {
	t.Parallel()
	cases.Run(t, func(t *testing.T, page string) cases.Say {
		x := newExecution()
		return func(line string) (as string, answer []string, err error) {
			before := x.state()
			x.said = nil
			err = x.do(strings.Fields(line))
			for i, now := range x.state() {
				if now != before[i] {
					x.said = append(x.said, now)
				}
			}
			return line, x.said, err
		}
	})
}

// execution is one that does what the lines of a case say, as an invocation would. The clock
// says how many lines there were.
type execution struct {
	journal.Journal
	ops   history.Operations
	mark  journal.Mark       // that was taken last
	start *checkpoint.Record // the last one that was lazy
	now   int64
	said  []string
}

func newExecution() *execution {
	ops := history.New(0)
	ops.Apply(&checkpoint.Record{Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Time: 1}, nil)
	return &execution{Journal: journal.New(1, 1), ops: ops}
}

// state is what can be seen of the journal.
func (x *execution) state() []string {
	mark := x.Mark()
	var lazy []string
	for _, o := range x.Lazy() {
		lazy = append(lazy, o.ID)
	}
	slot := "none"
	if s := x.Slot(); s != nil {
		slot = fmt.Sprintf("%d, of operation %s", s.Seq, s.O.ID)
	}
	var ops []string
	for _, o := range slices.SortedFunc(values(x.ops), func(a, b *history.Operation) int { return history.CompareIDs(a.ID, b.ID) }) {
		if o.ID != "" {
			ops = append(ops, fmt.Sprintf("%s %s since %d", o.ID, o.Status, o.StartedAt))
		}
	}
	return []string{
		"operations: " + listed(ops),
		"lazy: " + listed(lazy),
		"pending: " + listed(numbers(x.Pending())),
		fmt.Sprintf("numbered up to %d, event %d", mark.Seq, mark.Event),
		fmt.Sprintf("closed up to %d", mark.Sent),
		fmt.Sprintf("durable up to %d%s", x.Durable(), map[bool]string{true: ", which is all"}[x.IsDurable()]),
		"slot: " + slot,
	}
}

func values(ops history.Operations) func(func(*history.Operation) bool) {
	return func(yield func(*history.Operation) bool) {
		for _, o := range ops {
			if !yield(o) {
				return
			}
		}
	}
}

func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func numbers(records []checkpoint.Record) (list []string) {
	for i := range records {
		list = append(list, strconv.FormatUint(records[i].Seq, 10))
	}
	return list
}

// do does what a line says.
func (x *execution) do(words []string) error {
	x.now++
	for _, d := range doing {
		if d.word == words[0] {
			return d.does(x, words[1:])
		}
	}
	return fmt.Errorf("nobody knows how to %q", words[0])
}

var errStore = errors.New("the disk is full")

// doing is what an execution can do.
var doing = []struct {
	word string
	does func(x *execution, words []string) error
}{
	// enter 2 MapIteration item silent: it is there, without a start.
	{"enter", func(x *execution, words []string) error {
		o, _, err := x.entered(words)
		o.Status = history.Started
		return err
	}},
	// start 1 Step reserve [timeout] [atMostOnce] [reused]: its start is lazy; reused: in the record of an earlier one.
	{"start", func(x *execution, words []string) error {
		o, typ, err := x.entered(words)
		rec := x.NewStart()
		if slices.Contains(words, "reused") && rec != x.start {
			return errors.New("the record of the earlier start is not used again")
		}
		x.start = rec
		*rec = checkpoint.Record{Type: typ, SubType: o.SubType, OperationID: o.ID, Name: o.Name, Flags: o.Flags, Attempt: o.Attempt}
		if o.Type == history.Step {
			rec.Attempt++
		}
		for _, word := range words[3:] {
			switch word {
			case "timeout":
				rec.Timeout, rec.TimeoutAt = 60, x.now+60
			case "atMostOnce":
				rec.Flags |= checkpoint.FlagAtMostOnce
			}
		}
		x.Start(o, rec, x.now)
		return err
	}},
	// settle 1 [failed] [timeout]: its outcome is recorded, and one record with its start if that is lazy.
	{"settle", func(x *execution, words []string) error {
		o := x.ops[words[0]]
		rec, failure := outcome(o, words[1:])
		x.record(o, &rec, failure)
		return nil
	}},
	// retry 1: an attempt failed, and another one is made.
	{"retry", func(x *execution, words []string) error {
		o := x.ops[words[0]]
		rec, failure := outcome(o, []string{"failed"})
		rec.NextAttemptDelay, rec.WakeAt = 5, x.now+5
		x.record(o, &rec, failure)
		return nil
	}},
	// record 1 Callback approved: its start gets a number at once, as what is told outside does.
	{"record", func(x *execution, words []string) error {
		o, typ, err := x.entered(words)
		x.record(o, &checkpoint.Record{Type: typ, SubType: o.SubType, OperationID: o.ID, Name: o.Name}, nil)
		return err
	}},
	// cancel [1]: a cancel of a context is recorded.
	{"cancel", func(x *execution, words []string) error {
		o := x.ops[strings.Join(words, "")]
		x.record(o, &checkpoint.Record{Type: checkpoint.ScopeCancelled, OperationID: o.ID, Key: "Canceled"}, nil)
		return nil
	}},
	// leave: the invocation is over.
	{"leave", func(x *execution, words []string) error {
		x.numberStarts()
		x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, nil)
		return nil
	}},
	// number: the lazy starts get their numbers.
	{"number", func(x *execution, words []string) error { x.numberStarts(); return nil }},
	// callback 1: it is closed with what is pending; deliver x: x is told with it.
	{"callback", func(x *execution, words []string) error { x.CloseCallback(words[0]); return nil }},
	{"deliver", func(x *execution, words []string) error { x.Deliver(checkpoint.Delivery{ID: words[0]}); return nil }},
	// close [told] [deliver x]: one append of all that is pending. told: who closes is told of the answer.
	{"close", func(x *execution, words []string) error {
		a := checkpoint.Append{ID: "x", Epoch: 7, InboxSeen: 3}
		var done func(error)
		for i, word := range words {
			switch word {
			case "told":
				done = func(err error) { x.said = append(x.said, fmt.Sprintf("who closed it is told: %v", err)) }
			case "deliver":
				a.Deliver = []checkpoint.Delivery{{ID: words[i+1]}}
			}
		}
		x.Close(a, done)
		return nil
	}},
	// hand: all that is ready goes to the host.
	{"hand", func(x *execution, words []string) error {
		for any := false; ; any = true {
			a, ok := x.Hand()
			if !ok {
				if !any {
					x.said = append(x.said, "nothing is ready")
				}
				return nil
			}
			x.said = append(x.said, appendText(&a))
			for i := range a.Records {
				x.said = append(x.said, "  "+recordText(&a.Records[i]))
			}
		}
	}},
	// answer [error]: the host answers the oldest append.
	{"answer", func(x *execution, words []string) error {
		var err error
		if len(words) > 0 {
			err = errStore
		}
		a := x.Answered()
		text := fmt.Sprintf("that was up to %d", a.Seq)
		if a.Opens {
			text += ", with a callback"
		}
		x.said = append(x.said, text)
		switch {
		case a.Done != nil:
			a.Done(err)
		case err == nil:
			x.Reached(a.Seq)
		}
		return nil
	}},
	// reached 5: a number is known to be durable.
	{"reached", func(x *execution, words []string) error {
		seq, err := strconv.ParseUint(words[0], 10, 64)
		x.Reached(seq)
		return err
	}},
	// reserve 1: a transaction commits with the success of 1.
	{"reserve", func(x *execution, words []string) error {
		o := x.ops[words[0]]
		rec, _ := outcome(o, nil)
		start := x.TakeStart(o, &rec)
		x.numberStarts()
		if len(x.Pending()) > 0 {
			x.Close(checkpoint.Append{ID: "x", Epoch: 7}, nil)
		}
		s := x.Reserve(o, &rec, start, x.now)
		if s != x.Slot() || s.O != o {
			return errors.New("that is another slot")
		}
		x.said = append(x.said, "to be committed: "+recordText(&rec))
		return nil
	}},
	// fill 1: it has failed instead; retried: and is made again.
	{"fill", func(x *execution, words []string) error {
		o := x.ops[words[0]]
		rec, failure := outcome(o, []string{"failed"})
		if len(words) > 1 {
			rec.NextAttemptDelay, rec.WakeAt = 5, x.now+5
		}
		x.Fill(checkpoint.Append{ID: "x", Epoch: 7}, &rec, failure, x.now)
		return nil
	}},
	// free: the transaction has committed.
	{"free", func(x *execution, words []string) error {
		s := x.Slot()
		x.Free()
		x.Reached(s.Seq)
		return nil
	}},
	// mark: how far it has got is taken down; back: it goes back there.
	{"mark", func(x *execution, words []string) error { x.mark = x.Mark(); return nil }},
	{"back", func(x *execution, words []string) error { x.Back(x.mark); return nil }},
}

// entered is the operation that a line names, and the type of its start.
func (x *execution) entered(words []string) (*history.Operation, checkpoint.EventType, error) {
	types := map[string]struct {
		typ   history.Type
		sub   checkpoint.SubType
		start checkpoint.EventType
	}{
		"Step":              {history.Step, checkpoint.Step, checkpoint.StepStarted},
		"Wait":              {history.Wait, checkpoint.Wait, checkpoint.WaitStarted},
		"Callback":          {history.Callback, checkpoint.Callback, checkpoint.CallbackStarted},
		"RunInChildContext": {history.Context, checkpoint.RunInChildContext, checkpoint.ContextStarted},
		"MapIteration":      {history.Context, checkpoint.MapIteration, checkpoint.ContextStarted},
	}
	is, ok := types[words[1]]
	if !ok {
		return nil, 0, fmt.Errorf("%q is not an operation here", words[1])
	}
	o := x.ops[words[0]]
	if o == nil {
		var flags checkpoint.Flags
		if slices.Contains(words, "silent") {
			flags = checkpoint.FlagSilent
		}
		o = x.ops.Add(words[0], words[2], is.typ, is.sub, flags, "")
	}
	return o, is.start, nil
}

// outcome is the record of an outcome of o.
func outcome(o *history.Operation, words []string) (rec checkpoint.Record, failure *fault.Failure) {
	ends := map[history.Type][2]checkpoint.EventType{
		history.Step:     {checkpoint.StepSucceeded, checkpoint.StepFailed},
		history.Wait:     {checkpoint.WaitSucceeded, checkpoint.WaitCancelled},
		history.Callback: {checkpoint.CallbackSucceeded, checkpoint.CallbackFailed},
		history.Context:  {checkpoint.ContextSucceeded, checkpoint.ContextFailed},
	}[o.Type]
	rec = checkpoint.Record{Type: ends[0], SubType: o.SubType, OperationID: o.ID, Attempt: o.Attempt}
	if slices.Contains(words, "failed") {
		rec.Type, failure = ends[1], &fault.Failure{Type: "error", Message: "no"}
	}
	if slices.Contains(words, "timeout") {
		rec.Timeout, rec.TimeoutAt = 30, 31
	}
	return rec, failure
}

// record records what an operation became, as an invocation does.
func (x *execution) record(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	x.Join(o, rec)
	x.numberStarts()
	x.number(o, rec, failure)
}

func (x *execution) numberStarts() {
	for _, o := range x.Lazy() {
		x.number(o, x.Begin(o), nil)
	}
	x.ClearLazy()
}

func (x *execution) number(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	x.Number(o, rec, failure, x.now)
	x.said = append(x.said, recordText(rec))
}

// recordText is a record that has its numbers.
func recordText(rec *checkpoint.Record) string {
	text := strings.TrimSpace(fmt.Sprintf("%d %s %s", rec.Seq, rec.Type, rec.OperationID))
	if rec.Name != "" {
		text += " " + strconv.Quote(rec.Name)
	}
	switch rec.Events {
	case 0:
		text += ", no event"
	case 1:
		text += fmt.Sprintf(" event %d at %d", rec.EventID, rec.Time)
	default:
		text += fmt.Sprintf(" events %d at %d, %d at %d", rec.EventID, rec.StartedAt, rec.EventID+1, rec.Time)
	}
	if rec.Attempt > 0 {
		text += fmt.Sprintf(" attempt=%d", rec.Attempt)
	}
	if rec.Timeout > 0 {
		text += fmt.Sprintf(" timeout=%d until %d", rec.Timeout, rec.TimeoutAt)
	}
	if rec.WakeAt > 0 {
		text += fmt.Sprintf(" wakeAt=%d", rec.WakeAt)
	}
	for flag, word := range map[checkpoint.Flags]string{checkpoint.FlagAtMostOnce: "atMostOnce", checkpoint.FlagSilent: "silent"} {
		if rec.Flags&flag != 0 {
			text += " " + word
		}
	}
	if rec.Failure != nil {
		text += " failure"
	}
	return text
}

// appendText is an append.
func appendText(a *checkpoint.Append) string {
	text := fmt.Sprintf("append behind %d of %s in epoch %d", a.Tail, a.ID, a.Epoch)
	if a.InboxSeen > 0 {
		text += fmt.Sprintf(", inbox up to %d", a.InboxSeen)
	}
	if len(a.CloseCallbacks) > 0 {
		text += ", closes " + strings.Join(a.CloseCallbacks, ", ")
	}
	for _, d := range a.Deliver {
		text += ", delivers to " + d.ID
	}
	return text
}
