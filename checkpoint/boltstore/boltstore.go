// Package boltstore keeps durable executions in one bbolt file and, while it is
// open, a write-ahead log beside it.
//
// One process has the file open at a time. All changes go through one writer,
// which makes everything that is queued one batch of the log, so that many
// executions share the cost of each flush (group commit). Every change is on
// stable storage before it is acknowledged. bbolt gets the changes behind that, in
// large transactions; reads see both.
//
// Nothing is kept in memory but the rows of executions that have an owner, and
// what bbolt does not have yet; a hundred thousand suspended ones cost nothing
// until they are due.
//
// # Files
//
// You open one path, such as orders.db. The log is the folder orders.db-wal. Close
// brings everything into the file and removes the folder. Store.Backup makes a copy
// while the store is open; otherwise close it and copy the file. After a crash the
// two belong together: move or copy both, or none. One without the other is not
// opened, if it would lose anything. Verify looks for damage in both.
//
// In a container, mount the folder that the file is in, not the file alone: its log would
// lie in what the container keeps for itself. Open refuses that. The file may be a link,
// and the folder of the log, too, but not to what is not there: Open does not replace them.
//
// # Caveats
//
//   - When a write or a flush fails, every method returns checkpoint.ErrFailed until
//     the store is opened again: after a failed flush nobody knows what is on the
//     disk. A full disk is no such failure: what can't be written gets an error, and
//     the store goes on when there is room.
//   - The file does not shrink. Space of what was deleted is used again; Compact
//     gives it back. The log takes 4 MiB at least, and up to about 100 MiB under load.
//   - 64 GiB of addresses are taken beside the file's size, and no memory, so that
//     the file can grow while somebody reads it. A process that may not have so many
//     (ulimit -v), one of 32 bits, and Windows do without; there a file that grows
//     during a Backup has what is left of it copied aside.
//   - bbolt's pages have no checksums, but everything in them that is ours has.
//     Damage is found when it is read, and reported as a *checkpoint.CorruptError
//     with the file and the place.
//   - Damage to exactly the last batch of the log, after a crash, can't be told from
//     a batch that was being written.
package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/queue"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	"github.com/durable-go/durable/internal/teller"
	bolt "go.etcd.io/bbolt"
)

// Options of a store. The zero value, and nil, are the defaults.
type Options struct {
	// Logger gets what nobody else is told: damage that the store goes on
	// without. Nobody waits for it, but Close, for a second. Default: slog.Default().
	Logger *slog.Logger

	// UnsafeNoSync leaves it to the operating system when changes reach the
	// disk. A crash of the machine then loses what was acknowledged and can
	// ruin the file; a crash of the process alone does neither. For tests and
	// for data that can be made again. Default: false.
	UnsafeNoSync bool

	// For tests.
	files       wal.Files
	segmentSize int
	now         func() time.Time
	unlocked    func() // called when the file is open and not locked yet
	crowded     bool   // there are no addresses to spare
}

// Store is a checkpoint.Store in a bbolt file. Get one from Open.
type Store struct {
	path   string
	real   string       // absolute, and no link
	log    *slog.Logger // what it is given, nobody waits for
	teller teller.Teller
	secret []byte
	now    func() time.Time

	db    *bolt.DB
	file  *os.File // of db, to let go of it when db can't be closed
	queue *queue.Queue[*command]
	calls *dispatch.Dispatcher

	// What the writer knows beside the file; only it and Open touch them.
	writer  writer
	wal     *wal.Log // nil until something is written
	walDir  string
	walOpts wal.Options
	logID   uint64
	base    uint64
	format  uint32 // of the file when it was opened
	maxLag  int

	// What is durable and not in bbolt. The writer adds to it, the feeder takes
	// from it, both under the lock.
	mu sync.RWMutex
	feeder
	heads map[uint32]head

	failure   atomic.Pointer[error]
	failing   chan struct{} // closed with the first failure
	closing   sync.Once
	closed    atomic.Bool
	ended     chan struct{} // the writer has ended
	wake      chan struct{} // for the feeder
	fed       chan struct{} // the feeder has ended
	broken    atomic.Bool   // bbolt has met damage and kept its locks: neither a transaction nor db can be closed
	writing   sync.Mutex    // a transaction writes, or keeps others from it
	beginning sync.RWMutex  // one begins, of either kind; to read: one that reads ends
	mapped    int64         // how large the file may get before it is mapped anew; 0: any time
	pinning   sync.Mutex
	pins      map[*pin]bool
	makeAside func() (*os.File, error)
	queues    queues
	expiredTo atomic.Pointer[string] // where Expire goes on; nil: at the beginning
	batches   atomic.Uint64
	committed atomic.Pointer[func(checkpoint.Commit)] // nil: nobody watches
}

var _ checkpoint.Store = (*Store)(nil)

// Secret was drawn when the file was created.
func (s *Store) Secret() []byte { return slices.Clone(s.secret) }

// Now is time.Now.
func (s *Store) Now() time.Time { return s.now() }

// Watch sets who gets the hints, on the goroutine that calls done of Append.
func (s *Store) Watch(fn func(checkpoint.Hint)) { s.calls.Watch(fn) }

// Append changes a journal; done is called on the store's own goroutine. The
// records are encoded before it returns.
func (s *Store) Append(a checkpoint.Append, done func(error)) {
	c := commands.Get().(*command)
	c.a, c.Done = a, done
	if c.Err = ledger.CheckAppend(&a); c.Err != nil {
		c.Refused = true
	} else {
		for i := range a.Records {
			c.encoded = checkpoint.AppendRecord(c.encoded, &a.Records[i])
		}
		c.Bytes = len(c.encoded)
	}
	if err := s.queue.Add(c); err != nil {
		s.calls.Done(done, err)
	}
}

func encode(records []checkpoint.Record) []byte {
	total := 0
	for i := range records {
		total += size(&records[i])
	}
	b := make([]byte, 0, total)
	for i := range records {
		b = checkpoint.AppendRecord(b, &records[i])
	}
	return b
}

// size is about that of a record's binary form.
func size(r *checkpoint.Record) int {
	return 96 + len(r.OperationID) + len(r.Name) + len(r.Payload) + len(r.Failure) + len(r.Batch) + len(r.Keys)
}

// Create makes an execution.
func (s *Store) Create(ctx context.Context, c checkpoint.Creation) (sum checkpoint.Summary, created bool, err error) {
	bytes := size(&c.Started)
	for i := range c.Records {
		bytes += size(&c.Records[i])
	}
	err = s.do(ctx, bytes, func(_ *view, r *ledger.Round) (err error) {
		sum, created, err = r.Create(&c)
		return err
	})
	return sum, created, err
}

// Claim makes the caller the owner of executions that are due.
func (s *Store) Claim(ctx context.Context, req checkpoint.ClaimRequest) (claims []checkpoint.Claim, err error) {
	err = s.do(ctx, 0, func(_ *view, r *ledger.Round) (err error) {
		claims, err = r.Claim(&req)
		return err
	})
	return claims, err
}

// Disown gives up ownership as if the owner had died.
func (s *Store) Disown(ctx context.Context, id string, epoch uint64) error {
	return s.do(ctx, 0, func(_ *view, r *ledger.Round) error { return r.Disown(id, epoch) })
}

// Deliver puts an event from outside into an inbox.
func (s *Store) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	return s.do(ctx, size(&d.Record), func(_ *view, r *ledger.Round) error { return r.Deliver(&d) })
}

// Heartbeat moves the heartbeat due time of a callback.
func (s *Store) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	return s.do(ctx, 0, func(_ *view, r *ledger.Round) error { return r.Heartbeat(&c) })
}

// End gives an execution a final status from outside.
func (s *Store) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	err = s.do(ctx, 0, func(_ *view, r *ledger.Round) (err error) {
		ended, err = r.End(&e)
		return err
	})
	return ended, err
}

// Resume lifts a hold.
func (s *Store) Resume(ctx context.Context, id string) error {
	return s.do(ctx, 0, func(_ *view, r *ledger.Round) error { return r.Resume(id) })
}

// Delete removes an execution that has ended. A long journal is removed piece by
// piece afterwards; nobody sees it any more.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.do(ctx, 0, func(_ *view, r *ledger.Round) error { return r.Delete(id) })
}

// do has the writer make a change and waits for it. If ctx ends first, the
// change is not made; once the writer has begun with it, do waits for the end.
// bytes is about how much it writes.
func (s *Store) do(ctx context.Context, bytes int, change func(*view, *ledger.Round) error) error {
	return s.queue.Do(ctx, &command{Command: queue.Command{Bytes: bytes}, change: change})
}

// Close makes what is queued, brings all of it into the file, removes the log and
// closes the file. It waits for a Backup or a Verify that is under way: end its context,
// if it may not take its time. When Close fails, opening the store again recovers. It
// must not be called from done of Append, nor from the function set by Watch, nor from
// the writer that a Backup has.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.queue.Close()
		<-s.ended
		err = cmp.Or(s.drain(), s.failed(), s.present())
		s.closed.Store(true)
		s.calls.Close()
		if err == nil {
			err = s.endLog()
		} else if s.wal != nil {
			s.wal.Close()
		}
		err = errors.Join(err, s.closeFile())
		if err != nil {
			err = fmt.Errorf("durable: close %s: %w", s.path, err)
		}
		s.teller.CatchUpWithAll(lastLines, nil)
	})
	return err
}

// lastLines is how long Close waits for a line of the log that does not get written.
const lastLines = time.Second

// closeFile closes the file when the transactions that are under way have ended.
func (s *Store) closeFile() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.beginning.Lock() // what begins must not keep a lock that bbolt waits for meanwhile
	defer s.beginning.Unlock()
	if s.broken.Load() {
		return s.dropFile() // bbolt would wait for a transaction that can't be ended
	}
	return s.db.Close()
}

// fail makes the store refuse everything from now on.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%s: %w: %w", s.path, checkpoint.ErrFailed, cause)
	if s.failure.CompareAndSwap(nil, &err) {
		close(s.failing)
		s.log.Error("durable: the store failed: close it and open it again", "path", s.path, "error", cause.Error())
	}
	return s.failed()
}

// failed is why the store refuses everything, or nil.
func (s *Store) failed() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// corrupt names the place of what can't be read.
func (s *Store) corrupt(t table, key []byte, what string, err error) error {
	if inner, ok := errors.AsType[*checkpoint.CorruptError](err); ok && err == error(inner) {
		what, err = what+": "+inner.Where+" is "+inner.What, inner.Err
	}
	return &checkpoint.CorruptError{Where: fmt.Sprintf("%s: %s %x", s.path, tableNames[t], key), What: what, Err: err}
}
