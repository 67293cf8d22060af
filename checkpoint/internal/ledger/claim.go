package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// Turns remembers which function was served last, so that none starves another.
type Turns struct {
	last map[string]uint64
	turn uint64
}

// NewTurns starts with no function served.
func NewTurns() *Turns { return &Turns{last: make(map[string]uint64)} }

// Order returns the functions without duplicates, the one that waits longest first.
func (t *Turns) Order(functions []string) []string {
	functions = slices.Clone(functions)
	slices.Sort(functions)
	functions = slices.Compact(functions)
	slices.SortStableFunc(functions, func(a, b string) int { return cmp.Compare(t.last[a], t.last[b]) })
	return functions
}

func (t *Turns) served(function string) {
	t.turn++
	t.last[function] = t.turn
}

// Claim makes the caller the owner of executions that are due.
func (r *Round) Claim(req *checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	var claims []checkpoint.Claim
	functions := r.turns.Order(req.Functions)
	for len(functions) > 0 {
		left := functions[:0]
		for _, function := range functions {
			if len(claims) >= req.Max {
				return claims, nil
			}
			claim, err := r.claimOne(function, req.Build)
			if err != nil {
				return nil, err
			}
			if claim == nil {
				continue
			}
			claims = append(claims, *claim)
			r.turns.served(function)
			left = append(left, function)
		}
		functions = left
	}
	return claims, nil
}

// claimOne claims the execution of a function that is due longest, those that
// are held first: there are never many that this build may still try.
func (r *Round) claimOne(function, build string) (*checkpoint.Claim, error) {
	queues := append(r.view.Held(function), Queue{Function: function})
	for {
		var from Place
		var number uint64
		for _, q := range queues {
			at, first, err := r.view.First(q)
			if err != nil {
				return nil, err
			}
			if first == 0 || DueFor(q, at, r.now, build) > r.now {
				continue
			}
			if number == 0 || at < from.At {
				from, number = Place{Kind: Queued, Queue: q, At: at}, first
			}
			if q.Stuck() {
				from, number = Place{Kind: Queued, Queue: q, At: at}, first
				break
			}
		}
		if number == 0 {
			return nil, nil
		}
		claim, err := r.take(from, number)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			// It can't be run. It must not keep the others from it.
			r.view.Report(err)
			r.view.Move(number, from, Place{})
			continue
		}
		return claim, err
	}
}

// SetAside takes an execution that can't be read in whole out of what is due.
func (r *Round) SetAside(number uint64, damage error) error {
	row, err := r.view.Load(number)
	if err != nil || row == nil {
		return err
	}
	from, err := r.place(row)
	if err != nil || from.Kind != Queued {
		return err
	}
	r.view.Report(damage)
	r.view.Move(number, from, Place{})
	return nil
}

func (r *Round) take(from Place, number uint64) (*checkpoint.Claim, error) {
	row, err := r.view.Load(number)
	if err != nil {
		return nil, err
	}
	where := fmt.Sprintf("execution number %d", number)
	if row == nil {
		return nil, &checkpoint.CorruptError{Where: where, What: "it is due but not there"}
	}
	if is, err := r.place(row); err != nil {
		return nil, err
	} else if is != from {
		return nil, &checkpoint.CorruptError{Where: where, What: "it is entered as due where it should not be"}
	}
	s, err := r.view.Summary(row)
	if err != nil {
		return nil, err
	}
	lost := row.Lost
	err = r.change(row, func() {
		row.Owned, row.Lost, row.WakeAt = true, false, 0
		row.Epoch++
	})
	s.Owned, s.WakeAt, s.Epoch = true, 0, row.Epoch
	return &checkpoint.Claim{Summary: s, Lost: lost}, err
}

// Holding is what stands in Queue.Builds, and a slash behind it, if build holds it.
func Holding(build string) string { return joinBuilds([]string{build}) + "/" }

// DueFor is when an execution that stands in q at a time is due for a build:
// executions that are held only by other builds are due now, those that the build is
// unfit for later.
func DueFor(q Queue, at, now int64, build string) int64 {
	switch holds := q.holds(build); {
	case q.Stuck() && !holds:
		return min(at, now)
	case holds && !q.Stuck():
		return after(at, UnfitFor)
	}
	return at
}

// UnfitFor is how long builds leave what they could not go on with to others. It is not
// for ever: if there is nobody else any more, it has to be told that it is held, and its
// deadline to be kept.
const UnfitFor = int64(time.Minute)
