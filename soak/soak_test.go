package soak_test

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/soak"
)

var (
	kills    = flag.Int("soak.kills", 200, "how many processes TestSoak kills")
	perRound = flag.Int("soak.round", 25, "how many of them on one file")
	seed     = flag.Uint64("soak.seed", 0, "what all choices are made from; 0: one is drawn")
)

func TestMain(m *testing.M) {
	if settings := os.Getenv(soak.ChildVariable); settings != "" {
		if err := soak.Serve(settings, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSoak takes -soak.kills and, to make the choices of a run again, its -soak.seed.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("-soak.seed %d", from)
	began := time.Now()
	var mu sync.Mutex
	var total soak.Figures
	t.Run("Rounds", func(t *testing.T) {
		for n := 0; n**perRound < *kills; n++ {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				c := soak.Config{Seed: from + uint64(n), Kills: min(*perRound, *kills-n**perRound), Width: 16, Functions: soak.Everything, Points: soak.Points, Patience: 3 * time.Minute}
				w, err := c.File(t.TempDir())
				require.NoError(t, err)
				require.Zero(t, len(w.Violations), "again with -soak.seed %d -soak.kills %d -soak.round %d:\n%s", c.Seed, c.Kills, c.Kills, w.Report())
				mu.Lock()
				defer mu.Unlock()
				total.Add(w.Figures)
			})
		}
	})
	t.Logf("%s; %s", total, time.Since(began).Round(time.Second))
	if *kills >= 50 && !t.Failed() {
		for what, n := range total.Needed() {
			require.NotZero(t, n, "a soak without %s shows nothing", what)
		}
	}
}
