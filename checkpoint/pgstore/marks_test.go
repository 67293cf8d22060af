package pgstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// A process looks for what is due from where it has emptied a queue: what comes to stand
// before that is found all the same.
func TestWhatIsDueBehindOthersIsFound(t *testing.T) {
	c := need(t)
	t.Parallel()
	request := checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 1}
	claims := func(t *testing.T, s checkpoint.Store) []checkpoint.Claim {
		claims, err := s.Claim(t.Context(), request)
		require.NoError(t, err)
		return claims
	}
	// sleep releases executions that are due since an hour ago, one behind the other.
	sleep := func(t *testing.T, s checkpoint.Store, n int) {
		hour := s.Now().Add(-time.Hour)
		for i := range n {
			a := step(create(t, s, fmt.Sprint("x", i), true), 1)
			a.Release = &checkpoint.Release{WakeAt: hour.Add(time.Duration(i) * time.Minute).UnixNano()}
			require.NoError(t, appendTo(s, a))
		}
	}
	// empty has a process know that nothing is due until now.
	empty := func(t *testing.T, s checkpoint.Store) {
		create(t, s, "last", false)
		require.Len(t, claims(t, s), 1)
		require.Empty(t, claims(t, s))
		next, err := s.NextDue(t.Context(), request)
		require.NoError(t, err)
		require.Zero(t, next)
	}
	t.Run("AtOnceWhatTheProcessPutsThere", func(t *testing.T) {
		s := open(t, c.Schema(), pgstore.Options{Poll: time.Hour})
		empty(t, s)
		sleep(t, s, 3)
		next, err := s.NextDue(t.Context(), request)
		require.NoError(t, err)
		require.Less(t, next.UnixNano(), s.Now().Add(-59*time.Minute).UnixNano())
		for i := range 3 {
			got := claims(t, s)
			require.Len(t, got, 1)
			require.Equal(t, fmt.Sprint("x", i), got[0].ID)
		}
		require.Empty(t, claims(t, s))
	})
	t.Run("SoonWhatAnotherOneDoes", func(t *testing.T) {
		schema := c.Schema()
		s := open(t, schema, pgstore.Options{Poll: 20 * time.Millisecond})
		hints := watched(s)
		empty(t, s)
		sleep(t, open(t, schema, pgstore.Options{Poll: time.Hour}), 3)
		timeout := time.After(patience)
		for i := 0; i < 3; {
			if got := claims(t, s); len(got) == 1 {
				require.Equal(t, fmt.Sprint("x", i), got[0].ID)
				i++
				continue
			}
			select {
			case <-hints:
			case <-timeout:
				t.Fatal("what stands before the mark is not found")
			}
		}
	})
	t.Run("WhatIsDueNowAtOnce", func(t *testing.T) {
		schema := c.Schema()
		a, b := open(t, schema, pgstore.Options{Poll: time.Hour, NoListen: true}), open(t, schema, pgstore.Options{Poll: time.Hour, NoListen: true})
		for i := range 10 {
			require.Empty(t, claims(t, a))
			create(t, b, fmt.Sprint("x", i), false)
			require.Len(t, claims(t, a), 1)
		}
	})
}
