package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

// golden returns what a golden file holds. It is made with -update, and never
// made anew: what is on users' disks must stay readable.
func golden(t *testing.T, name string, form []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name+".bin")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && *update {
		require.NoError(t, os.WriteFile(path, form, 0o600))
		return form
	}
	require.NoError(t, err)
	return b
}

const someTime = 1_780_000_000_123_456_789

// shapes are the records that executions are made of, by name.
var shapes = map[string]Record{
	"empty": {},
	"full": {
		Seq: 300, EventID: 299, Events: 2, Type: StepFailed, SubType: Step,
		Flags: FlagSealed | FlagParent | FlagShielded | FlagRebuild | FlagAtMostOnce | FlagPayload,
		Time:  someTime, StartedAt: someTime - 1e9, OperationID: "2-1-7", ParentID: "1-3", Name: "charge the card", Attempt: 3,
		Duration: 3600e9, Timeout: 60e9, HeartbeatTimeout: 5e9, NextAttemptDelay: 2e9, WakeAt: someTime + 2e9, TimeoutAt: someTime + 60e9,
		Function: "charge", TargetID: "inv-0123456789abcdef", Codec: "json", Payload: []byte(`{"amount":1250}`), Failure: []byte(`{"type":"declined"}`),
		Batch: []byte{1, 2, 3}, Digest: []byte("0123456789abcdef0123456789abcdef"), Key: "change", Number: -2,
	},
	"extremes": {
		Seq: math.MaxUint64, EventID: math.MaxUint64, Events: 255, Type: 255, SubType: 255, Flags: 255, Time: math.MinInt64, StartedAt: math.MaxInt64,
		Attempt: math.MaxUint32, Duration: math.MaxInt64, Timeout: math.MinInt64, WakeAt: math.MinInt64, TimeoutAt: -1, Number: math.MinInt64,
		Name: strings.Repeat("é", 200), Payload: bytes.Repeat([]byte{0, 255}, 10_000),
	},
	"execution-started": {
		Seq: 1, EventID: 1, Events: 1, Type: ExecutionStarted, Time: someTime, Function: "order", Timeout: 3600e9, TimeoutAt: someTime + 3600e9,
		Codec: "json", Payload: []byte(`{"id":42}`), Flags: FlagPayload,
	},
	"execution-traced": {
		Seq: 1, EventID: 1, Events: 1, Type: ExecutionStarted, Time: someTime, Function: "order", Codec: "json", Payload: []byte(`{"id":42}`), Flags: FlagPayload,
		Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	},
	"execution-restarted": {
		Seq: 1, EventID: 1, Events: 1, Type: ExecutionStarted, Time: someTime, Function: "order", Codec: "json", Payload: []byte(`{"id":42}`), Flags: FlagPayload,
		RestartOf: "order-42",
	},
	"execution-with-keys": {
		Seq: 1, EventID: 1, Events: 1, Type: ExecutionStarted, Time: someTime, Function: "order", Codec: "json", Payload: []byte(`{"id":42}`), Flags: FlagPayload,
		RestartOf: "order-42", Keys: `{"base":"000102030405060708090a0b0c0d0e0f"}`,
	},
	"execution-succeeded": {Seq: 9, EventID: 12, Events: 1, Type: ExecutionSucceeded, Time: someTime, Codec: "json", Payload: []byte(`"done"`), Flags: FlagPayload},
	"execution-failed":    {Seq: 9, EventID: 12, Events: 1, Type: ExecutionFailed, Time: someTime, Failure: []byte(`{"message":"no"}`)},
	"execution-timed-out": {Seq: 9, EventID: 12, Events: 1, Type: ExecutionTimedOut, Time: someTime, Failure: []byte(`{}`)},
	"execution-stopped":   {Seq: 9, EventID: 12, Events: 1, Type: ExecutionStopped, Time: someTime, Failure: []byte(`{}`)},
	"context-started":     {Seq: 2, EventID: 2, Events: 1, Type: ContextStarted, SubType: Parallel, Time: someTime, OperationID: "1", Name: "both"},
	"context-succeeded": {
		Seq: 7, EventID: 8, Events: 1, Type: ContextSucceeded, SubType: Map, Time: someTime, OperationID: "1", Batch: []byte{0, 3, 1, 1, 2},
	},
	"context-rebuilt":   {Seq: 7, EventID: 8, Events: 1, Type: ContextSucceeded, SubType: RunInChildContext, Time: someTime, OperationID: "1", Flags: FlagRebuild, Digest: make([]byte, 32)},
	"context-failed":    {Seq: 7, EventID: 8, Events: 1, Type: ContextFailed, SubType: ParallelBranch, Time: someTime, OperationID: "1-1", Failure: []byte(`{}`)},
	"step-started":      {Seq: 3, EventID: 3, Events: 1, Type: StepStarted, SubType: Step, Time: someTime, OperationID: "1", Name: "reserve", Attempt: 1, Flags: FlagAtMostOnce},
	"step-in-one":       {Seq: 3, EventID: 3, Events: 2, Type: StepSucceeded, SubType: Step, Time: someTime, StartedAt: someTime - 12345, OperationID: "1", Name: "reserve", Attempt: 1, Codec: "json", Payload: []byte("true"), Flags: FlagPayload},
	"step-retried":      {Seq: 3, EventID: 3, Events: 2, Type: StepFailed, SubType: Step, Time: someTime, StartedAt: someTime - 12345, OperationID: "1", Attempt: 2, NextAttemptDelay: 1e9, WakeAt: someTime + 1e9, Failure: []byte(`{}`)},
	"wait-started":      {Seq: 4, EventID: 5, Events: 1, Type: WaitStarted, SubType: Wait, Time: someTime, OperationID: "2", Duration: 86400e9, WakeAt: someTime + 86400e9},
	"wait-succeeded":    {Seq: 5, EventID: 6, Events: 1, Type: WaitSucceeded, SubType: Wait, Time: someTime, OperationID: "2"},
	"wait-cancelled":    {Seq: 5, EventID: 6, Events: 1, Type: WaitCancelled, SubType: Wait, Time: someTime, OperationID: "2"},
	"callback-started":  {Seq: 4, EventID: 5, Events: 1, Type: CallbackStarted, SubType: Callback, Time: someTime, OperationID: "3", Name: "approval", Timeout: 86400e9, TimeoutAt: someTime + 86400e9, HeartbeatTimeout: 60e9},
	"callback-sealed":   {Seq: 5, EventID: 6, Events: 1, Type: CallbackSucceeded, SubType: Callback, Time: someTime, OperationID: "3", Payload: []byte{1, 2, 3, 4}, Flags: FlagSealed | FlagPayload, Codec: "json"},
	"callback-failed":   {Seq: 5, EventID: 6, Events: 1, Type: CallbackFailed, SubType: Callback, Time: someTime, OperationID: "3", Failure: []byte(`{}`)},
	"callback-timed":    {Seq: 5, EventID: 6, Events: 1, Type: CallbackTimedOut, SubType: Callback, Time: someTime, OperationID: "3", Failure: []byte(`{}`)},
	"invoke-started":    {Seq: 4, EventID: 5, Events: 1, Type: ChainedInvokeStarted, SubType: ChainedInvoke, Time: someTime, OperationID: "4", Function: "charge", TargetID: "inv-00ff", Codec: "json", Payload: []byte("1"), Flags: FlagPayload},
	"invoke-succeeded":  {Seq: 6, EventID: 7, Events: 1, Type: ChainedInvokeSucceeded, SubType: ChainedInvoke, Time: someTime, OperationID: "4", Codec: "json", Payload: []byte("2"), Flags: FlagPayload},
	"invocation":        {Seq: 6, EventID: 7, Events: 1, Type: InvocationCompleted, Time: someTime},
	"scope-cancelled":   {Seq: 6, Type: ScopeCancelled, Time: someTime, OperationID: "1-1", Key: "Timeout"},
	"scope-told":        {Seq: 6, Type: ScopeCancelled, Time: someTime, Key: "Canceled", Payload: []byte("not wanted"), Number: 1},
	"context-looked":    {Seq: 7, Type: ContextLooked, Time: someTime, OperationID: "1-1", Number: 7, Attempt: 2, Key: "Timeout"},
	"version-chosen":    {Seq: 6, Type: VersionChosen, Time: someTime, Key: "fraud-check", Number: 2},
	"awaitable-chosen":  {Seq: 6, Type: AwaitableChosen, Time: someTime, OperationID: "5", Number: 1},
	"cancel-requested":  {Seq: 1, Type: CancelRequested, Time: someTime, Key: "customer asked"},
	"operation-refused": {Seq: 14, Type: OperationRefused, SubType: Step, Flags: FlagShielded, Time: someTime, OperationID: "2-3", Name: "charge", Number: 1, Failure: []byte(`{"type":"Canceled","message":"canceled"}`)},
}

func TestGoldenRecords(t *testing.T) {
	for name, record := range shapes {
		t.Run(name, func(t *testing.T) {
			golden := golden(t, "record-"+name, AppendRecord(nil, &record))
			got, rest, err := DecodeRecord(golden)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Equal(t, record, got)
			require.Equal(t, golden, AppendRecord(nil, &record), "the form has changed: old files must stay readable, see DecodeRecord")
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "record-*.bin"))
	require.NoError(t, err)
	require.Len(t, files, len(shapes), "a golden file without a record: it must stay readable")
}

func TestEveryFieldIsEncoded(t *testing.T) {
	for i := range reflect.TypeFor[Record]().NumField() {
		name := reflect.TypeFor[Record]().Field(i).Name
		var r Record
		for _, shape := range shapes {
			if field := reflect.ValueOf(shape).Field(i); !field.IsZero() {
				reflect.ValueOf(&r).Elem().Field(i).Set(field)
			}
		}
		require.NotZero(t, r, "%s is not set in any record", name)
		got, _, err := DecodeRecord(AppendRecord(nil, &r))
		require.NoError(t, err)
		require.Equal(t, r, got, name)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	roundTrip := func(r Record, before, behind []byte) bool {
		for _, b := range []*[]byte{&r.Payload, &r.Failure, &r.Batch, &r.Digest} {
			if len(*b) == 0 {
				*b = nil
			}
		}
		b := AppendRecord(slices.Clone(before), &r)
		b = append(b, behind...)
		got, rest, err := DecodeRecord(b[len(before):])
		return err == nil && bytes.Equal(b[:len(before)], before) && bytes.Equal(rest, behind) && reflect.DeepEqual(got, r)
	}
	require.NoError(t, quick.Check(roundTrip, &quick.Config{MaxCount: 2000}))
}

func TestRecordLengths(t *testing.T) {
	// Bodies around the sizes where their length needs another byte.
	for _, n := range []int{0, 1, 100, 120, 125, 127, 128, 130, 16_370, 16_380, 16_384, 16_390, 1 << 21, 1<<21 + 10} {
		r := Record{Payload: bytes.Repeat([]byte{7}, n)}
		got, rest, err := DecodeRecord(AppendRecord([]byte("x"), &r)[1:])
		require.NoError(t, err)
		require.Empty(t, rest)
		require.True(t, bytes.Equal(got.Payload, r.Payload))
	}
}

func TestDamagedRecords(t *testing.T) {
	r := shapes["full"]
	good := AppendRecord(nil, &r)
	for i := range good {
		_, rest, err := DecodeRecord(good[:i])
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes of %d", i, len(good))
		require.ErrorContains(t, err, "truncated")
		require.Equal(t, good[:i], rest)
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			_, _, err := DecodeRecord(bad)
			require.ErrorIs(t, err, ErrCorrupt, "bit %d of byte %d", bit, i)
		}
	}
	newer := slices.Clone(good)
	newer[0] = 2
	_, _, err := DecodeRecord(newer)
	require.ErrorContains(t, err, "newer release")
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	b, start := openFrame(nil, recordVersion)
	b = appendUint(b, keySeq, 7)
	b = appendUint(b, 100<<1, 12345)
	b = appendBytes(b, 101<<1|1, "a field of a later release")
	b = appendBytes(b, keyName, "name")
	got, rest, err := DecodeRecord(closeFrame(b, start))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, Record{Seq: 7, Name: "name"}, got)
}

func TestHostileBodies(t *testing.T) {
	for name, body := range map[string][]byte{
		"bytes that are not there":  {keyPayload, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a number without its end":  {keySeq, 0x80, 0x80},
		"a number that is too long": {keySeq, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a key without a value":     {keySeq},
		"a type that is too large":  {keyType, 0x80, 0x02},
		"half a key":                {0x80},
	} {
		b, start := openFrame(nil, recordVersion)
		_, _, err := DecodeRecord(closeFrame(append(b, body...), start))
		require.ErrorIs(t, err, ErrCorrupt, name)
		corrupt, ok := errors.AsType[*CorruptError](err)
		require.True(t, ok)
		require.Contains(t, corrupt.What, "damaged", name)
	}
	huge := []byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0}
	_, _, err := DecodeRecord(huge)
	require.ErrorContains(t, err, "truncated")
}

func TestRecordAllocations(t *testing.T) {
	r := shapes["step-in-one"]
	buffer := make([]byte, 0, 1024)
	require.Zero(t, testing.AllocsPerRun(100, func() { buffer = AppendRecord(buffer[:0], &r) }))
	stringsOnly := 3.0 // operation, name, codec
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { DecodeRecord(buffer) }), stringsOnly)
}

func FuzzDecodeRecord(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		r := shapes[name]
		f.Add(AppendRecord(nil, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// As a frame, and as the body of one whose checksum is right.
		checkDecode(t, b)
		frame, start := openFrame(nil, recordVersion)
		checkDecode(t, closeFrame(append(frame, b...), start))
	})
}

// checkDecode checks that what can be decoded can be encoded and decoded again.
func checkDecode(t *testing.T, b []byte) {
	r, rest, err := DecodeRecord(b)
	if err != nil {
		require.ErrorIs(t, err, ErrCorrupt)
		require.Equal(t, b, rest)
		return
	}
	again, end, err := DecodeRecord(AppendRecord(nil, &r))
	require.NoError(t, err)
	require.Empty(t, end)
	require.Equal(t, AppendRecord(nil, &r), AppendRecord(nil, &again))
	require.Less(t, len(rest), len(b))
}

func benchmarkRecord() Record {
	r := shapes["step-in-one"]
	r.Payload = bytes.Repeat([]byte("x"), 100)
	return r
}

func BenchmarkAppendRecord(b *testing.B) {
	r := benchmarkRecord()
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = AppendRecord(buffer[:0], &r)
	}
	b.SetBytes(int64(len(buffer)))
}

func BenchmarkDecodeRecord(b *testing.B) {
	r := benchmarkRecord()
	encoded := AppendRecord(nil, &r)
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeRecord(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

// For comparison.
func BenchmarkMarshalRecord(b *testing.B) {
	r := benchmarkRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(&r); err != nil {
			b.Fatal(err)
		}
	}
}
