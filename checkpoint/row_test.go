package checkpoint

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

var rows = map[string]Row{
	"new": {Summary: Summary{Number: 1, ID: "order-42", Incarnation: Incarnation{1, 2, 3}, Function: "order", Status: Running, StartedAt: someTime, WakeAt: someTime, Tail: 1, LastEvent: 1}},
	"full": {
		Summary: Summary{
			Number: 300, ID: "order-42", Incarnation: Incarnation{15: 9}, Function: "order", Status: TimedOut,
			StartedAt: someTime, EndedAt: someTime + 5e9, Deadline: someTime + 60e9, WakeAt: someTime + 1e9,
			Caller: &Caller{ID: "parent", Incarnation: Incarnation{7}, OperationID: "3-1"},
			Epoch:  4, Owned: true, Tail: 77, LastEvent: 99, InboxSeen: 3, InboxTail: 5, Cancelled: true,
			HeldBuilds: []string{"v1.2.3", ""}, Held: []byte(`{"type":"NonDeterministic"}`),
		},
		Digest: []byte("digest"), CallerNumber: 12, Lost: true, Invoked: true, Callbacks: true, Heartbeats: true,
	},
	"unfit": {
		Summary: Summary{Number: 2, ID: "order-43", Function: "order", Status: Running, StartedAt: someTime, WakeAt: someTime, Epoch: 2, Tail: 9, LastEvent: 9},
		Unfit:   []string{"v1.2.2", ""},
	},
	"extremes": {Summary: Summary{
		Number: math.MaxUint64, StartedAt: math.MinInt64, EndedAt: math.MaxInt64, Deadline: -1, WakeAt: 1, Caller: &Caller{}, Epoch: math.MaxUint64,
	}},
}

func TestGoldenRows(t *testing.T) {
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			golden := golden(t, "row-"+name, AppendRow(nil, &row))
			got, err := DecodeRow(golden)
			require.NoError(t, err)
			require.Equal(t, &row, got)
			number, err := RowNumber(golden)
			require.NoError(t, err)
			require.Equal(t, row.Number, number)
			require.Equal(t, golden, AppendRow(nil, &row))
		})
	}
}

func TestEveryRowFieldIsEncoded(t *testing.T) {
	full := rows["full"]
	for _, v := range []reflect.Value{reflect.ValueOf(full), reflect.ValueOf(full.Summary)} {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name != "Started" && name != "Ended" && name != "Unfit" { // in the journal, and in a row of its own
				require.False(t, v.Field(i).IsZero(), "%s is not set in the full row", name)
			}
		}
	}
}

func TestRowRoundTrip(t *testing.T) {
	require.NoError(t, quick.Check(func(r Row) bool {
		r.Started, r.Ended = Record{}, Record{}
		for _, b := range []*[]byte{&r.Held, &r.Digest} {
			if len(*b) == 0 {
				*b = nil
			}
		}
		if len(r.Unfit) == 0 {
			r.Unfit = nil
		}
		if len(r.HeldBuilds) == 0 {
			r.HeldBuilds = nil
		}
		got, err := DecodeRow(AppendRow(nil, &r))
		return err == nil && reflect.DeepEqual(got, &r)
	}, nil))
}

func TestDamagedRows(t *testing.T) {
	full := rows["full"]
	good := AppendRow(nil, &full)
	for i := range good {
		_, err := DecodeRow(good[:i])
		require.ErrorIs(t, err, ErrCorrupt)
		_, err = RowNumber(good[:i])
		require.ErrorIs(t, err, ErrCorrupt)
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		_, err = DecodeRow(bad)
		require.ErrorIs(t, err, ErrCorrupt)
		_, err = RowNumber(bad)
		require.ErrorIs(t, err, ErrCorrupt)
	}
	_, err := RowNumber(AppendRow(nil, &Row{}))
	require.ErrorIs(t, err, ErrCorrupt, "it has no number")
	_, err = DecodeRow(append(slices.Clone(good), 0))
	require.ErrorIs(t, err, ErrCorrupt)
	r := shapes["full"]
	_, err = DecodeRow(AppendRecord(nil, &r))
	require.ErrorIs(t, err, ErrCorrupt, "a record is no row")
}

func FuzzDecodeRow(f *testing.F) {
	for _, row := range rows {
		f.Add(AppendRow(nil, &row))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, start := openFrame(nil, rowVersion)
		for _, b := range [][]byte{b, closeFrame(append(frame, b...), start)} {
			row, err := DecodeRow(b)
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				continue
			}
			again, err := DecodeRow(AppendRow(nil, row))
			require.NoError(t, err)
			require.Equal(t, AppendRow(nil, row), AppendRow(nil, again))
		}
	})
}
