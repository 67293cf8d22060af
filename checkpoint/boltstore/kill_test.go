package boltstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

const killedPath = "BOLTSTORE_TEST_KILLED_PATH"

// TestKilled kills a process while it opens the store, writes, and feeds bbolt, some
// times in a row before anybody looks. Everything that it acknowledged must be there,
// and nothing must be broken.
func TestKilled(t *testing.T) {
	if path := os.Getenv(killedPath); path != "" {
		writeUntilKilled(path)
		return
	}
	path := filepath.Join(t.TempDir(), "store")
	acknowledged := make(map[string]uint64)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	random := rand.New(rand.NewPCG(1, 2))
	kills, opening := 0, 0
	for range rounds {
		for kill := range 4 {
			acks := 0
			if kill > 0 {
				acks = random.IntN(300)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), killedPath+"="+path)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			n := 0
			for ; lines.Scan(); n++ {
				var id string
				var seq uint64
				if _, err := fmt.Sscanf(lines.Text(), "ack %s %d", &id, &seq); err == nil {
					require.Greater(t, seq, acknowledged[id], "a number was given twice")
					acknowledged[id] = seq
				} else {
					require.Equal(t, "opening", lines.Text())
				}
				if n == acks {
					if n == 0 {
						opening++
						time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // anywhere in Open
					}
					require.NoError(t, cmd.Process.Kill())
				}
			}
			kills++
			cmd.Wait()
			require.GreaterOrEqual(t, n, acks, "it ended by itself")
		}
		require.NotEmpty(t, acknowledged)

		s, err := Open(path, nil)
		require.NoError(t, err)
		for id, seq := range acknowledged {
			require.GreaterOrEqual(t, uint64(len(s.journal(t, id))), seq, id)
		}
		claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
		require.NoError(t, err)
		for _, c := range claims {
			require.True(t, c.Lost)
		}
		require.Len(t, claims, killedExecutions)
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills survived, %d of them while opening", kills, opening)
}

const killedExecutions = 8

func writeUntilKilled(path string) {
	fmt.Println("opening")
	s, err := Open(path, nil)
	if err != nil {
		panic(err)
	}
	go func() { // bbolt is fed all the time
		for s.awaitApplied(context.Background()) == nil {
		}
	}()
	ctx := context.Background()
	for i := range killedExecutions {
		_, _, err := s.Create(ctx, checkpoint.Creation{ID: fmt.Sprint(i), Started: checkpoint.Record{Function: "f"}})
		if err != nil {
			panic(err)
		}
	}
	claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
	if err != nil {
		panic(err)
	}
	acks := make(chan string)
	for _, c := range claims {
		go func() {
			for tail := c.Tail; ; tail++ {
				a := step(c.ID, tail)
				a.Epoch = c.Epoch
				if err := <-s.start(a); err != nil {
					panic(err)
				}
				acks <- fmt.Sprintf("ack %s %d", c.ID, tail+1)
			}
		}()
	}
	for ack := range acks {
		fmt.Println(ack)
	}
}
