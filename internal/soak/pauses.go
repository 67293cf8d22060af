package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// pauses is for how long a process was told of nothing that is durable, while a fault
// lasted and until it went on: of each fault that of the process which waited longest. One
// that was ended waited for nothing.
func pauses(lines []line) map[string][]time.Duration {
	type span struct {
		kind     string
		from, to int64 // to is 0 while it lasts
		longest  time.Duration
	}
	var spans []*span
	last := make(map[int]int64) // of a life
	for _, l := range lines {
		switch l.Kind {
		case begun:
			spans = append(spans, &span{kind: l.Name, from: l.At})
		case undone:
			spans[len(spans)-1].to = l.At
		case recorded:
			before, at := last[l.Life], l.At
			last[l.Life] = at
			for _, s := range slices.Backward(spans) {
				if before == 0 || s.to != 0 && s.to < before {
					break
				}
				s.longest = max(s.longest, time.Duration(at-before))
			}
		}
	}
	found := make(map[string][]time.Duration)
	for _, s := range spans {
		found[s.kind] = append(found[s.kind], s.longest)
	}
	return found
}

// Pauses tells of them.
func (f Figures) Pauses() string {
	var parts []string
	for kind, times := range f.pauses {
		slices.Sort(times)
		round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
		parts = append(parts, fmt.Sprintf("%s: %s to %s, half of them within %s", kind, round(times[0]), round(times[len(times)-1]), round(times[len(times)/2])))
	}
	slices.Sort(parts)
	return "nobody was told of anything durable for, of the processes the slowest: " + strings.Join(parts, "; ")
}
