// Package ledger holds the decisions of the embedded stores: what each method
// of the contract of checkpoint.Store checks and what it changes, written once
// against a small view of a store's tables. A store serializes the rounds, makes
// each one durable, and only then answers.
package ledger

import (
	"math"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
)

// View is the tables of a store while it makes a round of changes. It sees its
// own changes at once.
//
// Methods that read return an error when what they read is damaged; what is not
// there is no error. Methods that write return none: when one fails, the store
// gives up the round. Rows that were read are the working copies of the round:
// the same one for the same execution, changed in place, and written by Save.
// Slices and pointers in them are replaced, never changed.
type View interface {
	Find(id string) (*checkpoint.Row, error)             // nil: there is none
	Load(number uint64) (*checkpoint.Row, error)         // nil: there is none
	Summary(*checkpoint.Row) (checkpoint.Summary, error) // with its first and last record
	NextNumber() uint64
	Insert(*checkpoint.Row) // a new one; it is saved too
	Save(*checkpoint.Row)
	Remove(*checkpoint.Row) // and everything that belongs to it, except its Place

	// WriteJournal appends records, whose binary form is encoded, or nil if
	// nobody has encoded them yet.
	WriteJournal(row *checkpoint.Row, records []checkpoint.Record, encoded []byte)

	PutInbox(row *checkpoint.Row, r checkpoint.Record)
	CutInbox(row *checkpoint.Row, upTo uint64) // entries after row.InboxSeen

	Callback(number uint64, operationID string) (c Callback, ok bool, err error)
	SetCallback(number uint64, operationID string, from, to Callback)
	DropCallbacks(number uint64)
	FirstBeat(number uint64) (int64, error) // earliest HeartbeatAt of its open callbacks, 0: none

	AddChild(parent, child uint64)
	RemoveChild(parent, child uint64)
	Children(parent uint64) ([]uint64, error)

	// Move takes an execution from one place to another. first: nothing else
	// is due earlier in the queue it went to.
	Move(number uint64, from, to Place) (first bool)
	First(q Queue) (at int64, number uint64, err error) // the earliest due in it; 0, 0: none
	Held(function string) []Queue                       // queues of that function with builds

	// Report tells people about damage that the round goes on without.
	Report(err error)
}

// Destroyer is what a View may be, too: one whose rows can be damaged.
type Destroyer interface {
	// Destroy removes what there is of an execution whose row can't be read, its Place
	// included.
	Destroy(id string) error
}

// Callback is what a store knows of a callback.
type Callback struct {
	TimeoutAt        int64 // 0: never
	HeartbeatTimeout int64 // 0: none
	HeartbeatAt      int64 // when the next heartbeat is overdue; 0: no heartbeats, or closed
	Closed           bool  // it has an outcome, or takes none any more
}

// due is when the callback times out, 0 if never.
func (c Callback) due() int64 { return earlier(c.TimeoutAt, c.HeartbeatAt) }

// Place says in which index of the store an execution stands. It follows from
// the row alone, see place.
type Place struct {
	Kind  PlaceKind
	Queue Queue // Queued
	At    int64 // Queued: when it is due; Ended: when it ended
}

// PlaceKind is the kind of a Place.
type PlaceKind uint8

// The kinds of places.
const (
	Nowhere PlaceKind = iota // suspended until an event comes
	Queued
	Owned
	Ended
)

// Queue names the executions of one function that the same builds hold, usually
// none: all of them have the same answer to whether a claim may take them.
type Queue struct {
	Function string
	Builds   string // see joinBuilds; "": held by nobody
}

// unfitMark begins the Builds of a queue of executions that are not held, and that those
// builds are unfit for; slash begins all others.
const (
	unfitMark = "?"
	slash     = "/"
)

// Stuck reports whether what stands in the queue is held.
func (q Queue) Stuck() bool { return strings.HasPrefix(q.Builds, slash) }

// joinBuilds makes one string of a set of builds.
func joinBuilds(builds []string) string {
	var b strings.Builder
	for _, build := range slices.Sorted(slices.Values(builds)) {
		b.WriteString(slash)
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(build))
	}
	return b.String()
}

// holds reports whether build is one of the builds of q.
func (q Queue) holds(build string) bool {
	return q.Builds != "" && strings.Contains(q.Builds+"/", Holding(build))
}

// earlier is the earlier one of two times, where 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// after is the time d after t. It does not overflow.
func after(t, d int64) int64 {
	if d > math.MaxInt64-t {
		return math.MaxInt64
	}
	return t + d
}
