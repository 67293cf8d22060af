package pgstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/durableseal"
)

// TestRotationOnAFleet rotates a key on processes of one build, one after the other, as
// SECURITY.md says: what those without the new key had to hold is gone on with, and they
// don't take it again.
func TestRotationOnAFleet(t *testing.T) {
	t.Parallel()
	ctx, schema := t.Context(), need(t).Schema()
	naps := durable.Define("naps", func(ctx *durable.Context, n int) (int, error) {
		for range 3 {
			if _, err := durable.Step(ctx, "step", func(context.Context) (int, error) { return n, nil }); err != nil {
				return 0, err
			}
			if err := durable.Wait(ctx, "nap", 300*time.Millisecond); err != nil {
				return 0, err
			}
		}
		return n, nil
	})
	key := func(id string) durableseal.Key {
		secret := make([]byte, durableseal.SecretSize)
		rand.Read(secret)
		return durableseal.Key{ID: id, Secret: secret}
	}
	k1, k2 := key("1"), key("2")
	var log lines
	open := func(current durableseal.Key, older ...durableseal.Key) *durable.Engine {
		logger := slog.New(slog.NewTextHandler(&log, nil))
		sealer, err := durableseal.New(current, older...)
		require.NoError(t, err)
		s := openAt(t, need(t).url, schema, pgstore.Options{Logger: logger})
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{naps}, ParkFor: -1, Logger: logger, Sealer: sealer, Build: "one"})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e
	}
	const each = 15
	start := func(e *durable.Engine, name string) {
		for i := range each {
			_, err := naps.Start(ctx, e, i, durable.WithExecutionID(fmt.Sprint(name, "-", i)))
			require.NoError(t, err)
		}
	}
	results := func(e *durable.Engine, names ...string) {
		for _, name := range names {
			for i := range each {
				n, err := naps.Attach(e, fmt.Sprint(name, "-", i)).Result(ctx)
				require.NoError(t, err)
				require.Equal(t, i, n)
			}
		}
	}
	old1, old2 := open(k1), open(k1)
	start(old1, "before")
	fresh := open(k2, k1)
	start(fresh, "first")
	start(old2, "beside")
	results(fresh, "before", "first", "beside") // in the middle of it
	require.LessOrEqual(t, log.count("execution held"), 3*each, "each is tried once by those that can't go on with it")

	start(fresh, "second")
	require.NoError(t, old1.Shutdown(ctx))
	start(open(k2, k1), "third")
	require.NoError(t, old2.Shutdown(ctx))
	start(open(k2, k1), "fourth")
	results(fresh, "second", "third", "fourth")
	for x, err := range fresh.Executions(ctx, durable.Query{}) {
		require.NoError(t, err)
		require.Nil(t, x.Held, x.ID)
		require.Equal(t, durable.ExecutionSucceeded, x.Status, x.ID)
	}
	require.LessOrEqual(t, log.count("execution held"), 6*each)
}

// TestOlderProgramsTakePart: a program of before the schema's version 3, that has the store
// open, takes what a build could not go on with for damaged. So nothing is left to others
// before it has gone.
func TestOlderProgramsTakePart(t *testing.T) {
	t.Parallel()
	c := need(t)
	ctx, schema := t.Context(), c.Schema()
	require.NoError(t, openAt(t, c.url, schema, pgstore.Options{}).Close())
	older(t, c.url, schema)
	s := openAt(t, c.url, schema, pgstore.Options{Lease: time.Second})
	claim := func(build string) []checkpoint.Claim {
		claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: build, Max: 10})
		require.NoError(t, err)
		return claims
	}
	release := func(c checkpoint.Claim, r checkpoint.Release) {
		done := make(chan error, 1)
		s.Append(checkpoint.Append{ID: c.ID, Epoch: c.Epoch, Tail: c.Tail, Release: &r}, func(err error) { done <- err })
		require.NoError(t, <-done)
	}
	// turn has it held by one build, gone on with by another one, and returns what the
	// first one gets then.
	turn := func(one []checkpoint.Claim) []checkpoint.Claim {
		require.Len(t, one, 1)
		release(one[0], checkpoint.Release{Hold: &checkpoint.Hold{Build: "one", Failure: []byte("why")}})
		two := claim("two")
		require.Len(t, two, 1)
		release(two[0], checkpoint.Release{WakeAt: s.Now().UnixNano()})
		return claim("one")
	}
	_, _, err := s.Create(ctx, checkpoint.Creation{ID: "a", Incarnation: checkpoint.Incarnation{1}, Started: checkpoint.Record{
		Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Time: s.Now().UnixNano(), Function: "f"}})
	require.NoError(t, err)
	one := turn(claim("one"))
	require.Len(t, one, 1, "it may try again")

	endsOlder(t, c, schema)
	require.Eventually(t, func() bool {
		one = turn(one)
		return len(one) == 0
	}, 20*time.Second, time.Millisecond)
}
