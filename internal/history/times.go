package history

import (
	"math"

	"github.com/durable-go/durable/checkpoint"
)

// After is the time d after now. It does not overflow: what is out of reach
// never comes.
func After(now, d int64) int64 {
	if d > 0 && now > math.MaxInt64-d {
		return math.MaxInt64
	}
	return now + d
}

// TimesOutAt is when the next timeout passes that ends a body of o: its own, or, unless
// it is shielded, that of a context around it; 0: none.
func (o *Operation) TimesOutAt(shielded bool) int64 {
	at := o.TimeoutAt
	for ; !shielded && o != nil; o = o.Up {
		at = Earliest(at, o.TimeoutAt)
		shielded = o.Flags&checkpoint.FlagShielded != 0
	}
	return at
}

// Earliest is the earlier of two times, of which 0 is none.
func Earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
