package pgstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// A claim takes before anybody here knows what. When its answer does not arrive, what it
// took has an owner who does not know it.
func TestClaimWhoseAnswerIsLost(t *testing.T) {
	c := need(t)
	t.Parallel()
	if *throughBouncer {
		t.Skip("PgBouncer stands between")
	}
	request := checkpoint.ClaimRequest{Functions: []string{"f", "g"}, Build: "b", Max: 10}
	setup := func(t *testing.T) (p *proxy, s, other *pgstore.Store) {
		schema := c.Schema()
		p = startProxy(t, c)
		opts := pgstore.Options{Poll: time.Hour, Lease: time.Minute, NoListen: true}
		s, other = openAt(t, p.url(), schema, opts), open(t, schema, opts)
		return p, s, other
	}
	t.Run("Made", func(t *testing.T) {
		t.Parallel()
		p, s, other := setup(t)
		for i := range 3 {
			create(t, other, fmt.Sprint("x", i), false)
		}
		p.dropAnswer()
		claims, err := s.Claim(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 1, p.dropped.Load())
		require.Len(t, claims, 3)
		for _, claim := range claims {
			require.True(t, claim.Lost, "an owner had it who did not know")
			require.NoError(t, appendTo(s, step(claim.Summary, 1)))
		}
		none, err := other.Claim(t.Context(), request)
		require.NoError(t, err)
		require.Empty(t, none)
	})
	t.Run("OfNothing", func(t *testing.T) {
		t.Parallel()
		p, s, other := setup(t)
		p.dropAnswer()
		claims, err := s.Claim(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 1, p.dropped.Load())
		require.Empty(t, claims)
		create(t, other, "x", false)
		claims, err = s.Claim(t.Context(), request)
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.False(t, claims[0].Lost)
		require.NoError(t, appendTo(s, step(claims[0].Summary, 1)))
	})
	t.Run("AgainAndAgain", func(t *testing.T) {
		t.Parallel()
		p, s, other := setup(t)
		for i := range 20 {
			create(t, other, fmt.Sprint("x", i), false)
		}
		n := 0
		p.onAnswer(func([]byte) bool { n++; return n%11 == 0 })
		got := make(map[string]checkpoint.Claim)
		for range 20 {
			r := request
			r.Max = 3
			claims, err := s.Claim(t.Context(), r)
			require.NoError(t, err)
			for _, claim := range claims {
				require.NotContains(t, got, claim.ID)
				got[claim.ID] = claim
			}
		}
		p.onAnswer(func([]byte) bool { return false })
		require.Len(t, got, 20)
		for _, claim := range got {
			require.NoError(t, appendTo(s, step(claim.Summary, 1)), "%s", claim.ID)
		}
	})
}
