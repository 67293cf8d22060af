package boltstore

import (
	"strings"

	bolt "go.etcd.io/bbolt"
)

// cursor goes through the keys of a table that have a prefix, as all layers and
// the file together have them. No layer may be changed meanwhile.
type cursor struct {
	prefix string
	layers []position // the newest first
	file   *bolt.Cursor
	key    []byte // where file stands; nil: at its end
	value  []byte
}

// scan begins at the first key with the prefix that is not below from.
func (p *snapshot) scan(t table, prefix, from string) *cursor {
	c := &cursor{prefix: prefix, layers: make([]position, 0, len(p.layers))}
	for _, l := range p.layers {
		c.layers = append(c.layers, l.tables[t].seek(from))
	}
	c.file = p.bucket(t).Cursor()
	c.key, c.value = c.file.Seek([]byte(from))
	return c
}

// next returns the next key; ok is false at the end. The value is good until the
// next change.
func (c *cursor) next() (key string, value []byte, ok bool) {
	for {
		var least *change
		for i := range c.layers {
			if at := c.layers[i].change(); at != nil && (least == nil || at.key < least.key) {
				least = at
			}
		}
		if c.key != nil && (least == nil || string(c.key) < least.key) {
			key, value = string(c.key), c.value
			c.key, c.value = c.file.Next()
			return key, value, strings.HasPrefix(key, c.prefix)
		}
		if least == nil || !strings.HasPrefix(least.key, c.prefix) {
			return "", nil, false
		}
		found := *least
		for i := range c.layers {
			if at := c.layers[i].change(); at != nil && at.key == found.key {
				c.layers[i].next()
			}
		}
		if c.key != nil && string(c.key) == found.key {
			c.key, c.value = c.file.Next()
		}
		if !found.deleted {
			return found.key, found.value, true
		}
	}
}
