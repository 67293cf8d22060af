package boltstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

const killedPath = "BOLTSTORE_TEST_KILLED_PATH"

// TestKilled kills a process while it writes, again and again. Everything that
// it acknowledged must be there, and nothing must be broken.
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
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var id string
			var seq uint64
			if _, err := fmt.Sscanf(lines.Text(), "ack %s %d", &id, &seq); err == nil {
				acknowledged[id] = seq
			}
			if n == 50+40*round {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		cmd.Wait()
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
}

const killedExecutions = 8

func writeUntilKilled(path string) {
	s, err := Open(path, nil)
	if err != nil {
		panic(err)
	}
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
