package invocation

import (
	"log/slog"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Config is what an invocation is made of.
type Config struct {
	Host      Host
	Execution checkpoint.Summary  // as it was claimed
	Beginning []checkpoint.Record // of the journal, as far as it came with the claim
	Inbox     []checkpoint.Record // as far as it came with the claim
	Quiet     bool                // nothing else was in it when news began to come
	Lost      bool                // its earlier invocation was cut off
	Handler   Handler             // nil: there is none
	Accepts   func(codec string) error
	Codec     string        // of the result
	ParkFor   time.Duration // how long it stays in memory when nothing can go on; negative: not at all
	Inline    int           // bytes of a result that is stored
	Watched   bool          // Recorded is to be called
	Log       *slog.Logger  // the host's own lines
	Replay    *Replay       // nil: it is for real
	Build     string        // of the code, for the log
	Threads   Threads       // nil: the runtime's
	Tag       any           // the caller's
}

// Handler is the code of a function.
type Handler func(c Context, input []byte, codec string) Return

// Code is the code of a context.
type Code func(c Context) Return

// Return is what code has returned.
type Return struct {
	Payload    []byte
	Failure    *fault.Failure // nil: it did well
	Ended      bool           // the failure says that a standard context has ended
	Unreadable *Reason        // the input could not be decoded
	CutOff     bool           // the failure came of the host's closing
	exited     bool           // by runtime.Goexit
}

// Settings are what the options of an operation add up to.
type Settings struct {
	Timeout, AttemptTimeout, Heartbeat time.Duration
	Codec                              string // name
	AtMostOnce                         bool
	Transaction                        *Transaction // nil: none

	MaxConcurrency    *int
	MinSuccessful     *int
	ToleratedFailures *int
	ToleratedPercent  *float64
	Flat              bool
	BatchCodec        string // name; "": none
}

// Outcome is the value of an operation as it is recorded.
type Outcome struct {
	O       *history.Operation // what it is of; its outcome does not change any more
	Payload []byte
	Value   any // what Payload was made of; nil: it is not at hand
}
