// Package wal is a write-ahead log: batches of bytes that are on stable storage
// when Write returns. It lies in a folder of segments, which are files that are
// made in advance and used again and again. Format, recovery and their reasons
// are in docs/write-ahead-log.md.
package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
)

// ErrNotWritten is in errors of Write after which the log is as it was before: the
// disk is full.
var ErrNotWritten = errors.New("nothing was written")

// Options of a log.
type Options struct {
	Files       Files
	SegmentSize int // of new segments, a multiple of the block; 0: MinSegment
}

// MinSegment is the size of segments. A later release may lower it, but not
// raise it: shorter ones are taken for truncated.
const MinSegment = 4 << 20

// Log is an open log. Write and Buffer are for one goroutine at a time, Release
// for any.
type Log struct {
	dir  string
	opts Options
	id   uint64

	seq     uint64 // of the last batch
	link    uint32
	current *segment
	offset  int
	buffer  []byte
	failed  error

	mu       sync.Mutex
	free     []*segment
	full     []*segment    // in the order of their batches
	segments uint32        // how many there are
	making   chan struct{} // closed when the segment that is being made is ready, or can't be
}

type segment struct {
	number uint32
	size   int
	file   File
	last   uint64 // number of its last batch
}

// Exists reports whether a folder holds segments.
func Exists(files Files, dir string) (bool, error) {
	names, err := segmentNames(files, dir)
	return len(names) > 0, err
}

// Create makes a log in dir with one segment. What a creation that was cut off
// left there must have been removed. The next batch has the number after seq.
func Create(dir string, id, seq uint64, opts Options) (*Log, error) {
	l := newLog(dir, id, seq, opts)
	if err := opts.Files.MakeFolder(dir); err != nil {
		return nil, err
	}
	if err := opts.Files.SyncFolder(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := l.makeSegment(l.opts.SegmentSize); err != nil {
		return nil, err
	}
	return l, nil
}

func newLog(dir string, id, seq uint64, opts Options) *Log {
	if opts.SegmentSize == 0 {
		opts.SegmentSize = MinSegment
	}
	return &Log{dir: dir, opts: opts, id: id, seq: seq}
}

// Seq is the number of the last batch, or the one that Open left out.
func (l *Log) Seq() uint64 { return l.seq }

// Buffer returns where to append the body of the next batch: behind the bytes
// that are there already, which are kept for the header.
func (l *Log) Buffer() []byte {
	const keep = 8 << 20
	if l.buffer == nil || cap(l.buffer) > keep {
		l.buffer = aligned(64 << 10)
	}
	return l.buffer[:HeaderSize]
}

// Write writes a batch, which is what Buffer returned with the body behind it,
// and flushes it. size is how much of the log it takes. After an error that is not
// ErrNotWritten it is not known what is on the disk, and nothing more is written.
func (l *Log) Write(b []byte) (seq uint64, size int, err error) {
	if l.failed != nil {
		return 0, 0, l.failed
	}
	length := len(b) - HeaderSize
	if uint64(length) > math.MaxUint32 {
		return 0, 0, fmt.Errorf("%w: a batch of %d bytes is too large for the log", ErrNotWritten, length)
	}
	b = l.pad(b)
	if err := l.makeRoom(len(b)); err != nil {
		return 0, 0, fmt.Errorf("%w: no room for another segment: %w", ErrNotWritten, err)
	}
	s := l.current
	h := header{
		id: l.id, seq: l.seq + 1, link: l.link,
		length: uint32(length), body: crc32.Checksum(b[HeaderSize:HeaderSize+length], castagnoli),
		segment: s.number, blocks: uint32(s.size / blockSize), segments: l.count(),
	}
	sum := h.seal(b)
	if _, err := s.file.WriteAt(b, int64(l.offset)); err != nil {
		if isFull(err) && !errors.Is(err, ErrFlush) {
			return 0, 0, fmt.Errorf("%w: %w", ErrNotWritten, err) // the next batch is written over it
		}
		return 0, 0, l.fail(err)
	}
	if err := s.file.Flush(); err != nil {
		return 0, 0, l.fail(err)
	}
	l.seq, l.link = h.seq, sum
	l.offset += len(b)
	l.mu.Lock()
	s.last = h.seq
	l.mu.Unlock()
	return h.seq, len(b), nil
}

func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("write to the log %s: %w", l.dir, err)
	return l.failed
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// pad brings a batch to whole blocks of aligned memory.
func (l *Log) pad(b []byte) []byte {
	length, size := len(b), roundUp(len(b))
	if cap(b) < size || !isAligned(b) {
		grown := aligned(max(size, 2*cap(l.buffer)))
		copy(grown, b)
		b = grown
	}
	l.buffer = b[:0]
	b = b[:size]
	clear(b[length:])
	return b
}

func (l *Log) count() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments
}

// makeRoom finds a segment for a batch of that size.
func (l *Log) makeRoom(size int) error {
	if l.current != nil && l.offset+size <= l.current.size {
		return nil
	}
	for {
		s, making := l.takeFree(size)
		if s != nil {
			l.current, l.offset = s, 0
			return nil
		}
		if making != nil {
			<-making
			continue
		}
		if err := l.makeSegment(max(size, l.opts.SegmentSize)); err != nil {
			return err
		}
	}
}

// takeFree returns a free segment in the place of the current one, or what to
// wait for. If it was the last one, the next one is made in the background.
func (l *Log) takeFree(size int) (*segment, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.free {
		if s.size < size {
			continue
		}
		l.free = append(l.free[:i], l.free[i+1:]...)
		if l.current != nil {
			l.full = append(l.full, l.current)
		}
		if len(l.free) == 0 && l.making == nil {
			l.making = make(chan struct{})
			go l.makeInAdvance()
		}
		return s, nil
	}
	if l.making != nil {
		return nil, l.making
	}
	return nil, nil
}

func (l *Log) makeInAdvance() {
	l.makeSegment(l.opts.SegmentSize) // if it can't be made, Write tries again, and says so
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.making)
	l.making = nil
}

// makeSegment makes a segment of zeros. It has its name when it is on the disk.
func (l *Log) makeSegment(size int) error {
	files := l.opts.Files
	number := l.count() + 1
	name := filepath.Join(l.dir, strconv.FormatUint(uint64(number), 10))
	aside := name + asideSuffix
	files.Remove(aside) // of a making that was cut off
	if err := fillFile(files, aside, size); err != nil {
		files.Remove(aside)
		return err
	}
	if err := files.Rename(aside, name); err != nil {
		files.Remove(aside)
		return err
	}
	f, err := files.Open(name)
	if err == nil {
		err = files.SyncFolder(l.dir)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		files.Remove(name)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = number
	l.free = append(l.free, &segment{number: number, size: size, file: f})
	return nil
}

// asideSuffix ends the names of segments that are being made.
const asideSuffix = ".new"

func fillFile(files Files, name string, size int) error {
	f, err := files.Create(name)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(size, 256<<10))
	for done := 0; done < size && err == nil; done += len(zeros) {
		_, err = f.WriteAt(zeros[:min(len(zeros), size-done)], int64(done))
	}
	if err == nil {
		err = f.Flush()
	}
	return errors.Join(err, f.Close())
}

// Release says that the batches up to seq are not needed any more. Their
// segments are used again.
func (l *Log) Release(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.full) && l.full[n].last <= seq {
		n++
	}
	l.free = append(l.free, l.full[:n]...)
	l.full = append(l.full[:0], l.full[n:]...)
}

// Present returns an error if a segment has been removed: what is written into it
// is lost when it is closed.
func (l *Log) Present() error {
	count := int(l.count()) // before the names: more may come meanwhile
	names, err := segmentNames(l.opts.Files, l.dir)
	if err != nil {
		return nil // that it can't be looked at says nothing of what is there
	}
	for n := range count {
		if name := strconv.Itoa(n + 1); !slices.Contains(names, name) {
			return fmt.Errorf("%s was removed while it was open", filepath.Join(l.dir, name))
		}
	}
	return nil
}

// Close closes the files. Nothing else may be going on.
func (l *Log) Close() error {
	l.mu.Lock()
	making := l.making
	l.mu.Unlock()
	if making != nil {
		<-making
	}
	all := append(l.free, l.full...)
	if l.current != nil {
		all = append(all, l.current)
	}
	var err error
	for _, s := range all {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// Remove removes a log that is closed and not needed, and whatever a creation
// that was cut off left of one.
func Remove(files Files, dir string) error {
	names, err := files.List(dir)
	if err != nil {
		return err
	}
	removed := false
	for _, name := range names {
		if !isOurs(name) {
			continue
		}
		if err := files.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
		removed = true
	}
	// The folder may hold what is not ours, or never have been there.
	if err := files.Remove(dir); err != nil && !removed {
		return nil
	}
	return files.SyncFolder(filepath.Dir(dir))
}
