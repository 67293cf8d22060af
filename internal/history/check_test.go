package history_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// TestCheckRefusesWhatIsTooLong checks what would be too long for a table.
func TestCheckRefusesWhatIsTooLong(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("1-", 511) + "1" // 1,023 bytes
	for says, edit := range map[string]func(*checkpoint.Record){
		"":                               func(rec *checkpoint.Record) { rec.OperationID = deep + "1" },
		"its ID has 1025 bytes":          func(rec *checkpoint.Record) { rec.OperationID = deep + "-1" },
		"257 bytes, the limit is 256":    func(rec *checkpoint.Record) { rec.Name = strings.Repeat("n", 257) },
		"the name has 258 bytes":         func(rec *checkpoint.Record) { rec.Key = strings.Repeat("k", 258) },
		"its batch is \"xxxxx":           func(rec *checkpoint.Record) { rec.Batch = []byte(strings.Repeat("x", 10_000)) },
		"part 1 of its ID is not a posi": func(rec *checkpoint.Record) { rec.OperationID = "99999999999999999999" },
	} {
		j := newJournal("A")
		j.begin()
		rec := j.plain(checkpoint.Record{Type: checkpoint.StepSucceeded, SubType: checkpoint.Step, OperationID: "1"})
		edit(&rec)
		err := j.add(rec)
		if says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, says)
		require.Less(t, len(err.Error()), 300, "what is refused is quoted in part")
	}
}

// FuzzJournals makes journals of anything that Check lets through. They can be folded, as a
// whole as a record at a time, and what another execution begins with is a journal again.
func FuzzJournals(f *testing.F) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 50+random.IntN(400))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j := journalOf(data)
		ops, err := history.Fold(j.Records)
		require.NoError(t, err)
		require.Len(t, ops, len(j.Ops))
		for id, o := range j.Ops {
			require.Equal(t, stateOf(o), stateOf(ops[id]))
			require.True(t, o.Up == nil || o.Within(o.Up) && o.Within(j.Ops[""]))
			require.False(t, o.Settled() && o.Up != nil && o.Up.Open == o, "%s has its outcome, and is open", id)
		}
		for _, o := range openIn(j.Ops[""]) {
			require.False(t, o.Settled() || o.Dead(), o.ID)
		}
		kept, b := j.WithoutFailure()
		for _, o := range j.sorted() {
			if b.Forgets(o) {
				require.NotEqual(t, history.Wait, o.Type)
			}
		}
		next, _, err := j.next("B", kept, b, false)
		require.NoError(t, err)
		for i, rec := range next.Records[1:] {
			require.NotEqual(t, checkpoint.InvocationCompleted, rec.Type, i)
		}
		for _, o := range j.sorted() {
			if o.FirstSeq == 0 || o.Refusal || o.ID == "" {
				continue
			}
			next, _, err := j.next("B", j.Records[1:o.FirstSeq-1], nil, len(o.ID)%2 == 0)
			require.NoError(t, err, "restart from %s", o.ID)
			if begun := next.Ops[o.ID]; begun != nil {
				require.Zero(t, begun.EndSeq, "%s is to be made again", o.ID)
			}
		}
	})
}

// journalOf is the journal that data is taken for: of what it says, that what Check lets
// through.
func journalOf(data []byte) *journal {
	j := newJournal("A")
	j.begin()
	failures := []*fault.Failure{{Type: usersType, Message: "a"}, {Type: usersType, Message: "b: a"}, {Type: usersType, Message: "c"}, history.CancelFailure("Canceled", ""), history.CancelFailure("Timeout", ""), nil}
	take := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		v := int(data[0]) % n
		data = data[1:]
		return v
	}
	for len(data) > 0 {
		rec := checkpoint.Record{OperationID: strconv.Itoa(1 + take(4))}
		for range take(3) {
			rec.OperationID += "-" + strconv.Itoa(1+take(3))
		}
		switch o := j.Ops[rec.OperationID]; {
		case take(10) == 0: // whatever
			rec.Type, rec.SubType = checkpoint.EventType(take(25)), checkpoint.SubType(take(int(checkpoint.Settled)+1))
		case o != nil && o.Type == history.Context && take(2) == 0:
			rec.Type = []checkpoint.EventType{checkpoint.ScopeCancelled, checkpoint.VersionChosen, checkpoint.ContextLooked, checkpoint.AwaitableChosen}[take(4)]
		case o != nil:
			fits := ends[o.Type]
			rec.Type = fits[take(len(fits))]
		case take(10) == 0:
			rec.Type, rec.SubType = checkpoint.OperationRefused, checkpoint.SubType(1+take(int(checkpoint.Settled)))
		default:
			rec.SubType = checkpoint.SubType(1 + take(int(checkpoint.Settled)))
			of := typeOf(rec.SubType)
			if rec.Type = ends[of][take(len(ends[of]))]; take(2) == 0 {
				rec.Type = starts[slices.IndexFunc(starts, func(t checkpoint.EventType) bool { return history.TypeOf(t) == of })]
			}
			if take(6) == 0 {
				rec.Flags |= checkpoint.FlagShielded
			}
			if rec.SubType == checkpoint.MapIteration && !history.IsStart(rec.Type) {
				rec.Flags |= checkpoint.FlagSilent
			}
		}
		if rec.Type == checkpoint.InvocationCompleted || rec.Type == checkpoint.ScopeCancelled && take(4) == 0 {
			rec.OperationID = ""
		}
		rec = j.plain(rec)
		switch rec.Type {
		case checkpoint.StepFailed, checkpoint.ContextFailed, checkpoint.CallbackFailed, checkpoint.WaitCancelled, checkpoint.OperationRefused, checkpoint.ChainedInvokeFailed:
			rec.Failure = fault.Encode(failures[take(len(failures))])
		case checkpoint.ContextSucceeded:
			rec.Batch = []byte(`{"reason":"ALL_COMPLETED","total":2,"items":"` + []string{"SF", "SS", "FT"}[take(3)] + `"}`)
		case checkpoint.ChainedInvokeStarted:
			rec.TargetID = "D"
		}
		switch {
		case rec.Type == checkpoint.StepFailed && take(2) == 0:
			rec.NextAttemptDelay = 5
			j.derive(&rec, "NextAttemptDelay")
		case history.IsStart(rec.Type) && take(3) == 0:
			rec.Timeout = 7
			j.derive(&rec, "Timeout")
		}
		_ = j.add(rec)
	}
	end := j.plain(checkpoint.Record{Type: checkpoint.ExecutionFailed})
	end.Failure = fault.Encode(failures[len(j.Records)%3])
	if err := j.add(end); err != nil {
		panic(err)
	}
	return j
}

var (
	starts = []checkpoint.EventType{checkpoint.ContextStarted, checkpoint.StepStarted, checkpoint.WaitStarted, checkpoint.CallbackStarted, checkpoint.ChainedInvokeStarted}
	// ends are what ends operations, by their type.
	ends = [][]checkpoint.EventType{
		history.Execution: {checkpoint.InvocationCompleted},
		history.Step:      {checkpoint.StepSucceeded, checkpoint.StepFailed},
		history.Wait:      {checkpoint.WaitSucceeded, checkpoint.WaitCancelled},
		history.Callback:  {checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut},
		history.Invoke:    {checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed, checkpoint.ChainedInvokeStopped},
		history.Context:   {checkpoint.ContextSucceeded, checkpoint.ContextFailed},
	}
)
