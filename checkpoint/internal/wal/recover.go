package wal

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Position says what is known of a log from elsewhere.
type Position struct {
	ID      uint64
	Applied uint64 // batches up to it are not needed
	Base    uint64 // Applied when the log was opened last
}

// Batch is one that Open found.
type Batch struct {
	Seq  uint64
	Size int // how much of the log it takes
	Body []byte
}

// DamageError says where a log is damaged.
type DamageError struct {
	Where string // file and offset
	What  string
}

func (e *DamageError) Error() string { return e.Where + ": " + e.What }

// Open opens a log that exists, and returns the batches that are needed, in
// order; they are on the disk. The log goes on behind them, and keeps them until
// they are released. Damage is a *DamageError.
//
// The number behind the last batch may have been that of a torn one. It is never
// given again: Seq returns it, and the next batch has the one above.
func Open(dir string, p Position, opts Options) (*Log, []Batch, error) {
	l := newLog(dir, p.ID, p.Applied, opts)
	scan, err := l.scan()
	if err != nil {
		return nil, nil, err
	}
	needed, err := scan.needed(p)
	if err == nil {
		err = l.resume(scan, needed)
	}
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	l.seq++
	return l, batchesOf(needed), nil
}

func batchesOf(needed []*found) []Batch {
	batches := make([]Batch, len(needed))
	for i, f := range needed {
		batches[i] = Batch{f.seq, f.end - f.at, f.body}
	}
	return batches
}

// Read is Open for somebody who only looks: it returns the batches that are needed.
func Read(dir string, p Position, opts Options) ([]Batch, error) {
	scan, err := newLog(dir, p.ID, p.Applied, opts).scan()
	if err != nil {
		return nil, err
	}
	needed, err := scan.needed(p)
	return batchesOf(needed), err
}

// resume opens the segments, and puts the log behind the last batch that is needed.
func (l *Log) resume(scan *scan, needed []*found) error {
	all := make([]*segment, len(scan.sizes))
	for i, size := range scan.sizes {
		f, err := l.opts.Files.Open(filepath.Join(l.dir, strconv.Itoa(i+1)))
		if err != nil {
			return err
		}
		all[i] = &segment{number: uint32(i + 1), size: size, file: f}
		l.free = append(l.free, all[i])
	}
	l.segments = uint32(len(all))
	// The process may have been killed before the name of a new segment was on the disk.
	if err := l.opts.Files.SyncFolder(l.dir); err != nil {
		return err
	}
	newest := scan.newest(l.id)
	if newest == nil {
		return nil
	}
	// Behind the newest one also when nothing is needed: a batch that is torn must not
	// take with it what shows that the log is as new as the file.
	l.current, l.offset = all[newest.segment-1], newest.end
	for _, f := range needed {
		s := all[f.segment-1]
		if s.last == 0 && s != l.current {
			l.full = append(l.full, s)
		}
		s.last = f.seq
	}
	l.free = slices.DeleteFunc(l.free, func(s *segment) bool { return s.last != 0 || s == l.current })
	if len(needed) == 0 {
		return nil
	}
	last := needed[len(needed)-1]
	l.seq, l.link = last.seq, last.checksum
	// It is there, but when the process was killed nobody had heard that it is on the disk.
	return l.opts.Files.Sync(last.path)
}

// Unneeded reports a *DamageError if a log that should have been removed holds
// batches that are needed. What is left of one that was being written is not.
func Unneeded(dir string, p Position, opts Options) error {
	l := newLog(dir, p.ID, p.Applied, opts)
	names, err := segmentNames(opts.Files, dir)
	if err != nil {
		return err
	}
	scan := &scan{dir: dir}
	for _, name := range names { // some may have been removed already
		number, _ := strconv.Atoi(name)
		if _, err := l.scanSegment(scan, number, nil); err != nil {
			return err
		}
	}
	for _, f := range scan.found {
		if f.id == p.ID && f.seq == p.Applied+1 && !f.whole {
			continue // n+1 is only written when n is on the disk, and bbolt has n
		}
		if f.id != p.ID || f.seq > p.Applied {
			return &DamageError{f.where(), fmt.Sprintf("the log holds batch %d, but the file was closed after batch %d: the two are not of the same moment: if the file is the right one, remove the log", f.seq, p.Applied)}
		}
	}
	return nil
}

// scan is what is in the segments of a log.
type scan struct {
	dir   string
	found []found
	sizes []int // of the segments
}

// found is a place with a valid header.
type found struct {
	header
	path    string
	at, end int // in the segment
	body    []byte
	whole   bool
}

func (f *found) where() string { return fmt.Sprintf("%s: offset %d", f.path, f.at) }

// segmentNames returns the names of the segments in a folder.
func segmentNames(files Files, dir string) ([]string, error) {
	names, err := files.List(dir)
	names = slices.DeleteFunc(names, func(name string) bool { return !isOurs(name) || strings.HasSuffix(name, asideSuffix) })
	return names, err
}

// isOurs reports whether a file in the folder is a segment, or is going to be.
func isOurs(name string) bool {
	n, err := strconv.ParseUint(strings.TrimSuffix(name, asideSuffix), 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == strings.TrimSuffix(name, asideSuffix)
}

func (l *Log) scan() (*scan, error) {
	names, err := segmentNames(l.opts.Files, l.dir)
	if err != nil {
		return nil, err
	}
	segments, errs := make([]scan, len(names)), make([]error, len(names))
	var next atomic.Int32
	var wg sync.WaitGroup
	for range min(len(names), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			var b []byte // again and again: new memory costs as much as reading
			for {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				if name := strconv.Itoa(i + 1); !slices.Contains(names, name) {
					errs[i] = &DamageError{filepath.Join(l.dir, name), "the segment is missing"}
					continue
				}
				b, errs[i] = l.scanSegment(&segments[i], i+1, b)
			}
		})
	}
	wg.Wait()
	s := &scan{dir: l.dir}
	for i, err := range errs {
		if err != nil {
			return nil, err
		}
		s.sizes = append(s.sizes, segments[i].sizes...)
		s.found = append(s.found, segments[i].found...)
	}
	return s, nil
}

// scanSegment adds what is in a segment. b is memory to use, and returned to be
// used again.
func (l *Log) scanSegment(s *scan, number int, b []byte) ([]byte, error) {
	path := filepath.Join(l.dir, strconv.Itoa(number))
	b, err := l.opts.Files.Read(path, b)
	if err != nil {
		return nil, err
	}
	if len(b) < l.opts.SegmentSize || len(b)%blockSize != 0 {
		return b, &DamageError{path, fmt.Sprintf("the segment was truncated: it has %d bytes", len(b))}
	}
	s.sizes = append(s.sizes, len(b))
	from := len(s.found)
	err = s.read(path, uint32(number), b)
	for i := range s.found[from:] {
		if f := &s.found[from+i]; f.id == l.id && f.seq > l.seq {
			f.body = bytes.Clone(f.body)
		} else {
			f.body = nil // nobody needs it
		}
	}
	return b, err
}

// read looks for headers in a segment. What stands behind one is passed over
// only if it is whole.
func (s *scan) read(path string, number uint32, b []byte) error {
	for at := 0; at < len(b); {
		h, ok := parseHeader(b[at:])
		if !ok {
			at += blockSize
			continue
		}
		f := found{header: h, path: path, at: at}
		f.body, f.whole = h.whole(b[at:])
		if f.whole {
			at += roundUp(HeaderSize + int(h.length))
		} else {
			at += blockSize
		}
		f.end = at
		if f.segment != number {
			return &DamageError{f.where(), fmt.Sprintf("it was written to segment %d: files were renamed", f.segment)}
		}
		if int(f.blocks)*blockSize != len(b) {
			return &DamageError{path, fmt.Sprintf("the segment has %d bytes, it had %d", len(b), int(f.blocks)*blockSize)}
		}
		s.found = append(s.found, f)
	}
	return nil
}

// newest returns the newest batch that is whole.
func (s *scan) newest(id uint64) (newest *found) {
	for i := range s.found {
		if f := &s.found[i]; f.id == id && f.whole && (newest == nil || f.seq > newest.seq) {
			newest = f
		}
	}
	return newest
}

// needed returns the batches above p.Applied. See docs/write-ahead-log.md for the
// rules.
func (s *scan) needed(p Position) (needed []*found, err error) {
	own := slices.DeleteFunc(slices.Clone(s.found), func(f found) bool { return f.id != p.ID })
	if len(own) == 0 && len(s.found) > 0 {
		return nil, &DamageError{s.dir, "it is the log of another store"}
	}
	var newest uint64
	for _, f := range own {
		newest = max(newest, f.seq)
	}
	if newest < p.Applied && p.Applied != p.Base {
		return nil, &DamageError{s.dir, fmt.Sprintf("the log ends with batch %d, the file has batch %d: the log is older than the file, or a part of it is missing", newest, p.Applied)}
	}
	above := slices.DeleteFunc(own, func(f found) bool { return f.seq <= p.Applied })
	slices.SortStableFunc(above, func(a, b found) int { return cmp.Compare(a.seq, b.seq) })
	want := p.Applied + 1
	var last *found
	for len(above) > 0 {
		var f *found
		if f, above, err = one(above); err != nil {
			return nil, err
		}
		if f.seq == want && len(above) > 0 {
			// The next one says whether this one was torn.
			next, behind, err := one(above)
			if err != nil {
				return nil, err
			}
			if next.resumes(want, last) {
				f, above = next, behind
			}
		}
		switch {
		case f.resumes(want, last):
			want++
		case f.seq != want:
			return nil, s.missing(want, f, last)
		}
		switch {
		case !f.whole && len(above) > 0:
			return nil, &DamageError{f.where(), fmt.Sprintf("batch %d is damaged: the log goes on behind it", f.seq)}
		case !f.whole:
		case last != nil && f.link != last.checksum:
			return nil, &DamageError{f.where(), fmt.Sprintf("batch %d does not follow the batch before it: they are of two logs", f.seq)}
		default:
			needed = append(needed, f)
			last = f
			want++
			continue
		}
		break
	}
	if last != nil && int(last.segments) > len(s.sizes) {
		return nil, &DamageError{s.dir, fmt.Sprintf("there were %d segments, there are %d", last.segments, len(s.sizes))}
	}
	return needed, nil
}

// resumes reports whether f is the first batch after the log was opened, and what
// was found then ended with last, so that want was torn or never written. The
// number alone does not say so: the batch behind a lost one has it too, but
// another link.
func (f *found) resumes(want uint64, last *found) bool {
	if f.seq != want+1 {
		return false
	}
	if last == nil {
		return f.link == 0
	}
	return f.link == last.checksum
}

// one takes the headers with the first number, and chooses among them: one may be
// of a write that failed, and was made again elsewhere.
func one(above []found) (f *found, behind []found, err error) {
	f = &above[0]
	n := 1
	for ; n < len(above) && above[n].seq == f.seq; n++ {
		other := &above[n]
		if f.whole && other.whole {
			return nil, nil, &DamageError{other.where(), fmt.Sprintf("batch %d is there twice", f.seq)}
		}
		if other.whole {
			f = other
		}
	}
	return f, above[n:], nil
}

// missing is the error for a batch that is not there where next is. Where it was
// is not known when its header is damaged: behind last, or in front of next.
func (s *scan) missing(want uint64, next, last *found) error {
	where := s.dir
	switch {
	case last != nil && last.segment == next.segment:
		where = fmt.Sprintf("%s: offset %d", last.path, last.end)
	case last != nil && next.at == 0:
		where = fmt.Sprintf("%s: offset %d, or the segment between it and %s", last.path, last.end, next.path)
	case next.at > 0:
		where = fmt.Sprintf("%s: before offset %d", next.path, next.at)
	}
	return &DamageError{where, fmt.Sprintf("batch %d is missing or damaged, but batch %d is there: the log has been damaged, or the file and its log are not of the same moment", want, next.seq)}
}
