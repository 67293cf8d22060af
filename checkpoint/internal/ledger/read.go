package ledger

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// Selects reports whether a query selects an execution, apart from Before and Limit.
func Selects(q *checkpoint.Query, row *checkpoint.Row) bool {
	return (q.Function == "" || row.Function == q.Function) &&
		(q.Status == 0 || row.Status == q.Status) &&
		(q.StartedAfter == 0 || row.StartedAt > q.StartedAfter) &&
		(q.StartedBefore == 0 || row.StartedAt < q.StartedBefore) &&
		strings.HasPrefix(row.ID, q.IDPrefix)
}

// queues is the part of a View that NextDue reads.
type queues interface {
	First(q Queue) (at int64, number uint64, err error)
	Held(function string) []Queue
}

// NextDue is NextDue of checkpoint.Store.
func NextDue(view queues, req *checkpoint.ClaimRequest, now time.Time) (time.Time, error) {
	next := int64(math.MaxInt64)
	for _, function := range req.Functions {
		for _, q := range append(slices.Clip(view.Held(function)), Queue{Function: function}) {
			at, number, err := view.First(q)
			if err != nil {
				return time.Time{}, err
			}
			if number != 0 {
				next = min(next, DueFor(q, at, now.UnixNano(), req.Build))
			}
		}
	}
	if next == math.MaxInt64 {
		return time.Time{}, nil
	}
	return time.Unix(0, next), nil
}
