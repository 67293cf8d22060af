package memstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"fmt"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// snapshot is all that a store holds, for gob.
type snapshot struct {
	Secret     []byte
	Number     uint64
	Executions []savedExecution
}

type savedExecution struct {
	Row       checkpoint.Row
	Journal   journal
	Inbox     []checkpoint.Record
	Callbacks map[string]ledger.Callback
	Children  []uint64
}

// Snapshot returns what the store holds, for Restore in a process of the same
// build: what a disk would hold if the process died now.
func (s *Store) Snapshot() ([]byte, error) {
	s.lock()
	defer s.unlock()
	saved := snapshot{Secret: s.secret, Number: s.tables.number}
	for _, x := range s.tables.ordered {
		if !x.deleted {
			saved.Executions = append(saved.Executions, savedExecution{x.row, x.journal, x.inbox, x.callbacks, slices.Sorted(maps.Keys(x.children))})
		}
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(saved); err != nil {
		return nil, fmt.Errorf("memstore: snapshot: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	return append(sum[:], b.Bytes()...), nil
}

// Restore returns a store that holds a snapshot, as if it was opened again after
// its process had died: what was owned is due. One that is damaged is ErrCorrupt; one
// that was made with intent must not be restored.
func Restore(data []byte) (*Store, error) {
	if len(data) < sha256.Size || sha256.Sum256(data[sha256.Size:]) != [sha256.Size]byte(data[:sha256.Size]) {
		return nil, &checkpoint.CorruptError{Where: "memstore: restore", What: "the snapshot was damaged or cut"}
	}
	data = data[sha256.Size:]
	var saved snapshot
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&saved); err != nil {
		return nil, fmt.Errorf("memstore: restore: %w", err)
	}
	s := New()
	s.secret, s.tables.number = saved.Secret, saved.Number
	s.lock()
	defer s.unlock()
	r := s.round
	r.Begin(s.Now())
	for i := range saved.Executions {
		in := &saved.Executions[i]
		s.tables.Insert(&in.Row)
		x := s.tables.byNumber[in.Row.Number]
		x.journal, x.inbox = in.Journal, in.Inbox
		for id, c := range in.Callbacks {
			s.tables.SetCallback(in.Row.Number, id, ledger.Callback{}, c)
		}
		for _, child := range in.Children {
			s.tables.AddChild(in.Row.Number, child)
		}
		if err := r.Restore(&x.row); err != nil {
			return nil, fmt.Errorf("memstore: restore: %w", err)
		}
	}
	return s, nil
}
