package pgstore_test

import (
	"encoding/json"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/internal/soak"
)

var (
	soakFaults = flag.Int("pgsoak.faults", len(soak.Faults), "how many faults TestSoak makes; each kind once before any comes again")
	soakSeed   = flag.Uint64("pgsoak.seed", 0, "what all choices of TestSoak are made from; 0: one is drawn")
	soakLease  = flag.Duration("pgsoak.lease", 2*time.Second, "the lease of its processes")
	soakPlants = flag.Bool("pgsoak.plants", false, "plant also the bugs that ./soak of the root module finds on a file")
)

// builds are the programs of a fleet: before and after a change.
func builds(t *testing.T) (names [2]string) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the workers can't be built: " + err.Error())
	}
	dir := t.TempDir()
	for i, tag := range []string{"", "soaknext"} {
		names[i] = filepath.Join(dir, soak.BuildNames[i])
		out, err := exec.Command("go", "build", "-tags", tag, "-o", names[i], "./internal/soakworker").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return names
}

// fleet is three processes on a schema of their own, each behind a proxy.
func fleet(t *testing.T, c *cluster, builds [2]string, lease time.Duration) *soak.Fleet {
	schema := c.Schema()
	proxies := []*proxy{startProxy(t, c), startProxy(t, c), startProxy(t, c)}
	return &soak.Fleet{
		Workers: len(proxies), Lease: lease, Builds: builds,
		Store: func(worker int) string {
			b, err := json.Marshal(map[string]any{"URL": proxies[worker].url(), "Direct": c.Cluster.URL(), "Schema": schema, "Lease": lease, "NoListen": *throughBouncer})
			require.NoError(t, err)
			return string(b)
		},
		Open: func() (checkpoint.Store, error) {
			return pgstore.Open(t.Context(), c.Cluster.URL(), &pgstore.Options{Schema: schema})
		},
		Cut:  func(worker int) { proxies[worker].cut() },
		Heal: func(worker int) { proxies[worker].mend() },
		Drop: func(worker int) { proxies[worker].dropAnswer() },
		Terminate: func() error {
			c.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'proxy%'`)
			return nil
		},
		Restart: func() error {
			if err := c.Stop("immediate"); err != nil {
				return err
			}
			return c.StartAgain()
		},
	}
}

var fleetFunctions = append(strings.Fields("moved moved renamed renamed"), soak.Everything...)

// TestSoak takes -pgsoak.faults and, to make the choices of a run again, its -pgsoak.seed.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("does harm to processes for half a minute")
	}
	c := need(t)
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-pgsoak.seed %d, lease %s", seed, *soakLease)
	began := time.Now()
	config := soak.Config{Seed: seed, Kills: *soakFaults, Width: 24, Functions: fleetFunctions, Patience: time.Minute + 3**soakLease}
	w, err := config.Fleet(t.TempDir(), fleet(t, c, builds(t), *soakLease))
	require.NoError(t, err)
	t.Log(w.Figures.Fleet())
	t.Log(w.Figures.Takeovers())
	t.Log(time.Since(began).Round(time.Second))
	require.Empty(t, w.Violations, "again with -pgsoak.seed %d:\n%s", seed, w.Report())
	if *soakFaults >= 2*len(soak.Faults) { // a single rolling restart may be too quick for it
		for _, build := range soak.BuildNames {
			require.NotZero(t, w.Figures.Held(build), "nothing that build %q can't go on with", build)
		}
	}
}

// TestSoakPlants does it to processes that have a bug.
func TestSoakPlants(t *testing.T) {
	if testing.Short() {
		t.Skip("does harm to processes for some seconds")
	}
	c := need(t)
	programs := builds(t)
	for name, bug := range soak.Plants {
		if name == "" || bug.File || !bug.Fleet && !*soakPlants {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			functions := append(strings.Fields(bug.Functions), "moved", "renamed")
			config := soak.Config{Kills: 3, Width: 24, Functions: functions, Plant: name, Faults: bug.Faults, Patience: time.Second}
			for config.Seed = 1; ; config.Seed++ {
				w, err := config.Fleet(t.TempDir(), fleet(t, c, programs, time.Second))
				require.NoError(t, err)
				caught := 0
				for _, v := range w.Violations {
					if v.Rule == bug.Breaks {
						caught++
					}
				}
				if caught > 0 {
					t.Logf("caught in round %d: %d times that %s", config.Seed, caught, bug.Breaks)
					return
				}
				require.Less(t, config.Seed, uint64(5), "not caught that %s is broken:\n%s", bug.Breaks, w.Report())
			}
		})
	}
}
