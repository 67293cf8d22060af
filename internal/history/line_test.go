package history_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// A journal as text has a record a line:
//
//	5 StepFailed 2-1 Step "charge" failure="declined" nextAttemptDelay=5s
//
// Record 5 is of the type StepFailed and of operation 2-1; a record without an ID is the
// execution's. Sub-type and name stand where the operation is named first. The rest are
// flags, as a word, and other fields of checkpoint.Record under the names that they have in
// a recording; those that mean something else with each type of record have the word for
// that, see wordsOf.
//
// What a line does not say is what the engine records: record n is of second n, an outcome
// without a start is a record of two events, an attempt has the next number, and a delay, a
// duration or a timeout counts from the time of its record. Only a cancel or a timeout ends a
// step that is PENDING without another attempt.
//
// failure="declined" is a failure of the user's with that text; failure=Canceled and
// failure=Timeout are what a cancel makes of what it reaches. In keys A, B … F
// are the incarnations of executions.

// wordsOf are the words for the fields that mean something of their own in records of a type.
var wordsOf = map[checkpoint.EventType]map[string]string{
	checkpoint.ExecutionStarted: {"Number": "copied"},
	checkpoint.ScopeCancelled:   {"Key": "cause", "Payload": "reason", "Number": "told"},
	checkpoint.VersionChosen:    {"Key": "change", "Number": "version"},
	checkpoint.AwaitableChosen:  {"Number": "index"},
	checkpoint.OperationRefused: {"Number": "type"},
	checkpoint.ContextLooked:    {"Key": "cause", "Number": "place", "Attempt": "looks"},
}

var flagWords = map[checkpoint.Flags]string{
	checkpoint.FlagSealed: "sealed", checkpoint.FlagParent: "parent", checkpoint.FlagShielded: "shielded", checkpoint.FlagRebuild: "rebuild",
	checkpoint.FlagAtMostOnce: "atMostOnce", checkpoint.FlagPayload: "payload", checkpoint.FlagSilent: "silent",
}

// wordOf is the word for a field of records of a type.
func wordOf(t checkpoint.EventType, field string) string {
	if word := wordsOf[t][field]; word != "" {
		return word
	}
	return lower(field)
}

// lower is the name of a field as it is in a recording.
func lower(field string) string {
	runes := []rune(strings.ReplaceAll(field, "ID", "Id"))
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}

var operationID = regexp.MustCompile(`^[0-9]+(-[0-9]+)*$`)

// parse reads a line as the next record of the journal.
func (j *journal) parse(line string) (rec checkpoint.Record, err error) {
	words := split(line)
	if _, err := strconv.Atoi(words[0]); err == nil {
		words = words[1:] // its number, which it gets anew
	}
	if rec.Type, err = named[checkpoint.EventType](words[0]); err != nil {
		return rec, err
	}
	said := make(map[string]string)
	for _, word := range words[1:] {
		name, value, isField := strings.Cut(word, "=")
		sub, noSub := named[checkpoint.SubType](word)
		flag, isFlag := flagOf(word)
		switch {
		case isField && !strings.HasPrefix(word, `"`):
			said[name] = value
		case operationID.MatchString(word):
			rec.OperationID = word
		case strings.HasPrefix(word, `"`):
			if rec.Name, err = strconv.Unquote(word); err != nil {
				return rec, fmt.Errorf("%s: %w", word, err)
			}
		case noSub == nil:
			rec.SubType = sub
		case isFlag:
			rec.Flags |= flag
		default:
			return rec, fmt.Errorf("%q is no word of a record", word)
		}
	}
	rec = j.plain(rec)
	for field, v := range fieldsOf(&rec) {
		value, ok := said[wordOf(rec.Type, field)]
		if !ok {
			continue
		}
		delete(said, wordOf(rec.Type, field))
		if err := read(v, field, value); err != nil {
			return rec, fmt.Errorf("%s: %w", field, err)
		}
		if field == "Payload" && rec.Type != checkpoint.ScopeCancelled {
			rec.Flags |= checkpoint.FlagPayload
		}
		j.derive(&rec, field)
	}
	for name := range said {
		return rec, fmt.Errorf("%q is no field of a record of this type", name)
	}
	return rec, nil
}

// format is the line of rec as the next record of the journal; copied: its times are those of
// another journal, and said only if they are anew.
func (j *journal) format(rec *checkpoint.Record, copied bool) string {
	words := []string{strconv.FormatUint(rec.Seq, 10), rec.Type.String()}
	said := checkpoint.Record{Type: rec.Type, Flags: rec.Flags}
	if operationID.MatchString(rec.OperationID) {
		said.OperationID = rec.OperationID
		words = append(words, rec.OperationID)
	}
	if o := j.check.Ops[rec.OperationID]; o == nil || o.SubType != rec.SubType {
		said.SubType = rec.SubType
		if rec.SubType != 0 {
			words = append(words, rec.SubType.String())
		}
	}
	if said.Name = rec.Name; rec.Name != "" {
		words = append(words, strconv.Quote(rec.Name))
	}
	var flags []string
	of := j.check.Ops[rec.OperationID]
	for flag, word := range flagWords {
		implied := flag == checkpoint.FlagPayload && rec.Payload != nil || flag == checkpoint.FlagSilent && of != nil && of.Silent()
		if rec.Flags&flag != 0 && !implied {
			flags = append(flags, word)
		}
	}
	words = append(words, slices.Sorted(slices.Values(flags))...)
	said = j.plain(said)
	if copied && rec.Time != copiedAt {
		said.Time = rec.Time
		if said.StartedAt != 0 {
			said.StartedAt = rec.StartedAt
		}
	}
	is := reflect.ValueOf(rec).Elem()
	for field, v := range fieldsOf(&said) {
		always := slices.Contains([]string{"index", "version", "place"}, wordOf(rec.Type, field))
		if field == "Flags" || !always && reflect.DeepEqual(v.Interface(), is.FieldByName(field).Interface()) {
			continue
		}
		v.Set(is.FieldByName(field))
		words = append(words, wordOf(rec.Type, field)+"="+write(v, field))
		j.derive(&said, field)
	}
	return strings.Join(words, " ")
}

// fieldsOf yields the fields of a record that are said by their name, in the order in which
// they are.
func fieldsOf(rec *checkpoint.Record) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(rec).Elem()
		fields := reflect.VisibleFields(v.Type())
		rank := func(f reflect.StructField) int { // what others follow from comes first
			switch f.Name {
			case "Failure":
				return 0
			case "WakeAt", "TimeoutAt":
				return 2
			}
			return 1
		}
		slices.SortStableFunc(fields, func(a, b reflect.StructField) int { return rank(a) - rank(b) })
		for _, f := range fields {
			switch f.Name {
			case "Type", "SubType", "Name":
				continue
			}
			if !yield(f.Name, v.FieldByIndex(f.Index)) {
				return
			}
		}
	}
}

// plain is rec with what follows from its type, its operation and its flags.
func (j *journal) plain(rec checkpoint.Record) checkpoint.Record {
	o := j.check.Ops[rec.OperationID]
	rec.Seq = j.seq + 1
	rec.Time = j.began + int64(rec.Seq)*int64(time.Second)
	if o != nil && o.Silent() && rec.Type != checkpoint.OperationRefused {
		rec.Flags |= checkpoint.FlagSilent
	}
	ofOperation := rec.Type >= checkpoint.ContextStarted && rec.Type < checkpoint.InvocationCompleted
	begun := o != nil && o.Status != "" && (o.Type != history.Context || o.StartedAt != 0)
	if rec.Type < checkpoint.ScopeCancelled && rec.Flags&checkpoint.FlagSilent == 0 {
		rec.Events, rec.EventID = 1, j.event+1
		if ofOperation && !history.IsStart(rec.Type) && (!begun || j.pends(rec.OperationID)) {
			rec.Events, rec.StartedAt = 2, rec.Time-int64(time.Second/2)
		}
	}
	if ofOperation {
		if o != nil && rec.SubType == checkpoint.SubTypeNone {
			rec.SubType = o.SubType
		}
		if history.TypeOf(rec.Type) == history.Step {
			if o != nil {
				rec.Attempt = o.Attempt
			}
			if j.pends(rec.OperationID) {
				rec.Attempt++
			}
			rec.Attempt = max(rec.Attempt, 1)
		}
	}
	switch rec.Type {
	case checkpoint.ExecutionStarted:
		rec.Function = "f"
	case checkpoint.ScopeCancelled:
		rec.Number = 1
	case checkpoint.OperationRefused:
		rec.Number = int64(typeOf(rec.SubType))
	}
	return rec
}

// pends reports whether a step waits for its next attempt.
func (j *journal) pends(id string) bool {
	o := j.check.Ops[id]
	return o != nil && o.Status == history.Pending
}

// derive sets what follows from a field.
func (j *journal) derive(rec *checkpoint.Record, field string) {
	switch {
	case field == "Failure" && j.pends(rec.OperationID):
		if f, err := fault.Decode(rec.Failure); err == nil && (f.Type == "Canceled" || f.Type == "Timeout") {
			rec.Events, rec.StartedAt, rec.Attempt = 1, 0, rec.Attempt-1 // no other attempt has begun
		}
	case field == "NextAttemptDelay":
		rec.WakeAt = rec.Time + rec.NextAttemptDelay
	case field == "Duration" && rec.Type == checkpoint.WaitStarted:
		rec.WakeAt = rec.Time + rec.Duration
	case field == "Timeout":
		rec.TimeoutAt = rec.Time + rec.Timeout
	}
}

// typeOf is the type of operations of a sub-type.
func typeOf(sub checkpoint.SubType) history.Type {
	switch sub {
	case checkpoint.Step, checkpoint.WaitForCondition, checkpoint.Now, checkpoint.UUID:
		return history.Step
	case checkpoint.Wait:
		return history.Wait
	case checkpoint.Callback:
		return history.Callback
	case checkpoint.ChainedInvoke:
		return history.Invoke
	}
	return history.Context
}

// read sets a field.
func read(v reflect.Value, field, text string) error {
	switch v.Interface().(type) {
	case int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if field != "Number" {
			var d time.Duration
			d, err = time.ParseDuration(text)
			n = int64(d)
		}
		v.SetInt(n)
		return err
	case uint64, uint32, uint8, checkpoint.Flags:
		n, err := strconv.ParseUint(text, 0, 64)
		v.SetUint(n)
		return err
	case []byte:
		if v.SetBytes([]byte(text)); field == "Failure" {
			v.SetBytes(readFailure(text))
		}
		return nil
	}
	if strings.HasPrefix(text, `"`) {
		var err error
		if text, err = strconv.Unquote(text); err != nil {
			return err
		}
	}
	if field == "Keys" {
		text = unletter(text)
	}
	v.SetString(text)
	return nil
}

// write is what read reads.
func write(v reflect.Value, field string) string {
	switch value := v.Interface().(type) {
	case int64:
		if field == "Number" {
			return strconv.FormatInt(value, 10)
		}
		return duration(value)
	case []byte:
		if field == "Failure" {
			return writeFailure(value)
		}
		return string(value)
	case string:
		text := value
		if field == "Keys" {
			text = letter(value)
		}
		if strings.ContainsAny(text, ` ="`) && !strings.HasPrefix(text, "{") {
			return strconv.Quote(text)
		}
		return text
	default:
		return fmt.Sprint(value)
	}
}

// usersType is the type of a failure of which only the text is said.
const usersType = "*errors.errorString"

func readFailure(text string) []byte {
	if message, err := strconv.Unquote(text); err == nil {
		return fault.Encode(&fault.Failure{Type: usersType, Message: message})
	}
	if text == "Canceled" || text == "Timeout" {
		return fault.Encode(history.CancelFailure(text, ""))
	}
	return []byte(text)
}

func writeFailure(data []byte) string {
	f, err := fault.Decode(data)
	if err != nil || f == nil {
		return string(data)
	}
	return textOf(f)
}

func textOf(f *fault.Failure) string {
	switch data := fault.Encode(f); {
	case string(data) == string(readFailure("Canceled")), string(data) == string(readFailure("Timeout")):
		return f.Type
	case string(data) == string(readFailure(strconv.Quote(f.Message))):
		return strconv.Quote(f.Message)
	default:
		return string(data)
	}
}

// incarnation is that of the execution with a letter.
func incarnation(letter string) (inc checkpoint.Incarnation) {
	data, _ := json.Marshal(strings.Repeat(strings.ToLower(letter), 2*len(inc)))
	if err := json.Unmarshal(data, (*history.Incarnation)(&inc)); err != nil {
		panic(err)
	}
	return inc
}

// letter has the letters of incarnations in place of their digits; unletter the other way.
func letter(text string) string {
	for _, l := range "ABCDEF" {
		text = strings.ReplaceAll(text, incarnation(string(l)).String(), string(l))
	}
	return text
}

func unletter(text string) string {
	for _, l := range "ABCDEF" {
		text = strings.ReplaceAll(text, `"`+string(l)+`"`, `"`+incarnation(string(l)).String()+`"`)
	}
	return text
}

// split splits a line at its spaces that are not in quotes or braces.
func split(line string) (words []string) {
	var word strings.Builder
	quoted, depth := false, 0
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\' && i+1 < len(line):
			word.WriteByte(c)
			i++
			c = line[i]
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte("{[", c) >= 0:
			depth++
		case !quoted && strings.IndexByte("}]", c) >= 0:
			depth--
		case !quoted && depth == 0 && c == ' ':
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteByte(c)
	}
	return append(words, word.String())
}

func flagOf(word string) (checkpoint.Flags, bool) {
	for flag, name := range flagWords {
		if name == word {
			return flag, true
		}
	}
	return 0, false
}

// named is the value of an enumeration with the name.
func named[T interface {
	~uint8
	String() string
}](name string) (T, error) {
	for v := range 256 {
		if T(v).String() == name {
			return T(v), nil
		}
	}
	return 0, fmt.Errorf("%q is not one", name)
}
