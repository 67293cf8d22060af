package boltstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/durable-go/durable/checkpoint/internal/btree"
)

// Backup writes a copy of the store to w while it is used: one file, which has all that
// was acknowledged before the call, and is of one moment. To restore, write it to a file
// and open that; it needs no log. Executions that had an owner are claimable then, and
// lost. A copy that was cut off is not opened as a store, but only Verify finds every
// damage that it may get on its way.
//
// Nobody but Close waits for w, however slow it is. Space that is set free meanwhile is
// used again only afterwards, so the file may grow. Where it has no room to grow (on 32-bit
// systems, on Windows, and where addresses are short), and it does grow, what is left of the
// copy is put aside into a file beside the store first, and others wait for that; if there
// is no space for it, Backup fails. The copy has the size of the file, free pages included:
// see Compact. It is not encrypted, and holds the secret behind callback IDs.
//
// written is how many bytes w has taken. After an error what it has is no store.
func (s *Store) Backup(ctx context.Context, w io.Writer) (written int64, err error) {
	taken := &counting{w: w}
	err = s.pinned(ctx, func(p *pin) error {
		patches, err := s.wholePatches(p)
		if err != nil {
			return err
		}
		if err := p.copyTo(&patching{ctx: ctx, w: taken, patches: patches}); err != nil {
			return fmt.Errorf("durable: backup of %s: %w", s.path, err)
		}
		return nil
	})
	return taken.n, err
}

// copyTo writes the state, as a file in which both first pages are good.
func (p *pin) copyTo(w io.Writer) error {
	const piece = 1 << 20
	b := append(make([]byte, 0, piece), p.first...)
	for at, size := int64(len(b)), p.length(); ; b = b[:0] {
		n := min(int64(cap(b)-len(b)), size-at)
		b = b[:int64(len(b))+n]
		if _, err := p.ReadAt(b[int64(len(b))-n:], at); err != nil {
			return err
		}
		at += n
		p.pass(at)
		if _, err := w.Write(b); err != nil || at == size {
			return err
		}
	}
}

// counting counts what a writer takes.
type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// patch is bytes that a copy has in place of those of the file.
type patch struct {
	offset int64
	b      []byte
}

// wholePatches are what makes of a file in use one that was closed: its format, and a
// log of its own.
func (s *Store) wholePatches(p *pin) (patches []patch, err error) {
	file := &source{ReaderAt: p}
	r := btree.NewReader(file, p.meta, nil)
	damaged := func(key []byte) error {
		if file.err != nil {
			return fmt.Errorf("durable: backup of %s: %w", s.path, file.err)
		}
		return s.corrupt(metaTable, key, "it is missing or damaged: run Verify", nil)
	}
	e, found, _ := r.Root().Get([]byte(tableNames[metaTable]))
	meta, ok := r.Bucket(e)
	if !found || !ok {
		return nil, damaged(nil)
	}
	values := make(map[string]btree.Entry)
	for _, key := range [][]byte{metaFormat, metaLog, metaNumber, metaSecret, metaSum} {
		if e, found, sound := meta.Get(key); found {
			values[string(key)] = e
		} else if !sound {
			return nil, damaged(key)
		}
	}
	get := func(key []byte) []byte { return values[string(key)].Value }
	if len(get(metaFormat)) != 4 || get(metaSum) != nil && !bytes.Equal(get(metaSum), sumOf(get)) {
		return nil, damaged(metaFormat)
	}
	if binary.BigEndian.Uint32(get(metaFormat)) != formatLog {
		return nil, nil // nothing was written since it was opened
	}
	mark, ok := parseLogMark(get(metaLog))
	if !ok {
		return nil, damaged(metaLog)
	}
	set := func(key, value []byte) {
		e := values[string(key)]
		if len(e.Value) == len(value) { // the sum may be missing
			patches = append(patches, patch{e.Offset, value})
			e.Value = value
			values[string(key)] = e
		}
	}
	set(metaFormat, binary.BigEndian.AppendUint32(nil, formatWhole))
	// Two stores that go on from here must not take each other's log for their own.
	set(metaLog, logMark{newLogID(), mark.applied, mark.applied}.encode())
	set(metaSum, sumOf(get))
	return patches, nil
}

// newLogID draws an ID for a log.
func newLogID() (id uint64) {
	for id == 0 {
		var b [8]byte
		rand.Read(b[:])
		id = binary.BigEndian.Uint64(b[:])
	}
	return id
}

// patching writes a file with patches in it, until ctx ends.
type patching struct {
	ctx     context.Context
	w       io.Writer
	at      int64
	patches []patch
}

func (p *patching) Write(b []byte) (n int, err error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	for _, c := range p.patches {
		if from := c.offset - p.at; from < int64(len(b)) && from+int64(len(c.b)) > 0 {
			b = bytes.Clone(b)
			copy(b[max(from, 0):], c.b[max(-from, 0):])
		}
	}
	n, err = p.w.Write(b)
	p.at += int64(n)
	return n, err
}
