package boltstore

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// fuzzStore is a store with a few executions.
func fuzzStore(f *testing.F) *Store {
	f.Helper()
	s, err := Open(filepath.Join(f.TempDir(), "store"), &Options{UnsafeNoSync: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	for _, id := range []string{"a", "b"} {
		_, _, err := s.Create(f.Context(), checkpoint.Creation{ID: id, Started: checkpoint.Record{Seq: 1, Type: checkpoint.ExecutionStarted, Function: "f", Payload: []byte("1")}})
		require.NoError(f, err)
	}
	return s
}

// FuzzRedo brings anything that is taken for a batch of the log into a generation:
// an error or not, but no panic.
func FuzzRedo(f *testing.F) {
	s := fuzzStore(f)
	row := new(checkpoint.Row)
	row.Number, row.ID, row.Function, row.Status, row.Tail = 1, "a", "f", checkpoint.Running, 1
	record := checkpoint.AppendRecord(nil, &checkpoint.Record{Seq: 2, Type: checkpoint.StepStarted, OperationID: "1"})
	batch := appendAdvance(appendRow(nil, row), row)
	batch = appendChunk(batch, 1, chunk{2, 2, record})
	batch = appendChange(batch, idTable, &change{key: "a", value: numberKey(1)})
	batch = appendChange(batch, dueTable, &change{key: string(dueKey(1, 5, 1)), deleted: true})
	f.Add(appendNumber(appendRemove(batch, 2), 7))
	f.Add(batch[:len(batch)-1])
	f.Add([]byte{opRecords, 1, 2, 2, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{opRow, 0x80, 0x80, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		g := newGeneration()
		p := snapshot{s: s, layers: []*generation{g}}
		defer p.end()
		if p.redo(body) != nil {
			return
		}
		for _, id := range []string{"a", "b", "c"} {
			_, _ = p.find(id)
		}
		for number := range uint64(3) {
			_, _ = p.firstRecord(number)
			_, _ = p.lastRecord(number, 2)
		}
	})
}

// FuzzValues puts anything in the place of a row, a journal's records, an inbox entry
// and a callback, and reads it: an error that says what is damaged, or records in order.
func FuzzValues(f *testing.F) {
	s := fuzzStore(f)
	require.NoError(f, s.awaitApplied(f.Context()))
	good := make(map[table][]byte)
	require.NoError(f, s.db.View(func(tx *bolt.Tx) error {
		good[executionTable] = bytes.Clone(tx.Bucket([]byte(tableNames[executionTable])).Get(numberKey(1)))
		good[journalTable] = bytes.Clone(tx.Bucket([]byte(tableNames[journalTable])).Get(pairKey(1, 1)))
		return nil
	}))
	f.Add(good[executionTable], unbind(pairKey(1, 1), good[journalTable]), []byte{}, true)
	f.Add(good[journalTable], good[executionTable], appendCallback(nil, ledger.Callback{TimeoutAt: 1}), false)
	f.Add([]byte{}, checkpoint.AppendRecord(unbind(pairKey(1, 1), good[journalTable]), &checkpoint.Record{Seq: 3}), []byte{1}, true)
	f.Fuzz(func(t *testing.T, row, records, outside []byte, bindIt bool) {
		put := func(tx *bolt.Tx, table table, key, value []byte) error {
			if bindIt && table != executionTable {
				value = append(bind(nil, key), value...)
			}
			return tx.Bucket([]byte(tableNames[table])).Put(key, value)
		}
		require.NoError(t, s.db.Update(func(tx *bolt.Tx) error {
			if err := put(tx, executionTable, numberKey(1), row); err != nil {
				return err
			}
			if err := put(tx, journalTable, pairKey(1, 1), records); err != nil {
				return err
			}
			if err := put(tx, inboxTable, pairKey(1, 1), outside); err != nil {
				return err
			}
			return put(tx, callbackTable, operationKey(1, "1"), outside)
		}))
		_, _ = s.Get(t.Context(), "a")
		_, _ = s.Find(t.Context(), 1)
		last := uint64(0)
		for r, err := range s.Records(t.Context(), "a", 0) {
			if err != nil {
				break
			}
			require.Equal(t, last+1, r.Seq)
			last = r.Seq
		}
		_, _ = s.Inbox(t.Context(), "a", 0)
		for _, err := range s.List(t.Context(), checkpoint.Query{}) {
			_ = err
		}
		_ = s.Heartbeat(t.Context(), checkpoint.CallbackRef{ID: "a", OperationID: "1"})
		sum, err := s.Get(t.Context(), "b")
		require.NoError(t, err, "the other one is unharmed")
		require.Equal(t, "1", string(sum.Started.Payload))
	})
}

// FuzzForms reads anything as the small forms of keys and values, and writes again
// what could be read.
func FuzzForms(f *testing.F) {
	f.Add(queueKey(ledger.Queue{Function: "f", Builds: "b"}))
	f.Add(appendCallback(nil, ledger.Callback{Closed: true, TimeoutAt: 1, HeartbeatTimeout: 2, HeartbeatAt: 3}))
	f.Add(logMark{1, 2, 3}.encode())
	f.Add(bind(nil, []byte("key")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, ok := parseQueueKey(b); ok {
			again, ok := parseQueueKey(queueKey(q))
			require.True(t, ok)
			require.Equal(t, q, again)
		}
		if c, ok := parseCallback(b); ok {
			again, ok := parseCallback(appendCallback(nil, c))
			require.True(t, ok)
			require.Equal(t, c, again)
		}
		if m, ok := parseLogMark(b); ok {
			require.Equal(t, b, m.encode())
		}
		require.Equal(t, b, unbind([]byte("key"), append(bind(nil, []byte("key")), b...)))
		_ = unbind([]byte("key"), b)
	})
}
