package durabletest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// identities are what executions are known by: the same in each run of a test, and after
// a crash the same as without. What somebody drew and a crash lost is drawn again; what
// he made of it, and makes once more, has another one.
type identities struct {
	mu      sync.Mutex
	created map[string]int // executions, by ID: how many there were
}

// newIdentities knows the executions that a store holds.
func newIdentities(store *memstore.Store) *identities {
	ids := &identities{created: make(map[string]int)}
	for s := range store.List(context.Background(), checkpoint.Query{}) {
		ids.created[s.ID] = 1
	}
	return ids
}

// note takes note of an execution that was created.
func (ids *identities) note(id string) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.created[id]++
}

// executionID is an ID that nobody has, nor was drawn in this life.
func (ids *identities) executionID(by string, drawn map[string]bool) string {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	for n := 0; ; n++ {
		h := sha256.Sum256(fmt.Appendf(nil, "execution %s %d", by, n))
		h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // a UUID of version 8
		id := fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
		if !drawn[id] && ids.created[id] == 0 {
			drawn[id] = true
			return id
		}
	}
}

func (ids *identities) incarnation(id string) checkpoint.Incarnation {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	h := sha256.Sum256(fmt.Appendf(nil, "incarnation %s %d", id, ids.created[id]))
	return checkpoint.Incarnation(h[:16])
}
