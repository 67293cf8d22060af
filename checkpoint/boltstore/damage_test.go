package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

var quiet = &Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), UnsafeNoSync: true, segmentSize: 64 * 4096}

// written is what was put into a store: every record by execution.
type written map[string][]string

// fill makes a store with executions in all states, and closes it.
func fill(t *testing.T) (path string, w written) { return fillWith(t, 40) }

func fillWith(t *testing.T, executions int) (path string, w written) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	ctx := t.Context()
	for i := range executions {
		id := fmt.Sprintf("execution-%d", i)
		s.own(t, id)
		for n := range 10 {
			a := step(id, uint64(n+1))
			a.Records[0].Payload = bytes.Repeat([]byte{byte(i), byte(n)}, 50*n)
			if n == 5 {
				a.Records[0].Type = checkpoint.CallbackStarted
				a.Records[0].HeartbeatTimeout = int64(time.Hour)
				a.Records[0].Time = s.Now().UnixNano()
			}
			require.NoError(t, <-s.start(a))
			if i == 0 { // a value each
				require.NoError(t, s.awaitApplied(ctx))
			}
		}
		require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		if i == 0 {
			require.NoError(t, s.awaitApplied(ctx))
		}
		switch a := step(id, 11); i % 4 {
		case 0:
			a.Status = checkpoint.Succeeded
			require.NoError(t, <-s.start(a))
		case 1:
			a.InboxSeen = 1
			a.Release = &checkpoint.Release{WakeAt: s.Now().Add(time.Hour).UnixNano()}
			require.NoError(t, <-s.start(a))
		case 2:
			a.InboxSeen = 1
			a.Release = &checkpoint.Release{Hold: &checkpoint.Hold{Build: "one"}}
			require.NoError(t, <-s.start(a))
		}
	}
	w = make(written)
	for sum, err := range s.List(ctx, checkpoint.Query{}) {
		require.NoError(t, err)
		for _, r := range s.journal(t, sum.ID) {
			w[sum.ID] = append(w[sum.ID], string(checkpoint.AppendRecord(nil, &r)))
		}
	}
	require.NoError(t, s.Close())
	return path, w
}

// use opens a store that may be damaged and does everything with it. Nothing may
// panic or hang; records that are returned must be those that were written.
func (w written) use(t *testing.T, path string) (damaged bool) {
	t.Helper()
	damaged, wrong := w.inspect(t.Context(), path, nil)
	require.NoError(t, wrong)
	return damaged
}

// tiny makes a store that is opened and closed quickly.
var tiny = &Options{Logger: quiet.Logger, UnsafeNoSync: true, segmentSize: 4 * 4096}

// inspect is use that says what is wrong. damage is called when the store is
// open; nil: it is damaged already.
func (w written) inspect(ctx context.Context, path string, damage func()) (damaged bool, wrong error) {
	defer func() {
		if p := recover(); p != nil {
			wrong = fmt.Errorf("it panicked: %v\n%s", p, debug.Stack())
		}
	}()
	s, err := Open(path, tiny)
	if err != nil {
		return true, misreported(err, path)
	}
	defer s.Close()
	if damage != nil {
		damage()
	}
	check := func(err error) (ok bool) {
		switch {
		case err == nil:
			return true
		case errors.Is(err, checkpoint.ErrNotFound):
			return false
		case errors.Is(err, checkpoint.ErrFailed): // it names what it failed of
			damaged = true
			if !strings.Contains(err.Error(), path) {
				wrong = cmp.Or(wrong, fmt.Errorf("it does not name the file: %w", err))
			}
		default:
			damaged = true
			wrong = cmp.Or(wrong, misreported(err, path))
		}
		return false
	}
	for sum, err := range s.List(ctx, checkpoint.Query{}) {
		if check(err) && w[sum.ID] == nil {
			return damaged, fmt.Errorf("List returns an execution %q that was never made", sum.ID)
		}
	}
	for id, want := range w {
		sum, err := s.Get(ctx, id)
		if check(err) && sum.ID != id {
			return damaged, fmt.Errorf("Get of %s returns %q", id, sum.ID)
		}
		n, whole := 0, true
		for r, err := range s.Records(ctx, id, 0) {
			if whole = check(err); !whole {
				break
			}
			if n == len(want) || want[n] != string(checkpoint.AppendRecord(nil, &r)) {
				return damaged, fmt.Errorf("record %d of %s is not what was written", n+1, id)
			}
			n++
		}
		if whole && n != len(want) {
			return damaged, fmt.Errorf("%s has %d records of %d, and nothing says so", id, n, len(want))
		}
		_, err = s.Inbox(ctx, id, 0)
		check(err)
		err = s.Heartbeat(ctx, checkpoint.CallbackRef{ID: id, OperationID: "1"})
		if !errors.Is(err, checkpoint.ErrCallbackClosed) {
			check(err)
		}
	}
	_, err = s.NextDue(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}})
	check(err)
	claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "two", Max: 100})
	check(err)
	for _, c := range claims {
		a := step(c.ID, c.Tail)
		a.Epoch = c.Epoch
		a.Status = checkpoint.Succeeded
		check(<-s.start(a))
	}
	_, err = s.Expire(ctx, s.Now().Add(time.Hour), 1000)
	check(err)
	return damaged, wrong
}

// misreported says what is wrong with an error over damage; nil: nothing.
func misreported(err error, path string) error {
	if e, ok := errors.AsType[*checkpoint.CorruptError](err); !ok || !strings.Contains(e.Where, path) {
		return fmt.Errorf("the error is no CorruptError that names the place: %w", err)
	}
	return nil
}

func TestBitFlips(t *testing.T) {
	path, w := fill(t)
	require.False(t, w.use(t, copyOf(t, path)), "an undamaged file")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	flips := 400
	if testing.Short() {
		flips = 60
	}
	found := 0
	page := os.Getpagesize()
	for i := range flips {
		bad := bytes.Clone(good)
		for { // where there is something, every other time in the structure of a page
			at := random.IntN(len(bad))
			if i%2 == 0 {
				at = at/page*page + random.IntN(256)
			}
			if bad[at] != 0 {
				bad[at] ^= 1 << random.IntN(8)
				break
			}
		}
		damaged := filepath.Join(t.TempDir(), "damaged")
		require.NoError(t, os.WriteFile(damaged, bad, 0o600))
		if w.use(t, damaged) {
			found++
		}
		require.NoError(t, os.Remove(damaged))
	}
	t.Logf("%d of %d flips were noticed, the others hit what is not used", found, flips)
	require.NotZero(t, found)
}

func TestTruncatedFiles(t *testing.T) {
	path, w := fill(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	for size := int64(0); size < info.Size(); size += max(info.Size()/40, 1) + 1 {
		truncated := copyOf(t, path)
		require.NoError(t, os.Truncate(truncated, size))
		w.use(t, truncated)
		copyStore(t, path, truncated) // into the same file, which nothing may have locked
		require.False(t, w.use(t, truncated))
	}
}

func TestAFileThatIsTruncatedWhileItIsOpen(t *testing.T) {
	path, w := fill(t)
	s, err := Open(path, quiet)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, os.Truncate(path, 2*int64(os.Getpagesize())))
	for id := range w {
		_, err := s.Get(t.Context(), id)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		err = <-s.start(step(id, 11))
		require.Error(t, err)
	}
}

func TestWhatIsMissingIsNoticed(t *testing.T) {
	key := func(seq uint64) []byte { return pairKey(1, seq) }
	for name, f := range map[string]func(tx *bolt.Tx) error{
		"first record":  func(tx *bolt.Tx) error { return tx.Bucket([]byte("journal")).Delete(key(1)) },
		"middle record": func(tx *bolt.Tx) error { return tx.Bucket([]byte("journal")).Delete(key(5)) },
		"last record":   func(tx *bolt.Tx) error { return tx.Bucket([]byte("journal")).Delete(key(12)) },
		"all records": func(tx *bolt.Tx) error {
			for seq := range uint64(12) {
				if err := tx.Bucket([]byte("journal")).Delete(key(seq + 1)); err != nil {
					return err
				}
			}
			return nil
		},
		"row": func(tx *bolt.Tx) error { return tx.Bucket([]byte("executions")).Delete(numberKey(1)) },
		"another row": func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("executions"))
			return b.Put(numberKey(1), bytes.Clone(b.Get(numberKey(2))))
		},
		"another's records": func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("journal"))
			return b.Put(key(1), bytes.Clone(b.Get(pairKey(2, 1))))
		},
		"another record": func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("journal"))
			return b.Put(key(5), bytes.Clone(b.Get(key(6))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := fill(t)
			edit(t, path, f)
			s, err := Open(path, quiet)
			require.NoError(t, err)
			defer s.Close()
			var failure error
			for _, err := range s.Records(t.Context(), "execution-0", 0) {
				failure = err
			}
			require.ErrorIs(t, failure, checkpoint.ErrCorrupt)
			require.ErrorContains(t, failure, path)
			_, err = s.Get(t.Context(), "execution-1")
			if name != "row" { // the others are well
				require.NoError(t, err)
			}
		})
	}
}

// Keys that are not in order any more must not lead a list back to where it was.
func TestAListOverKeysThatAreNotInOrderEnds(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), tiny)
	require.NoError(t, err)
	const executions = 2*page + 20
	for i := range executions {
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: fmt.Sprint(i), Started: checkpoint.Record{Function: "f"}})
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	good, err := os.ReadFile(s.path)
	require.NoError(t, err)
	failed := 0
	for number := uint64(1); number <= executions; number += 5 {
		bad := bytes.Clone(good)
		for at := 0; ; at += 8 {
			n := bytes.Index(bad[at:], numberKey(number))
			if n < 0 {
				break
			}
			at += n
			bad[at+6] ^= 1 << 4 // of the row, and of what refers to it
		}
		require.NoError(t, os.WriteFile(s.path, bad, 0o600))
		s, err := Open(s.path, tiny)
		if err != nil {
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			continue
		}
		listed := 0
		for _, err := range s.List(t.Context(), checkpoint.Query{}) {
			if err != nil {
				require.ErrorIs(t, err, checkpoint.ErrCorrupt)
				failed++
			}
			listed++
			require.LessOrEqual(t, listed, 2*executions, "the key of %d is damaged", number)
		}
		s.Close()
	}
	require.NotZero(t, failed)
}

func TestADamagedExecutionDoesNotKeepOthersFromTheirWork(t *testing.T) {
	s := openTemp(t)
	for _, id := range []string{"a", "b", "c"} {
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: id, Started: checkpoint.Record{Function: "f"}})
		require.NoError(t, err)
	}
	s.own(t, "owned")
	require.NoError(t, s.Close())
	edit(t, s.path, func(tx *bolt.Tx) error {
		for _, number := range []uint64{1, 4} {
			if err := tx.Bucket([]byte("executions")).Put(numberKey(number), []byte("damage")); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte("journal")).Put(pairKey(2, 1), []byte("damage"))
	})
	s, err := Open(s.path, quiet)
	require.NoError(t, err)
	defer s.Close()
	r := checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10}
	claims, err := s.Claim(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.Equal(t, "c", claims[0].ID)
	next, err := s.NextDue(t.Context(), r)
	require.NoError(t, err)
	require.True(t, next.IsZero(), "what can't be run is not due again and again")
	for _, id := range []string{"a", "b", "owned"} {
		_, err = s.Get(t.Context(), id)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		require.ErrorContains(t, err, s.path)
	}
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	copyStore(t, path, to)
	return to
}

// stuckHandler is a log handler that hangs.
type stuckHandler struct {
	slog.Handler
	entered chan struct{}
	release chan struct{}
}

func (h *stuckHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *stuckHandler) Handle(context.Context, slog.Record) error {
	h.entered <- struct{}{}
	<-h.release
	return nil
}

func TestALogThatHangsKeepsNobodyWaiting(t *testing.T) {
	s := openTemp(t)
	for _, id := range []string{"damaged", "well"} {
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: id, Started: checkpoint.Record{Function: "f"}})
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	edit(t, s.path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("executions")).Put(numberKey(1), []byte("damage"))
	})
	h := &stuckHandler{entered: make(chan struct{}, 100), release: make(chan struct{})}
	s, err := Open(s.path, &Options{Logger: slog.New(h)})
	require.NoError(t, err)
	defer s.Close()
	defer close(h.release)
	claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	<-h.entered
	_, _, err = s.Create(t.Context(), checkpoint.Creation{ID: "new", Started: checkpoint.Record{Function: "f"}})
	require.NoError(t, err)
	claims, err = s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
	require.NoError(t, err)
	require.Len(t, claims, 1)
}
