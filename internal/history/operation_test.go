package history_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// TestAdd: who executes enters an operation before there is a record of it. It is open from
// then on, and the first record tells the rest.
func TestAdd(t *testing.T) {
	t.Parallel()
	ops := history.New(0)
	o := ops.Add("1", "charge", history.Step, checkpoint.Step, checkpoint.FlagShielded|checkpoint.FlagPayload, "")
	require.Same(t, o, ops["1"])
	require.Equal(t, []*history.Operation{o}, openIn(ops[""]))
	require.Empty(t, ops[""].OpenIn(), "it has not begun")
	require.Equal(t, checkpoint.FlagShielded, o.Flags, "a payload is a record's")
	require.Equal(t, `1 STEP (Step) "charge"`, stateOf(o).head)
	require.Empty(t, o.Status)
	require.Equal(t, 1, ops[""].Last)

	o.Apply(&checkpoint.Record{Seq: 2, Type: checkpoint.StepStarted, OperationID: "1", Flags: checkpoint.FlagAtMostOnce | checkpoint.FlagShielded, Time: 5, Attempt: 1}, nil)
	require.Equal(t, checkpoint.FlagShielded|checkpoint.FlagAtMostOnce, o.Flags)
	require.Equal(t, history.Started, o.Status)
	require.EqualValues(t, 2, o.FirstSeq)
	require.EqualValues(t, 2, ops[""].FirstSeq, "what is in it has begun")

	// An item of a flat batch, which has no start: it is there with what is in it.
	inner := ops.Add("2-3-1", "pack", history.Step, checkpoint.Step, checkpoint.FlagParent, "2")
	require.Equal(t, "2", inner.Parent)
	require.Equal(t, "2-3", inner.Up.ID)
	require.True(t, inner.Up.Silent())
	require.Equal(t, "2", ops.Add("2-3-2", "pack", history.Step, checkpoint.Step, checkpoint.FlagParent, "2").Parent)
	require.Empty(t, ops.Add("3", "", history.Step, checkpoint.Step, 0, "2").Parent, "without the flag it follows from the ID")
}
