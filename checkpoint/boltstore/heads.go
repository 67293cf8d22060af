package boltstore

import "encoding/binary"

// head is what is known of where a queue begins. Without it, each look at the
// first one would go past all that were taken out and not yet put into the file.
type head struct {
	key   string // no key of the queue is below it
	exact bool   // and it is the first one, if it is one of the queue
}

func queuePrefix(queue uint32) string {
	return string(binary.BigEndian.AppendUint32(nil, queue))
}

// head returns what is known of a queue.
func (v *view) head(queue uint32) (h head, ok bool) {
	if h, ok = v.heads[queue]; !ok {
		h, ok = v.s.heads[queue]
	}
	return h, ok
}

func (v *view) setHead(queue uint32, h head) {
	if v.heads == nil {
		v.heads = make(map[uint32]head)
	}
	v.heads[queue] = h
}

// putDue enters an execution in a queue.
func (v *view) putDue(queue uint32, at int64, number uint64) {
	key := dueKey(queue, at, number)
	v.putNew(dueTable, key, nil)
	if h, ok := v.head(queue); ok && string(key) < h.key {
		v.setHead(queue, head{string(key), true})
	}
}

// deleteDue takes an execution out of a queue.
func (v *view) deleteDue(queue uint32, at int64, number uint64) {
	key := dueKey(queue, at, number)
	v.delete(dueTable, key)
	if h, ok := v.head(queue); ok && string(key) == h.key {
		v.setHead(queue, head{h.key, false})
	}
}

// first returns what is due first in a queue; number 0: nothing.
func (v *view) first(queue uint32) (at int64, number uint64, err error) {
	h, ok := v.head(queue)
	if !ok {
		h.key = queuePrefix(queue)
	}
	if !h.exact {
		var some bool
		if h.key, _, some = v.scan(dueTable, queuePrefix(queue), h.key).next(); !some {
			h.key = queuePrefix(queue + 1)
		}
		h.exact = true
		v.setHead(queue, h)
	}
	return v.parseDue(queue, h.key)
}
