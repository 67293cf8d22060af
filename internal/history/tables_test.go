package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/cases"
	"github.com/durable-go/durable/internal/history"
)

// TestTables runs the pages of testdata, each about what journals say. Its cases are journals
// with a record a line (see line_test.go), and questions about them (see questions). Below a
// record stands what it does to its operation, if the page says so, or why it can't stand
// there.
func TestTables(t *testing.T) {
	t.Parallel()
	cases.Run(t, func(t *testing.T, page string) cases.Say {
		j := newJournal("A")
		j.aloud = strings.Contains(page, "\n"+aloud+"\n")
		return func(line string) (as string, answer []string, err error) {
			if !isQuestion(line) {
				return j.take(line)
			}
			j.begin()
			j, answer, err = j.ask(line)
			return line, answer, err
		}
	})
}

// aloud is a line in the head of a page.
const aloud = "# Below each record stands what it changes in the fold."

// TestEachRecordHasACase checks that no type of record, no sub-type and no flag is left out.
func TestEachRecordHasACase(t *testing.T) {
	t.Parallel()
	said := make(map[string]bool)
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	for _, file := range files {
		page, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(page)) {
			for _, word := range split(strings.TrimSpace(line)) {
				said[word] = true
			}
		}
	}
	for typ := range checkpoint.EventType(255) {
		if !strings.HasPrefix(typ.String(), "EventType(") && typ != 0 {
			require.True(t, said[typ.String()], typ)
		}
	}
	for sub := checkpoint.SubType(1); !strings.HasPrefix(sub.String(), "SubType("); sub++ {
		require.True(t, said[sub.String()], sub)
	}
	for flag := checkpoint.Flags(1); flag <= checkpoint.FlagSilent; flag <<= 1 {
		require.True(t, flag == checkpoint.FlagPayload || said[flagWords[flag]], flagWords[flag])
	}
}

func isQuestion(line string) bool { return line[0] >= 'a' && line[0] <= 'z' }

// take records a line, and says what that does, or why it can't stand there.
func (j *journal) take(line string) (as string, answer []string, err error) {
	if !strings.Contains(line, "ExecutionStarted") {
		j.begin()
	}
	rec, err := j.parse(line)
	if err != nil {
		return line, nil, err
	}
	before, formatted := j.states(), j.format(&rec, false)
	if err := j.add(rec); err != nil {
		_, said, _ := strings.Cut(line, rec.Type.String())
		return fmt.Sprint(j.seq+1, " ", rec.Type, said), []string{"no: " + err.Error()}, nil
	}
	if rec.Type == checkpoint.ExecutionStarted {
		if j.Keys, err = history.DecodeKeys(rec.Keys); err != nil {
			return formatted, []string{"no: " + err.Error()}, nil
		}
	}
	if j.aloud {
		answer = j.changes(before)
	}
	return formatted, answer, nil
}

// questions are what can be asked about a journal.
var questions = []struct {
	pattern string
	answer  func(j *journal, m []string) (next *journal, lines []string, err error)
}{
	// The operations, whole.
	{`operations`, func(j *journal, _ []string) (*journal, []string, error) {
		var lines []string
		for _, o := range j.sorted() {
			s := stateOf(o)
			lines = append(lines, strings.Join(slices.DeleteFunc(append([]string{s.head}, s.fields...), func(word string) bool { return word == "" }), " "))
		}
		return j, lines, nil
	}},
	// What is open in a context, at any depth.
	{`what is open in (\S+)\?`, func(j *journal, m []string) (*journal, []string, error) {
		o, err := j.called(m[1])
		if err != nil {
			return j, nil, err
		}
		return j, []string{ids(openIn(o))}, nil
	}},
	// Whom a cancel of a context would reach: what is open, but contexts.
	{`what open does a cancel of (\S+) reach\?`, func(j *journal, m []string) (*journal, []string, error) {
		o, err := j.called(m[1])
		if err != nil {
			return j, nil, err
		}
		return j, []string{ids(o.OpenIn())}, nil
	}},
	{`what does a cancel of (\S+) reach\?`, func(j *journal, m []string) (*journal, []string, error) {
		context, err := j.called(m[1])
		return j, j.those(func(o *history.Operation) bool { return o.ReachedBy(context) }), err
	}},
	// Which cancel has reached an operation first, and what that makes of one that is open.
	{`what is cancelled\?`, func(j *journal, _ []string) (*journal, []string, error) {
		return j, j.ofOperations(func(o *history.Operation) string {
			by := o.CancelledBy()
			if by == nil {
				return ""
			}
			return fmt.Sprintf("by that of %s: %s", idOf(by), by.Cancelled().Message)
		}), nil
	}},
	{`what has a cancel ended\?`, func(j *journal, _ []string) (*journal, []string, error) {
		return j, j.those((*history.Operation).EndedByCancel), nil
	}},
	// What matters no more, because a context around it has ended.
	{`what is dead\?`, func(j *journal, _ []string) (*journal, []string, error) {
		return j, j.those((*history.Operation).Dead), nil
	}},
	{`what is within (\S+)\?`, func(j *journal, m []string) (*journal, []string, error) {
		context, err := j.called(m[1])
		return j, j.those(func(o *history.Operation) bool { return o.Within(context) }), err
	}},
	// When the body of an operation has to end; shielded: it was asked for without cancels.
	{`when does (\S+) time out( if shielded)?\?`, func(j *journal, m []string) (*journal, []string, error) {
		o, err := j.called(m[1])
		if err != nil {
			return j, nil, err
		}
		at := o.TimesOutAt(m[2] != "")
		if at == 0 {
			return j, []string{"never"}, nil
		}
		return j, []string{duration(at)}, nil
	}},
	// Whether an outcome that is in the inbox is taken over.
	{`is an outcome of (\S+) awaited\?`, func(j *journal, m []string) (*journal, []string, error) {
		return j, []string{yes(j.Ops.Awaits(&checkpoint.Record{OperationID: m[1]}))}, nil
	}},
	// Whether that is what is recorded there.
	{`is (\S+) (STEP|WAIT|CALLBACK|CHAINED_INVOKE|CONTEXT) (\S+) "(.*)"\?`, func(j *journal, m []string) (*journal, []string, error) {
		o, err := j.called(m[1])
		if err != nil {
			return j, nil, err
		}
		sub, err := named[checkpoint.SubType](m[3])
		typ := history.Step
		for typ.String() != m[2] {
			typ++
		}
		if in := history.Mismatch(o, typ, sub, m[4]); in != "" {
			return j, []string{"no, it has another " + in}, err
		}
		return j, []string{"yes"}, err
	}},
	// What a retry keeps, drops, and forgets.
	{`retry`, func(j *journal, _ []string) (*journal, []string, error) {
		kept, b := j.WithoutFailure()
		of, err := lines(j.letter, j.Records, false)
		if err != nil {
			return j, nil, err
		}
		var answer []string
		for i, rec := range j.Records {
			if rec.OperationID == "" && (rec.Type <= checkpoint.ExecutionStopped || rec.Type == checkpoint.InvocationCompleted) {
				continue
			}
			mark := "drops "
			if slices.ContainsFunc(kept, func(k checkpoint.Record) bool { return k.Seq == rec.Seq }) {
				mark = "keeps "
			}
			answer = append(answer, mark+of[i])
		}
		for _, o := range j.sorted() {
			if b.Forgets(o) {
				answer = append(answer, "forgets "+o.ID+" "+history.Describe(o.Type, o.SubType, o.Name))
			}
		}
		return j, answer, nil
	}},
	// Another execution, which begins with what is kept. "as B": the case goes on with that one.
	{`(retry|restart from (\S+))( with new keys)?( as ([B-F]))?`, func(j *journal, m []string) (*journal, []string, error) {
		var kept []checkpoint.Record
		var b *history.Blame
		var err error
		if m[1] == "retry" {
			kept, b = j.WithoutFailure()
		} else if kept, err = j.keptBefore(m[2]); err != nil {
			return j, nil, err
		}
		letter := m[5]
		if letter == "" {
			letter = string(j.letter[0] + 1)
		}
		next, closed, err := j.next(letter, kept, b, m[3] != "")
		if err != nil {
			return j, nil, err
		}
		answer, err := lines(letter, next.Records, true)
		for _, id := range closed {
			answer = append(answer, "closes the callback of "+id)
		}
		if m[5] != "" {
			return next, answer, err
		}
		if answer = answer[1:]; len(answer) == 0 { // without its start
			answer = []string{"nothing"}
		}
		return j, answer, err
	}},
	// The execution whose incarnation the idempotency key of an operation derives from.
	{`whose key has (\S+) (\S+) "(.*)"\?`, func(j *journal, m []string) (*journal, []string, error) {
		sub, err := named[checkpoint.SubType](m[2])
		o := &history.Operation{ID: m[1], SubType: sub, Name: m[3]}
		return j, []string{letter(j.Keys.Origin(o, j.Summary.Incarnation).String())}, err
	}},
	// What an invoke begins as.
	{`what had (\S+) ChainedInvoke "(.*)" invoked\?`, func(j *journal, m []string) (*journal, []string, error) {
		known := j.Keys.Invoked(&history.Operation{ID: m[1], SubType: checkpoint.ChainedInvoke, Name: m[2]})
		if known == nil {
			return j, []string{"nothing"}, nil
		}
		text := known.Invoked + ", which has keys of " + letter(checkpoint.Incarnation(known.Base).String())
		if known.Retry {
			text += "; a retry"
		}
		if known.Fresh {
			text += "; with new keys"
		}
		return j, []string{text}, nil
	}},
}

// ask answers a question.
func (j *journal) ask(line string) (*journal, []string, error) {
	for _, q := range questions {
		if m := regexp.MustCompile(`^` + q.pattern + `$`).FindStringSubmatch(line); m != nil {
			return q.answer(j, m)
		}
	}
	return j, nil, fmt.Errorf("nobody knows the question %s", strconv.Quote(line))
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
