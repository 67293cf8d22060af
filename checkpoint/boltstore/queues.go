package boltstore

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// queues holds the numbers of the queues in the file. There are as many as
// functions, and some for builds that hold executions.
type queues struct {
	mu         sync.RWMutex
	numbers    map[ledger.Queue]uint32
	byFunction map[string][]ledger.Queue // those with builds; the slices are replaced, never changed
	last       uint32
}

func (q *queues) number(name ledger.Queue) (n uint32, ok bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	n, ok = q.numbers[name]
	return n, ok
}

func (q *queues) held(function string) []ledger.Queue {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return slices.Clip(q.byFunction[function])
}

// next returns a number for a new queue. It is given once, even if the round
// that asks fails.
func (q *queues) next() uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	return q.last
}

func (q *queues) add(name ledger.Queue, number uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.numbers[name] = number
	q.last = max(q.last, number)
	if name.Builds != "" {
		q.byFunction[name.Function] = append(slices.Clip(q.byFunction[name.Function]), name)
	}
}

func (q *queues) addAll(new map[ledger.Queue]uint32) {
	for name, number := range maps.All(new) {
		q.add(name, number)
	}
}

// load reads the queues of the file. Queues that are empty are left out and
// returned, to be removed.
func (q *queues) load(p *snapshot) (empty [][]byte, err error) {
	q.numbers, q.byFunction = make(map[ledger.Queue]uint32), make(map[string][]ledger.Queue)
	for c := p.scan(queueTable, "", ""); ; {
		k, v, some := c.next()
		if !some {
			break
		}
		name, ok := parseQueueKey([]byte(k))
		if !ok || len(v) != 4 {
			return nil, p.s.corrupt(queueTable, []byte(k), "it can't be read", nil)
		}
		number := binary.BigEndian.Uint32(v)
		_, first, err := p.first(number)
		if err != nil {
			return nil, err
		}
		q.last = max(q.last, number)
		if first == 0 && name.Builds != "" {
			empty = append(empty, []byte(k))
			continue
		}
		q.add(name, number)
	}
	return empty, nil
}
