package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// otherCodec is JSON under another name.
type otherCodec struct{}

func (otherCodec) Name() string                    { return "other" }
func (otherCodec) Encode(v any) ([]byte, error)    { return json.Marshal(v) }
func (otherCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// bunch is a sealer that seals with its last key, and opens what its keys have sealed.
type bunch []string

func (k bunch) Fingerprint() string { return strings.Join(k, " ") }

func (k bunch) Seal(dst, plain []byte, _ durable.Place) ([]byte, error) {
	return append(append(append(dst, k[len(k)-1]...), ':'), plain...), nil
}

func (k bunch) Open(dst, sealed []byte, _ durable.Place) ([]byte, error) {
	for _, key := range k {
		if plain, ok := strings.CutPrefix(string(sealed), key+":"); ok {
			return append(dst, plain...), nil
		}
	}
	return nil, errors.New("there is no such key")
}

var errScarce = errors.New("scarce")

// given are processes of one build, of which the one was given something that the others
// were not.
var given = map[string]struct{ lacks, has durable.Options }{
	"AKey":             {durable.Options{Sealer: bunch{"a"}}, durable.Options{Sealer: bunch{"a", "b"}}},
	"ASealer":          {durable.Options{}, durable.Options{Sealer: bunch{"a"}}},
	"ACodec":           {durable.Options{}, durable.Options{Codec: otherCodec{}}},
	"ARegisteredError": {durable.Options{}, durable.Options{Errors: []error{errScarce}}},
}

// TestOneBuildGivenDifferently: what a process had to hold because it was not given what
// the journal needs, is gone on with by one that was; and the first one does not try it
// again at each wake-up.
func TestOneBuildGivenDifferently(t *testing.T) {
	naps := durable.Define("naps", func(ctx *durable.Context, n int) (int, error) {
		err := durable.Do(ctx, "order", func(context.Context) error { return durable.Permanent(errScarce) })
		nap := "nap"
		if errors.Is(err, errScarce) {
			nap = "wait for more"
		}
		for range 3 {
			if err := durable.Wait(ctx, nap, time.Hour); err != nil {
				return 0, err
			}
		}
		return n, nil
	}, durable.WithExecutionTimeout(24*time.Hour))
	open := func(f *fleet, opts durable.Options, book *logBook) *bundle {
		opts.Build, opts.ParkFor, opts.Logger = "1", -1, book.logger()
		b, _ := f.open(false, opts, naps)
		return b
	}
	for name, c := range given {
		inBubble(t, name, func(t *testing.T) {
			const executions = 10
			f := newFleet(t)
			var book logBook
			old := []*bundle{open(f, c.lacks, &book), open(f, c.lacks, &book)}
			fit := open(f, c.has, &book)
			var started []*durable.Execution[int]
			for i := range executions {
				started = append(started, start(fit, naps, i))
			}
			time.Sleep(3*time.Hour + time.Second)
			synctest.Wait()
			for i, x := range started {
				info := fit.describe(x.ID())
				require.Equal(t, durable.ExecutionSucceeded, info.Status, "%v", info.Held)
				require.Equal(t, fmt.Sprint(i), string(info.Result))
			}
			require.LessOrEqual(t, invocations(old[0])+invocations(old[1]), int64(executions), "each is tried once by those that can't go on with it")
			require.LessOrEqual(t, len(book.lines("execution held")), executions)
		})
	}

	inBubble(t, "NobodyHasItAnyMore", func(t *testing.T) {
		f := newFleet(t)
		var book logBook
		c := given["AKey"]
		fit := open(f, c.has, &book)
		x := start(fit, naps, 1)
		time.Sleep(time.Minute)
		require.NoError(t, fit.engine.Shutdown(t.Context()))
		old := open(f, c.lacks, &book)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, book.lines("execution held"), 1)
		fit = open(f, c.has, &book)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Nil(t, fit.describe(x.ID()).Held)
		require.NoError(t, fit.engine.Shutdown(t.Context()))
		tried := invocations(old)
		time.Sleep(time.Hour + 30*time.Second)
		synctest.Wait()
		require.Equal(t, tried, invocations(old), "it is left to others for a while")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, book.lines("execution held"), 2, "then it is told that it can't go on")
		time.Sleep(30 * time.Hour)
		info, err := old.engine.Describe(t.Context(), x.ID())
		require.Error(t, err, "its input can't be opened here")
		require.Equal(t, durable.ExecutionTimedOut, info.Status, "its deadline is kept")
		require.Len(t, book.lines("execution held"), 2)
	})
}
