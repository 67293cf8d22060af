package soak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// What the processes of a round really did stands in one file, the witness: each
// line is one write at its end, so the order of the lines is the order of what
// happened, over all processes. A line that a kill cut off has no end, so each
// begins with a line break of its own.

const (
	effect   = "effect"   // a body ran
	handed   = "handed"   // records are handed over to the store
	recorded = "recorded" // the store said that records are durable; the engine doesn't know yet
	claimed  = "claimed"  // the store gave an execution; the engine doesn't know yet
	held     = "held"     // a build can't go on with an execution
	heard    = "heard"    // the outside has heard a result
	begun    = "begun"    // a fault begins, of whatever it is
	undone   = "undone"   // and is over
	fault    = "fault"    // the outside does something to a process
	mended   = "mended"   // and has undone it
	doubted  = "doubted"  // what is acknowledged from here on may be lost
	certain  = "certain"  // and what from here on, not
)

// line is one line of the witness.
type line struct {
	Kind      string `json:"k"`
	Life      int    `json:"l"`
	At        int64  `json:"t"` // Unix nanoseconds
	Execution string `json:"x"`

	// Of an effect.
	Operation string        `json:"o,omitempty"`
	Name      string        `json:"n,omitempty"`
	Attempt   int           `json:"a,omitempty"`
	Once      bool          `json:"1,omitempty"` // an at-most-once attempt
	Value     string        `json:"v,omitempty"` // what the body made up
	Depends   []string      `json:"d,omitempty"` // values of earlier operations that it was given
	Since     string        `json:"s,omitempty"` // the effect with this value happened
	Pause     time.Duration `json:"p,omitempty"` // at least so long ago
	Next      time.Duration `json:"r,omitempty"` // at least so long until the next attempt

	Clock   int64 `json:"u,omitempty"` // the store's time, as the process knows it
	Owned   int   `json:"w,omitempty"` // how often the process had claimed it before as lost
	Entered int64 `json:"e,omitempty"` // when the handler was

	// Of records, and of a claim; an effect has the epoch, too.
	Seq     uint64   `json:"q,omitempty"` // of the first
	Records []uint64 `json:"h,omitempty"` // their checksums
	Epoch   uint64   `json:"c,omitempty"`
	Lost    bool     `json:"b,omitempty"`
	Left    bool     `json:"f,omitempty"` // with them the execution was given back, or ended
}

// witness is the file as a process writes it.
type witness struct {
	f    *os.File
	life int
}

func witnessPath(dir string) string { return filepath.Join(dir, "witness") }

func openWitness(dir string, life int) (*witness, error) {
	f, err := os.OpenFile(witnessPath(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &witness{f, life}, err
}

func (w *witness) say(l line) {
	l.Life, l.At = w.life, time.Now().UnixNano()
	b, err := json.Marshal(l)
	if err == nil {
		_, err = w.f.Write(append(append([]byte{'\n'}, b...), '\n'))
	}
	if err != nil {
		panic(err)
	}
}

// readWitness returns the lines in order, and how many were cut off.
func readWitness(dir string) (lines []line, cut int, err error) {
	data, err := os.ReadFile(witnessPath(dir))
	if err != nil && !os.IsNotExist(err) {
		return nil, 0, err
	}
	for b := range bytes.Lines(data) {
		if b = bytes.TrimSpace(b); len(b) == 0 {
			continue
		}
		var l line
		if json.Unmarshal(b, &l) != nil {
			cut++
			continue
		}
		lines = append(lines, l)
	}
	return lines, cut, nil
}

// checksum is that of a record's binary form.
func checksum(r *checkpoint.Record) uint64 {
	b := checkpoint.AppendRecord(nil, r)
	return uint64(len(b))<<32 | uint64(crc32.ChecksumIEEE(b))
}

// token stands for a value in the witness: large ones are long.
func token(value string) string {
	if len(value) <= 64 {
		return value
	}
	return fmt.Sprintf("%s/%d/%08x", value[:36], len(value), crc32.ChecksumIEEE([]byte(value)))
}

// point is a place in the code where a process ends itself, when it comes there
// for the nth time.
type point struct {
	Name string
	N    int64

	seen atomic.Int64
}

// Points are those of a process's life.
var Points = []string{
	"body", "effect", // before and after the effect of a body
	"append", "appended", // before and after an append is handed over to the store
	"durable", "witnessed", "told", // it is durable; the witness knows; the engine knows
	"create", "created", "deliver", "delivered", "claim", "claimed", "end", "ended",
	"closing", "closed",
}

func (p *point) reached(name string) {
	if p.Name == name && p.seen.Add(1) == p.N {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {}
	}
}
