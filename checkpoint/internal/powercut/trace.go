package powercut

import (
	"math"
	"slices"
)

// Trace is what a process did to the files of a folder. Its calls begin and end at
// events, which are numbered.
type Trace struct {
	Ops    []Op // in the order of their begins
	Notes  []Note
	Events int

	inodes []inode // the first one is the folder itself
}

// inode is a file or a folder as it was before.
type inode struct {
	folder  bool
	data    []byte
	entries map[string]int
}

// Note is what the process said at an event.
type Note struct {
	At   int
	Text string
}

// Kind says what a call did.
type Kind int

// Kinds of calls.
const (
	Write    Kind = iota // Data at Offset
	Truncate             // to Offset, which may be larger than it was
	Flush                // of a file, or of the names in a folder
	Enter                // a name into a folder: of a new file or folder, or a second name
	Leave                // a name is removed from a folder
	Rename               // from one name to another in a folder, both or none
)

// Op is a call that changed a file or a folder, or made changes durable.
type Op struct {
	Kind       Kind
	File       int    // that it was made on; of names, the folder
	Path       string // of it when it was opened; of names, with the name
	Begin, End int

	Offset  int64
	Data    []byte
	Flushed bool // the write was durable at its end

	Name, From string
	Target     int // what the name is of
}

// Change returns a trace whose calls went through f; false drops one. Tests make
// programs with it that forget to flush.
func (t *Trace) Change(f func(op *Op) bool) *Trace {
	changed := *t
	changed.Ops = nil
	for _, op := range t.Ops {
		if f(&op) {
			changed.Ops = append(changed.Ops, op)
		}
	}
	return &changed
}

// Hasten returns a trace in which some notes were said before the last of certain
// calls in front of them had begun.
func (t *Trace) Hasten(which func(note string) bool, over func(op *Op) bool) *Trace {
	changed := *t
	changed.Notes = slices.Clone(t.Notes)
	for i := range changed.Notes {
		n := &changed.Notes[i]
		for _, op := range slices.Backward(t.Ops) {
			if which(n.Text) && op.End < n.At && over(&op) {
				n.At = op.Begin
				break
			}
		}
	}
	slices.SortStableFunc(changed.Notes, func(a, b Note) int { return a.At - b.At })
	return &changed
}

// Said returns the notes before a cut.
func (t *Trace) Said(cut int) (notes []string) {
	for _, n := range t.Notes {
		if n.At < cut {
			notes = append(notes, n.Text)
		}
	}
	return notes
}

// Cuts returns the events before which the power may be cut: each begin of a
// change, each end of what makes changes durable, and the end of all. Between two
// of them only notes are added.
func (t *Trace) Cuts() (cuts []int) {
	for _, op := range t.Ops {
		if op.Kind != Flush {
			cuts = append(cuts, op.Begin)
		}
		if op.Kind == Flush || op.Flushed {
			cuts = append(cuts, op.End)
		}
	}
	cuts = append(cuts, t.Events)
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// durable returns the event at which each call had become durable.
func (t *Trace) durable() []int {
	at := make([]int, len(t.Ops))
	for i, op := range t.Ops {
		at[i] = math.MaxInt
		if op.Flushed {
			at[i] = op.End
		}
		for _, f := range t.Ops[i+1:] {
			if f.Kind == Flush && f.File == op.File && f.Begin > op.End {
				at[i] = min(at[i], f.End)
			}
		}
	}
	return at
}
