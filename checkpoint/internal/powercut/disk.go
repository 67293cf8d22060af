package powercut

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// A sector is what a disk writes whole or not at all; a page is what systems write.
const (
	sector = 512
	page   = 4096
)

// Bounds say how many states of a cut are made.
type Bounds struct {
	Sectors int // all combinations of sectors, if no more than these are not durable
	Ops     int // all combinations of whole calls, if no more than these are not durable
	Samples int // random ones beside them
	Most    int // in all; 0: any number. Beyond it a random choice is made among them.
}

// fate says what became of each part of what was not durable: of the sectors of a
// write and then of the length that it gave to the file; of all else as a whole.
type fate []byte

const (
	lost byte = iota
	done
	garbage // something else is there: old data of another file, or half a sector
)

// disk is a disk at a cut.
type disk struct {
	t       *Trace
	durable []int
	cut     int
	pending []span
	parts   int
	bases   map[int]*base // by inode
}

// base is a file after its first calls, all of which are durable.
type base struct {
	data []byte
	next int // in calls
	own  []int
}

// span is where the fate of a call is.
type span struct{ op, from, to int }

// States yields, for each cut, what may be on the disk then. describe says how a
// state came about.
func (t *Trace) States(b Bounds, random *rand.Rand) iter.Seq2[int, iter.Seq2[State, func() string]] {
	return func(yield func(int, iter.Seq2[State, func() string]) bool) {
		d := &disk{t: t, durable: t.durable(), bases: map[int]*base{}}
		for i := range t.inodes {
			d.bases[i] = &base{data: slices.Clone(t.inodes[i].data)}
		}
		for i, op := range t.Ops {
			if op.Kind != Flush {
				d.bases[op.File].own = append(d.bases[op.File].own, i)
			}
		}
		for _, cut := range t.Cuts() {
			d.advance(cut)
			states := func(yield func(State, func() string) bool) {
				for _, f := range d.fates(b, random) {
					if !yield(d.state(f), func() string { return d.describe(f) }) {
						return
					}
				}
			}
			if !yield(cut, states) {
				return
			}
		}
	}
}

// advance goes on to a cut.
func (d *disk) advance(cut int) {
	d.cut, d.pending, d.parts = cut, nil, 0
	for i, op := range d.t.Ops {
		if op.Begin < cut && op.Kind != Flush && d.durable[i] >= cut {
			n := 1
			if op.Kind == Write {
				n = int((op.Offset+int64(len(op.Data))-1)/sector-op.Offset/sector) + 2
			}
			d.pending = append(d.pending, span{i, d.parts, d.parts + n})
			d.parts += n
		}
	}
	for at, b := range d.bases {
		for !d.t.inodes[at].folder && b.next < len(b.own) && d.durable[b.own[b.next]] < cut {
			b.data = d.t.Ops[b.own[b.next]].apply(b.data, nil)
			b.next++
		}
	}
}

// fates are the combinations that are tried.
func (d *disk) fates(b Bounds, random *rand.Rand) (all []fate) {
	none, every := make(fate, d.parts), make(fate, d.parts)
	for i := range every {
		every[i] = done
	}
	add := func(from fate, set func(fate)) {
		f := slices.Clone(from)
		set(f)
		all = append(all, f)
	}
	add(none, func(fate) {})
	if len(d.pending) == 0 {
		return all
	}
	add(every, func(fate) {})
	if d.parts <= b.Sectors {
		for bits := range 1 << d.parts {
			add(none, func(f fate) {
				for i := range f {
					f[i] = byte(bits >> i & 1)
				}
			})
		}
	}
	if len(d.pending) <= b.Ops {
		for bits := range 1 << len(d.pending) {
			add(none, func(f fate) {
				for i, s := range d.pending {
					fill(f[s.from:s.to], byte(bits>>i&1))
				}
			})
		}
	}
	for i, s := range d.pending {
		before := slices.Clone(none)
		fill(before[:s.from], done)
		add(before, func(fate) {}) // in order
		add(none, func(f fate) { fill(f[s.from:s.to], done) })
		add(every, func(f fate) { fill(f[s.from:s.to], lost) })
		if d.t.Ops[s.op].Kind != Write {
			continue
		}
		sectors := s.to - 1
		for _, rest := range []fate{none, before, every} {
			add(rest, func(f fate) { fill(f[s.from:s.to], lost); f[sectors] = done }) // its length alone
			add(rest, func(f fate) { fill(f[s.from:sectors], garbage) })
			one := s.from + random.IntN(sectors-s.from)
			for n := s.from; n < sectors; n++ {
				if n == one || b.Most == 0 {
					add(rest, func(f fate) { f[n] = garbage })
				}
			}
			for n := s.from + 1; n < sectors; n++ { // torn
				if (n-s.from)%(page/sector) != 0 && i != len(d.pending)-1 && b.Most != 0 {
					continue
				}
				add(rest, func(f fate) { fill(f[s.from:n], done); fill(f[n:s.to], lost) })
				add(rest, func(f fate) { fill(f[s.from:n], lost); fill(f[n:s.to], done) })
			}
		}
	}
	for range b.Samples {
		add(none, func(f fate) {
			for _, s := range d.pending {
				switch random.IntN(5) {
				case 0:
				case 1, 2:
					fill(f[s.from:s.to], done)
				case 3:
					for i := range f[s.from:s.to] {
						f[s.from+i] = byte(random.IntN(2))
					}
				case 4:
					for i := range f[s.from:s.to] {
						f[s.from+i] = byte(random.IntN(3))
					}
				}
			}
		})
	}
	if b.Most > 0 && len(all) > b.Most {
		random.Shuffle(len(all)-2, func(i, j int) { all[i+2], all[j+2] = all[j+2], all[i+2] })
		all = all[:b.Most]
	}
	return all
}

func fill(f []byte, with byte) {
	for i := range f {
		f[i] = with
	}
}

// state makes the files of a fate.
func (d *disk) state(f fate) State {
	fates := make(map[int]fate, len(d.pending))
	for _, s := range d.pending {
		fates[s.op] = f[s.from:s.to]
	}
	s := State{}
	d.walk(s, "", 0, fates)
	return s
}

func (d *disk) walk(s State, path string, at int, fates map[int]fate) {
	b := d.bases[at]
	if !d.t.inodes[at].folder {
		data := slices.Clone(b.data)
		for _, i := range b.own[b.next:] {
			if d.t.Ops[i].Begin < d.cut {
				data = d.t.Ops[i].apply(data, fates[i])
			}
		}
		s[path] = data
		return
	}
	if path != "" {
		path += "/"
		s[path] = nil
	}
	names := maps.Clone(d.t.inodes[at].entries)
	for _, i := range b.own {
		op, f := &d.t.Ops[i], fates[i]
		if op.Begin >= d.cut || f != nil && f[0] == lost {
			continue
		}
		switch op.Kind {
		case Enter:
			names[op.Name] = op.Target
		case Leave:
			delete(names, op.Name)
		case Rename:
			delete(names, op.From)
			names[op.Name] = op.Target
		}
	}
	for name, target := range names {
		d.walk(s, path+name, target, fates)
	}
}

// apply makes what a call did to a file, or the part of it that f says.
func (op *Op) apply(data []byte, f fate) []byte {
	if op.Kind == Truncate {
		if f != nil && f[0] == lost {
			return data
		}
		return resize(data, op.Offset)
	}
	end := op.Offset + int64(len(op.Data))
	if f == nil || f[len(f)-1] == done {
		data = resize(data, max(end, int64(len(data))))
	}
	if f == nil {
		copy(data[op.Offset:], op.Data)
		return data
	}
	for i, what := range f[:len(f)-1] {
		begin := (op.Offset/sector + int64(i)) * sector
		from, to := max(begin, op.Offset), min(begin+sector, end)
		if what != lost {
			data = resize(data, max(to, int64(len(data))))
		}
		switch what {
		case done:
			copy(data[from:to], op.Data[from-op.Offset:to-op.Offset])
		case garbage: // also of what else is in the sector
			r := rand.New(rand.NewPCG(uint64(begin), uint64(op.Begin)))
			for at := begin; at < min(begin+sector, int64(len(data))); at++ {
				data[at] = byte(r.Uint32())
			}
		}
	}
	return data
}

func resize(data []byte, size int64) []byte {
	if n := size - int64(len(data)); n > 0 {
		return append(data, make([]byte, n)...)
	}
	return data[:size]
}

func (d *disk) describe(f fate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cut before event %d of %d", d.cut, d.t.Events)
	for _, s := range d.pending {
		op := d.t.Ops[s.op]
		fmt.Fprintf(&b, "\n\t%s %s", op.String(), strings.NewReplacer("\x00", "-", "\x01", "+", "\x02", "?").Replace(string(f[s.from:s.to])))
	}
	return b.String()
}

// String says what a call did.
func (op *Op) String() string {
	switch op.Kind {
	case Write:
		return fmt.Sprintf("write %s %d+%d", op.Path, op.Offset, len(op.Data))
	case Truncate:
		return fmt.Sprintf("truncate %s %d", op.Path, op.Offset)
	case Flush:
		return "flush " + op.Path
	case Enter:
		return "enter " + op.Path
	case Leave:
		return "leave " + op.Path
	}
	return "rename " + op.From + " to " + op.Path
}
