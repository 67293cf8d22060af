package history_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// journal is that of a case, as far as it has been read, and its fold.
type journal struct {
	history.Ended
	check      history.Check
	letter     string // of its incarnation
	began      int64
	seq, event uint64
	aloud      bool // what each record does is said
}

// newJournal is one that nothing is recorded in. letter is that of its incarnation.
func newJournal(letter string) *journal {
	j := &journal{letter: letter, check: history.Check{Ops: history.New(0), Most: 1 << 20}}
	j.Ops = j.check.Ops
	j.Summary.Incarnation = incarnation(letter)
	return j
}

// add takes the next record in, or says why it can't stand there.
func (j *journal) add(rec checkpoint.Record) error {
	check := j.check // what is refused has not been
	if err := check.Next(&rec); err != nil {
		return err
	}
	j.check, j.Ops = check, check.Ops
	j.seq, j.event = j.seq+1, j.event+uint64(rec.Events)
	j.Records = append(j.Records, rec)
	return nil
}

// begin records the start of the execution, if that is not there yet.
func (j *journal) begin() {
	if j.seq > 0 {
		return
	}
	if err := j.add(j.plain(checkpoint.Record{Type: checkpoint.ExecutionStarted})); err != nil {
		panic(err)
	}
}

// sorted are the operations that are in the fold.
func (j *journal) sorted() []*history.Operation { return j.Ended.Sorted() }

// called is an operation by its ID, or "execution".
func (j *journal) called(id string) (*history.Operation, error) {
	if id == "execution" {
		return j.Ops[""], nil
	}
	if o := j.Ops[id]; o != nil && id != "" {
		return o, nil
	}
	return nil, fmt.Errorf("there is no operation %q", id)
}

func idOf(o *history.Operation) string {
	if o.ID == "" {
		return "execution"
	}
	return o.ID
}

func ids(ops []*history.Operation) string {
	if len(ops) == 0 {
		return "none"
	}
	var list []string
	for _, o := range ops {
		list = append(list, idOf(o))
	}
	return strings.Join(list, ", ")
}

// state is what is known of an operation, by field.
type state struct {
	head   string
	fields []string // "" where there is nothing to say
}

var stateFields = func() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[history.Operation]()) {
		switch f.Name {
		case "ID", "Name", "Type", "SubType", "Up", "Open", "Live": // said otherwise
			continue
		}
		if f.IsExported() && len(f.Index) == 1 {
			names = append(names, f.Name)
		}
	}
	return names
}()

// duration is a time, or a span of time, without zeros at its end.
func duration(ns int64) string {
	text := time.Duration(ns).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func stateOf(o *history.Operation) (s state) {
	if s.head = "execution"; o.ID != "" {
		s.head = o.ID + " " + history.Describe(o.Type, o.SubType, o.Name)
	}
	v := reflect.ValueOf(o).Elem()
	for _, name := range stateFields {
		text, field := "", v.FieldByName(name)
		if !field.IsZero() {
			text = lower(name) + valueOf(o, name, field)
		}
		if name == "Parent" && (o.Up == nil || o.Parent == o.Up.ID) {
			text = ""
		}
		s.fields = append(s.fields, text)
	}
	return s
}

func valueOf(o *history.Operation, name string, v reflect.Value) string {
	switch value := v.Interface().(type) {
	case bool:
		return ""
	case int64:
		return "=" + duration(value)
	case []byte:
		return "=" + string(value)
	case *fault.Failure:
		return "=" + textOf(value)
	case checkpoint.Flags:
		var words []string
		for flag, word := range flagWords {
			if value&flag != 0 {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		return "=" + strings.Join(words, ",")
	case *history.Looks:
		return fmt.Sprintf("={place:%d count:%d shown:%t}", value.Place, value.Count, value.Shown)
	case map[string]int64:
		return strings.TrimPrefix("="+fmt.Sprint(value), "=map")
	default:
		return fmt.Sprintf("=%v", value)
	}
}

// states are those of all operations.
func (j *journal) states() map[*history.Operation]state {
	all := make(map[*history.Operation]state)
	for _, o := range j.Ops {
		all[o] = stateOf(o)
	}
	return all
}

// changes says what has become of operations that were in a state.
func (j *journal) changes(before map[*history.Operation]state) (lines []string) {
	for _, o := range j.sorted() {
		is, was := stateOf(o), before[o]
		words := []string{idOf(o)}
		if is.head != was.head {
			words[0] = is.head
		}
		for i, field := range is.fields {
			old := ""
			if was.fields != nil {
				old = was.fields[i]
			}
			switch {
			case field == old, stateFields[i] == "Last":
			case field == "":
				words = append(words, lower(stateFields[i])+"=none")
			default:
				words = append(words, field)
			}
		}
		if len(words) > 1 || is.head != was.head {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}

// copiedAt is when an execution begins that begins as another one.
const copiedAt = int64(time.Hour)

// next is a journal that begins with the records kept of j, as the engine makes one, and the
// callbacks of it that nobody waits for.
func (j *journal) next(letter string, kept []checkpoint.Record, b *history.Blame, fresh bool) (next *journal, closed []string, err error) {
	records, closed, err := history.BeginAnew(kept, copiedAt)
	if err != nil {
		return nil, nil, err
	}
	stays, err := history.Stayers(records)
	if err != nil {
		return nil, nil, err
	}
	again := make(map[*history.Operation]*history.Known)
	for _, o := range j.Ops {
		if o.InvokedAgain(stays) {
			again[o] = &history.Known{ID: o.ID, Kind: o.SubType, Name: o.Name, Invoked: o.Target, Base: history.Incarnation(incarnation(o.Target)), Retry: b != nil && !b.Forgets(o)}
		}
	}
	next = newJournal(letter)
	next.began, next.aloud = copiedAt, j.aloud
	started := j.Records[0]
	started.Time, started.TimeoutAt = copiedAt+int64(time.Second), 0
	if started.Timeout > 0 {
		started.TimeoutAt = history.After(started.Time, started.Timeout)
	}
	started.Number, started.RestartOf = int64(len(records)), j.letter
	started.Keys = j.KeysOfNext(stays, again, fresh).Encode()
	if next.Keys, err = history.DecodeKeys(started.Keys); err != nil {
		return nil, nil, err
	}
	for _, rec := range slices.Insert(records, 0, started) {
		if err := next.add(rec); err != nil {
			return nil, nil, fmt.Errorf("what it begins with is no journal: record %d: %w", rec.Seq, err)
		}
	}
	return next, closed, nil
}

// lines are the records of the journal, one each. Those of the original that are not there
// are left out.
func lines(letter string, records []checkpoint.Record, copied bool) (lines []string, err error) {
	j := newJournal(letter)
	for i := range records {
		lines = append(lines, j.format(&records[i], copied))
		if err := j.add(records[i]); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// keptBefore are the records from before an operation began.
func (j *journal) keptBefore(id string) ([]checkpoint.Record, error) {
	if id == "execution" {
		return nil, nil
	}
	o, err := j.called(id)
	if err != nil {
		return nil, err
	}
	if o.FirstSeq == 0 || o.Refusal {
		return nil, fmt.Errorf("operation %s has not begun", id)
	}
	return j.Records[1 : o.FirstSeq-1], nil
}

// ofOperations says something about operations, one a line; "" leaves one out.
func (j *journal) ofOperations(say func(o *history.Operation) string) (lines []string) {
	for _, o := range j.sorted() {
		if text := say(o); text != "" {
			lines = append(lines, idOf(o)+" "+text)
		}
	}
	if lines == nil {
		return []string{"none"}
	}
	return lines
}

// those are the IDs of the operations that are so.
func (j *journal) those(are func(o *history.Operation) bool) []string {
	return []string{ids(slices.DeleteFunc(j.sorted(), func(o *history.Operation) bool { return !are(o) }))}
}

// openIn are the operations that are open in a context, in the order of their IDs.
func openIn(o *history.Operation) []*history.Operation {
	open := make(map[string]*history.Operation)
	o.EachOpen(true, func(o *history.Operation) { open[o.ID] = o })
	return slices.SortedFunc(maps.Values(open), func(a, b *history.Operation) int { return history.CompareIDs(a.ID, b.ID) })
}
