package invocation

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/history"
)

var (
	exploreDepartures = flag.Int("explore.departures", 3, "how often an order may depart from the first choice")
	exploreMost       = flag.Int("explore.most", 1500, "how many orders of a program are tried")
	exploreAt         = flag.String("explore.at", "", `the order to be run again, as a failure tells it: "program: 0 1 2"`)
)

// order is a list of choices.
type order []int

func (o order) String() string {
	parts := make([]string, len(o))
	for i, k := range o {
		parts[i] = strconv.Itoa(k)
	}
	return strings.Join(parts, " ")
}

// try runs an order of a program, and returns what is wrong with it; "" if nothing is. With
// departures left, it adds the orders that depart from this one later to next.
func (o order) try(p *program, f hostFault, departures int, next *[]order) (problem string, m *memory) {
	for _, k := range o {
		if k > 0 {
			departures--
		}
	}
	var made order
	m = newMemory(p, f)
	m.stay(func(options int) int {
		k := 0
		if len(made) < len(o) {
			k = o[len(made)]
		} else if departures > 0 {
			for other := 1; other < options; other++ {
				*next = append(*next, append(slices.Clone(made), other))
			}
		}
		made = append(made, k)
		return k
	})
	crashes := slices.Clone(m.cuts)
	if problem = m.check(); problem != "" {
		return problem, m
	}
	for i, c := range crashes {
		if all := len(o) < 12; !all && (len(made)+i)%8 != 0 {
			continue // of the later ones one in eight
		}
		if problem = m.cutOff(c).check(); problem != "" {
			return fmt.Sprintf("cut off behind record %d: %s", c.records, problem), m
		}
	}
	return "", m
}

// check lets the execution end, and returns what is wrong with its end, or its journal.
func (m *memory) check() string {
	result := m.finish()
	if !slices.Contains(m.program.want, result) {
		return fmt.Sprintf("it ended with %q", result)
	}
	check := &history.Check{Ops: history.New(uint64(len(m.records))), Most: 1 << 20}
	for i := range m.records {
		if err := check.Next(&m.records[i]); err != nil {
			return fmt.Sprintf("record %d of its journal, %s of %q: %v", i+1, m.records[i].Type, m.records[i].OperationID, err)
		}
	}
	for id, o := range check.Ops {
		if by := o.CancelledBy(); by != nil && o.Type != history.Context && o.FirstSeq > by.CancelSeq && !o.Refusal {
			return fmt.Sprintf("operation %s began behind a cancel", id)
		}
	}
	return ""
}

// explore tries the orders of a program, those with few departures first, and returns how
// many, and the first one that something is wrong with.
func explore(p *program, f hostFault, departures, most int) (tried int, bad order, problem string) {
	queue := []order{{}}
	for len(queue) > 0 && tried < most {
		o := queue[0]
		queue = queue[1:]
		tried++
		if problem, _ = o.try(p, f, departures, &queue); problem != "" {
			return tried, o, problem
		}
	}
	return tried, nil, ""
}

// TestExplore tries the orders in which the goroutines of small programs, answers of the host,
// timers, cancels and a shutdown can come, each cut off where it may be: it ends, in a way
// that is allowed; its journal is one; no body begins before what it could have seen is
// durable, or again behind its outcome.
func TestExplore(t *testing.T) {
	t.Parallel()
	if *exploreAt != "" {
		name, choices, _ := strings.Cut(*exploreAt, ":")
		p := programNamed(name)
		require.NotNil(t, p, "no program is named %q", name)
		var o order
		for _, field := range strings.Fields(choices) {
			k, err := strconv.Atoi(field)
			require.NoError(t, err)
			o = append(o, k)
		}
		problem, m := o.try(p, sound, 0, nil)
		for _, rec := range m.records {
			t.Logf("%d %s %s %s%s", rec.Seq, rec.Type, rec.OperationID, rec.Payload, rec.Failure)
		}
		require.Empty(t, problem)
		return
	}
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			tried, o, problem := explore(p, sound, *exploreDepartures, *exploreMost)
			require.Empty(t, problem, "order %d; run it again with -run '^TestExplore$' -explore.at '%s: %s'", tried, p.name, o)
			t.Logf("%d orders", tried)
		})
	}
}

// TestExploreFindsFaults plants a fault in the host, and sees that it is found.
func TestExploreFindsFaults(t *testing.T) {
	t.Parallel()
	for f, in := range map[hostFault]string{
		earlyAnswers: "three steps", lostNews: "a callback in memory", lostAlarms: "a wait in memory", swappedAnswers: "two branches and All",
	} {
		t.Run(strconv.Itoa(int(f)), func(t *testing.T) {
			t.Parallel()
			tried, _, problem := explore(programNamed(in), f, *exploreDepartures, 20_000)
			require.NotEmpty(t, problem, "%d orders", tried)
			t.Logf("order %d: %s", tried, problem)
		})
	}
}
