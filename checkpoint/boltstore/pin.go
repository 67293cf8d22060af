package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/btree"
	bolt "go.etcd.io/bbolt"
)

// pin keeps one state of the file readable while others change the store.
//
//	held   a transaction of bbolt is open, so nothing of the state is written over
//	aside  the rest of the state is in a file of its own
//	lost   neither: there was no room for it. Reading fails.
//
// It begins as held. When bbolt has to map the file anew, because it grows, it waits until
// no transaction reads, and everybody waits for it; who reads may wait for a network, or for
// somebody who has gone home. So a pin that is in the way becomes aside, or lost, within
// the time that it takes to copy what is left. Where the file was mapped with room to grow
// (see roomToGrow), that does not happen.
type pin struct {
	s     *Store
	meta  btree.Meta
	whole [2]bool // the first two pages
	first []byte  // these, as a copy has them
	size  int64   // of the file

	copying sync.Mutex // one copies aside, or the pin ends
	mu      sync.RWMutex
	tx      *bolt.Tx // held
	aside   *os.File // aside; it begins with what is at base
	base    int64
	err     error // lost
	passed  int64 // nobody will read what is before it
}

// pinned runs f on the state of the file that has all that is durable at the call.
func (s *Store) pinned(ctx context.Context, f func(*pin) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.awaitApplied(ctx); err != nil {
		return err
	}
	p := &pin{s: s}
	err := s.alone(func() (err error) {
		info, err := s.file.Stat()
		if err != nil {
			return err
		}
		if p.tx, err = s.beginTx(false); err != nil {
			return err
		}
		p.size = info.Size()
		if p.meta, p.whole, err = newestMeta(s.file, s.db.Info().PageSize); err != nil {
			return s.systemError(err)
		}
		if p.meta.TxID != uint64(p.tx.ID()) {
			return &checkpoint.CorruptError{Where: s.path, What: fmt.Sprintf("its first pages are of transaction %d, the last one was %d", p.meta.TxID, p.tx.ID())}
		}
		first := &beginning{size: 2 * p.meta.PageSize}
		if p.tx.WriteTo(first); len(first.b) < first.size { // the rest is read by ReadAt
			return fmt.Errorf("durable: %s: bbolt does not tell its first pages", s.path)
		}
		p.first = first.b
		s.pinning.Lock()
		s.pins[p] = true
		s.pinning.Unlock()
		return nil
	})
	defer p.end()
	if err != nil {
		return err
	}
	return f(p)
}

// beginning takes the first bytes of what is written to it.
type beginning struct {
	b    []byte
	size int
}

func (w *beginning) Write(b []byte) (int, error) {
	w.b = append(w.b, b[:min(len(b), w.size-len(w.b))]...)
	if len(w.b) == w.size {
		return 0, io.ErrShortWrite // it is enough
	}
	return len(b), nil
}

// alone runs f while nobody changes the file.
func (s *Store) alone(f func() error) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.beginTx(true)
	if err != nil {
		return err
	}
	defer s.rollBack(tx)
	return f()
}

// ReadAt reads the state.
func (p *pin) ReadAt(b []byte, offset int64) (int, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.err != nil:
		return 0, p.err
	case p.aside != nil:
		return p.aside.ReadAt(b, offset-p.base)
	}
	return p.s.file.ReadAt(b, offset)
}

// length is how long the state is.
func (p *pin) length() int64 { return int64(p.meta.Pages) * int64(p.meta.PageSize) }

// pass says that what is before offset won't be read any more.
func (p *pin) pass(offset int64) {
	p.mu.Lock()
	p.passed = offset
	p.mu.Unlock()
}

// release ends the transaction, if it is still open. p is aside then, or lost, or has ended.
func (p *pin) release(aside *os.File, base int64, err error) {
	p.mu.Lock()
	tx := p.tx
	p.tx, p.aside, p.base, p.err = nil, aside, base, err
	p.mu.Unlock()
	if tx != nil {
		p.s.endRead(tx)
	}
}

func (p *pin) end() {
	p.s.pinning.Lock()
	delete(p.s.pins, p)
	p.s.pinning.Unlock()
	p.mu.Lock()
	p.err = errors.Join(p.err, errEnded) // whoever copies it aside stops
	p.mu.Unlock()
	p.copying.Lock()
	defer p.copying.Unlock()
	if p.aside != nil {
		dropAside(p.aside)
	}
	p.release(nil, 0, errEnded)
}

var errEnded = errors.New("it has ended")

// letGo makes p aside, or lost.
func (p *pin) letGo() {
	p.copying.Lock()
	defer p.copying.Unlock()
	p.mu.RLock()
	held, from := p.tx != nil && p.err == nil, p.passed
	p.mu.RUnlock()
	if !held {
		return
	}
	aside, err := p.copyAside(from)
	if err != nil {
		p.release(nil, 0, fmt.Errorf("the file has to be mapped anew, as it grows, and what is left of it could not be copied aside: %w", err))
		return
	}
	p.release(aside, from, nil)
}

// copyAside copies what is left of the state into a file that nobody else knows.
func (p *pin) copyAside(from int64) (aside *os.File, err error) {
	if aside, err = p.s.makeAside(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dropAside(aside)
			aside = nil
		}
	}()
	if !openKeepsNames { // nothing is left, whatever happens
		os.Remove(aside.Name())
	}
	rest := io.NewSectionReader(p, from, p.length()-from)
	_, err = io.CopyBuffer(struct{ io.Writer }{aside}, rest, make([]byte, 1<<20))
	return aside, err
}

func dropAside(f *os.File) {
	f.Close()
	if openKeepsNames {
		os.Remove(f.Name())
	}
}

// openKeepsNames: a file that is open can't be removed.
const openKeepsNames = runtime.GOOS == "windows"

// mapPatience is how long a transaction that changes the file may take before it is
// believed to wait for those that read.
const mapPatience = 100 * time.Millisecond

// commitTx commits a transaction. If the file may have to be mapped anew for it, pins that
// are in the way let go.
func (s *Store) commitTx(tx *bolt.Tx) error {
	if tx.Size()+4*maxLag >= s.mapped {
		s.pinning.Lock()
		waits := len(s.pins) > 0
		s.pinning.Unlock()
		if waits {
			t := time.AfterFunc(mapPatience, s.unpin)
			defer t.Stop()
		}
	}
	return tx.Commit()
}

// unpin has all pins let go.
func (s *Store) unpin() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	s.pinning.Lock()
	pins := make([]*pin, 0, len(s.pins))
	for p := range s.pins {
		pins = append(pins, p)
	}
	s.pinning.Unlock()
	for _, p := range pins {
		p.letGo()
	}
}
