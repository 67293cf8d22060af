package durable_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// fuzzed is a function with an operation of most types.
var fuzzed = durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
	s, err := durable.Step(ctx, "s", func(context.Context) (string, error) { return in + "!", nil })
	if err != nil {
		return "", err
	}
	_ = durable.Do(ctx, "fails", func(context.Context) error { return durable.Permanent(errors.New("no")) })
	cb, err := durable.CreateCallback[string](ctx, "cb")
	if err != nil {
		return "", err
	}
	batch, err := durable.Map(ctx, "m", []int{1, 2}, func(ctx *durable.Context, i, _ int) (int, error) { return i, durable.Wait(ctx, "w", time.Second) })
	if err != nil {
		return "", err
	}
	_ = batch.Values()
	got, err := cb.Await(ctx)
	return s + got, err
})

// fuzzEngine is an engine with one execution of fuzzed that waits for its callback.
func fuzzEngine(f *testing.F) (*durable.Engine, *durable.Execution[string], string) {
	f.Helper()
	e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{fuzzed}})
	require.NoError(f, err)
	f.Cleanup(func() { e.Close() })
	x, err := fuzzed.Start(f.Context(), e, "in")
	require.NoError(f, err)
	id, err := e.CallbackID(f.Context(), x.ID(), "cb")
	require.NoError(f, err)
	return e, x, id
}

// FuzzRecording reads anything as a recording and replays it: no panic, and what
// can be read can be written and read again.
func FuzzRecording(f *testing.F) {
	e, x, id := fuzzEngine(f)
	seed := func() {
		r, err := e.Recording(f.Context(), x.ID())
		require.NoError(f, err)
		data, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(data)
	}
	seed()
	require.NoError(f, e.SucceedCallback(f.Context(), id, "ok"))
	_, err := x.Result(f.Context())
	require.NoError(f, err)
	seed()
	f.Add([]byte(`{"version":1,"incarnation":"00112233445566778899aabbccddeeff00","function":"f"}`)) // a digit pair too many
	f.Add([]byte(`{"version":1,"incarnation":"00112233445566778899aabbccddeeff","function":"f","records":[{"seq":1,"type":"ExecutionStarted","payload":"1","codec":"json"},{"seq":2,"type":"StepSucceeded","operationId":"1","failure":{"type":1}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r durable.Recording
		if json.Unmarshal(data, &r) != nil {
			return
		}
		written, err := json.Marshal(&r)
		if err != nil {
			return // Data that stands where only JSON may, and is none
		}
		var again durable.Recording
		require.NoError(t, json.Unmarshal(written, &again))
		rewritten, err := json.Marshal(&again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = durable.Replay(ctx, &r, &durable.Options{Functions: []durable.Definition{fuzzed}})
		require.NoError(t, ctx.Err(), "the replay does not end")
	})
}

// FuzzCallbackID completes anything: only the ID itself is one.
func FuzzCallbackID(f *testing.F) {
	e, _, id := fuzzEngine(f)
	raw, err := base64.RawURLEncoding.DecodeString(id[3:])
	require.NoError(f, err)
	for _, s := range []string{id, id[:len(id)-1], id + "A", "cb-", "", strings.Repeat("A", 1501), id[3:]} {
		f.Add(s, raw)
	}
	f.Fuzz(func(t *testing.T, s string, address []byte) {
		for _, forged := range []string{s, "cb-" + base64.RawURLEncoding.EncodeToString(address)} {
			if err := e.HeartbeatCallback(t.Context(), forged); forged != id {
				require.ErrorIs(t, err, durable.ErrCallbackNotFound)
				require.LessOrEqual(t, len(err.Error()), 200, "it is not quoted")
			}
		}
	})
}

// FuzzIDs starts and looks up executions under any ID: it is refused, or it is
// found under that ID and no other.
func FuzzIDs(f *testing.F) {
	e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{fuzzed}})
	require.NoError(f, err)
	f.Cleanup(func() { e.Close() })
	for _, id := range []string{"", "a", "../a", "a/b", "a\x00b", "inv-0", "ä", strings.Repeat("a", 129), "A-Z.a_z:0"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		_, err := fuzzed.Start(t.Context(), e, "", durable.WithExecutionID(id))
		if err != nil {
			require.ErrorIs(t, err, durable.ErrInvalidID)
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.LessOrEqual(t, len(id), 128)
		require.Regexp(t, `\A[A-Za-z0-9._:-]+\z`, id)
		info, err := e.Describe(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, id, info.ID)
		require.NoError(t, e.Stop(t.Context(), id, ""))
		require.NoError(t, e.Delete(t.Context(), id))
	})
}

// FuzzJSONDecode compares the default codec, which has ways of its own for what is
// frequent, with encoding/json.
func FuzzJSONDecode(f *testing.F) {
	for _, s := range []string{`1`, `-0`, `-`, `01`, `123456789012345678`, `9223372036854775807`, `1e2`, ` 1`, `"a"`, `"`, `""`, `"\u0041"`, "\"\xff\"", `null`, `{}`, `{} `, `{"a":1}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fresh := range []func() any{
			func() any { return new(int) }, func() any { return new(int64) }, func() any { return new(string) }, func() any { return new(durable.None) },
			func() any { return new(any) }, func() any { return new([]byte) },
		} {
			ours, theirs := fresh(), fresh()
			err := durable.JSON.Decode(data, ours)
			if len(data) == 0 {
				require.NoError(t, err)
				continue
			}
			if want := json.Unmarshal(data, theirs); want != nil {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			require.True(t, reflect.DeepEqual(theirs, ours), "%q: %v, not %v", data, ours, theirs)
		}
	})
}
