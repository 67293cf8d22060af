package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/btree"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/wal"
)

// verifier looks at one state of a store.
type verifier struct {
	ctx  context.Context
	path string
	opts VerifyOptions
	done Verified

	first *Problem
	err   error // ctx has ended, or it can't be read

	file   *source
	r      *btree.Reader
	trees  [tables]btree.Tree
	has    [tables]bool
	logged *generation // what the log has and the file has not; nil: nothing
	format uint32
	number uint64 // last one given to an execution
	// earliest heartbeats, of executions that wait for some
	earliest map[uint64]int64
	queues   map[ledger.Queue]uint32
	names    map[uint32]ledger.Queue
}

func newVerifier(ctx context.Context, path string, opts *VerifyOptions) *verifier {
	v := &verifier{ctx: ctx, path: path, queues: make(map[ledger.Queue]uint32), names: make(map[uint32]ledger.Queue)}
	if opts != nil {
		v.opts = *opts
	}
	return v
}

func (v *verifier) problem(p Problem) {
	if v.unread() {
		return // it may be nothing but that
	}
	if p.File == "" {
		p.File = v.path
	}
	v.done.Problems++
	if v.first == nil {
		v.first = &p
	}
	if v.opts.Problem != nil {
		v.opts.Problem(p)
	}
}

// bad is a problem with an entry of a table.
func (v *verifier) bad(t table, key []byte, row *checkpoint.Row, what string, err error) {
	p := Problem{Bucket: tableNames[t], Key: bytes.Clone(key), What: what, Err: err}
	if row != nil {
		p.Number, p.Execution = row.Number, row.ID
	}
	v.problem(p)
}

// unread reports whether the system could not read the file: what was found behind that is
// of no worth.
func (v *verifier) unread() bool {
	if v.err == nil && v.file != nil && v.file.err != nil {
		v.err = fmt.Errorf("durable: verify %s: %w", v.path, v.file.err)
	}
	return v.file != nil && v.file.err != nil
}

// tick is called for each entry; false: it is enough.
func (v *verifier) tick() bool {
	if v.unread() {
		return false
	}
	v.done.Entries++
	if v.done.Entries%4096 == 0 {
		v.progress()
		v.err = v.ctx.Err()
	}
	return v.err == nil
}

func (v *verifier) progress() {
	if v.opts.Progress != nil {
		v.opts.Progress(v.done)
	}
}

// verify looks at the state of a file that m describes. log returns the batches that
// the file does not have; nil: there are none.
func (v *verifier) verify(file io.ReaderAt, size int64, m btree.Meta, whole [2]bool, log func(wal.Position, uint32) []wal.Batch) error {
	for n, ok := range whole {
		if !ok {
			v.problem(Problem{What: fmt.Sprintf("the first pages: number %d of two is damaged", n)})
		}
	}
	if v.err = v.ctx.Err(); v.err != nil {
		return v.err
	}
	if want := int64(m.Pages) * int64(m.PageSize); size < want {
		v.problem(Problem{What: fmt.Sprintf("it was truncated: it has %d bytes of %d", size, want)})
	}
	v.done.Pages = m.Pages
	v.file = &source{ReaderAt: file}
	v.r = btree.NewReader(v.file, m, func(page uint64, what string) { v.problem(Problem{Page: page, What: what}) })
	v.findTables()
	position, ok := v.verifyMeta()
	if v.unread() || !ok {
		return v.err
	}
	if log != nil {
		v.redo(log(position, v.format))
	}
	if v.err != nil {
		return v.err
	}
	v.verifyQueues()
	v.verifyExecutions()
	v.verifyIDs()
	v.verifyDue()
	v.verifyPlaces(ownedTable)
	v.verifyPlaces(endedTable)
	v.verifyChildren()
	if !v.unread() && v.err == nil {
		v.done.FreePages = v.r.Finish()
		v.unread()
	}
	v.progress()
	return v.err
}

// findTables looks for the buckets.
func (v *verifier) findTables() {
	c := v.r.Root().Cursor()
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		t := slices.Index(tableNames[:], string(e.Key))
		tree, isBucket := v.r.Bucket(e)
		if t < 0 || !isBucket {
			v.problem(Problem{Bucket: string(e.Key), What: "it is no bucket of a store"})
			continue
		}
		v.trees[t], v.has[t] = tree, true
	}
	for t, has := range v.has {
		if !has {
			v.problem(Problem{Bucket: tableNames[t], What: "the bucket is missing"})
		}
	}
}

// verifyMeta looks at what the file says of itself; ok is false if nothing else can be
// understood.
func (v *verifier) verifyMeta() (position wal.Position, ok bool) {
	values := make(map[string][]byte)
	known := [][]byte{metaFormat, metaSecret, metaNumber, metaLog, metaSum}
	for s := v.stream(metaTable); s.ok; s.next() {
		values[string(s.key)] = s.value
		if !slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, s.key) }) {
			v.bad(metaTable, s.key, nil, "nobody knows this key", nil)
		}
	}
	bad := func(key []byte, what string) { v.bad(metaTable, key, nil, what, nil) }
	if b := values["format"]; len(b) == 4 {
		v.format = binary.BigEndian.Uint32(b)
	}
	if v.format < formatFirst || v.format > formatWhole {
		bad(metaFormat, fmt.Sprintf("the format is %d, this release knows %d to %d", v.format, formatFirst, formatWhole))
		return position, false
	}
	if sum := values["sum"]; sum != nil && !bytes.Equal(sum, sumOf(func(key []byte) []byte { return values[string(key)] })) {
		bad(metaSum, "the table has another checksum")
	}
	if len(values["secret"]) < 32 {
		bad(metaSecret, "it is missing")
	}
	if b := values["number"]; len(b) == 8 {
		v.number = binary.BigEndian.Uint64(b)
	} else {
		bad(metaNumber, "it is missing")
	}
	mark, sound := parseLogMark(values["log"])
	switch {
	case !sound && (v.format == formatLog || values["log"] != nil):
		bad(metaLog, "it can't be read")
	case sound && v.format == formatFirst:
		bad(metaFormat, "files of format 1 have no log, this one has")
	}
	return wal.Position{ID: mark.id, Applied: mark.applied, Base: mark.base}, true
}

// redo makes the changes that only the log has in v.logged.
func (v *verifier) redo(batches []wal.Batch) {
	for _, b := range batches {
		if v.logged == nil {
			v.logged = newGeneration()
		}
		v.done.Batches++
		err := v.logged.redo(b.Body, func(number uint64) *checkpoint.Row {
			row, _ := v.row(number)
			if row == nil {
				v.problem(Problem{Bucket: tableNames[executionTable], Key: numberKey(number), Number: number, What: fmt.Sprintf("batch %d of the log changes it, but it is not there, or can't be read", b.Seq)})
			}
			return row
		})
		if err != nil {
			v.problem(Problem{File: v.path + logSuffix, What: fmt.Sprintf("batch %d can't be read: a newer release may have written it", b.Seq), Err: err})
			v.logged = nil // as far as the file goes, it is of one moment
			return
		}
	}
	if v.logged != nil && v.logged.number != 0 {
		v.number = v.logged.number
	}
}

// get returns the value of a key; sound is false if that is not known.
func (v *verifier) get(t table, key []byte) (value []byte, found, sound bool) {
	if v.logged != nil {
		if c := v.logged.tables[t].get(string(key)); c != nil {
			return c.value, !c.deleted, true
		}
	}
	if !v.has[t] {
		return nil, false, false
	}
	e, found, sound := v.trees[t].Get(key)
	return e.Value, found, sound
}

// row returns a row. sound is false if it is damaged, which is reported elsewhere.
func (v *verifier) row(number uint64) (row *checkpoint.Row, sound bool) {
	if v.logged != nil {
		if x := v.logged.executions[number]; x != nil && x.changed() {
			row, err := x.current()
			return row, err == nil
		}
	}
	if !v.has[executionTable] {
		return nil, false
	}
	e, found, sound := v.trees[executionTable].Get(numberKey(number))
	if !found {
		return nil, sound
	}
	row, err := checkpoint.DecodeRow(e.Value)
	if err != nil || row.Number != number {
		return nil, false
	}
	return row, true
}

// stream goes through a table, in the file and in what is logged.
type stream struct {
	v      *verifier
	t      table
	file   *btree.Cursor
	head   btree.Entry // where file stands
	inFile bool
	logged position

	key, value []byte
	ok         bool // there is a key
}

func (v *verifier) stream(t table) *stream {
	s := &stream{v: v, t: t}
	none := &ordered{}
	s.logged = none.seek("")
	if v.logged != nil && t != executionTable && t != journalTable {
		s.logged = v.logged.tables[t].seek("")
	}
	if v.has[t] {
		s.file = v.trees[t].Cursor()
		s.advance()
	}
	s.next()
	return s
}

// advance goes on in the file.
func (s *stream) advance() {
	if s.head, s.inFile = s.file.Next(); s.inFile && s.head.IsBucket() {
		s.v.bad(s.t, s.head.Key, nil, "the entry is marked as a bucket, so that its value is not found", nil)
	}
}

func (s *stream) next() {
	for s.ok = s.v.tick(); s.ok; {
		c := s.logged.change()
		if s.inFile && (c == nil || string(s.head.Key) < c.key) {
			s.key, s.value = s.head.Key, s.head.Value
			s.advance()
			return
		}
		if c == nil {
			s.ok = false
			return
		}
		if s.inFile && string(s.head.Key) == c.key {
			s.advance()
		}
		found := *c
		s.logged.next()
		if !found.deleted {
			s.key, s.value = []byte(found.key), found.value
			return
		}
	}
}

// rows goes through the executions. row is nil if it is damaged.
func (v *verifier) rows(yield func(number uint64, row *checkpoint.Row)) {
	var logged []uint64 // those that the log changes
	if v.logged != nil {
		logged = slices.Sorted(maps.Keys(v.logged.executions))
	}
	fromLog := func(number uint64) {
		x := v.logged.executions[number]
		if !x.changed() || x.removed {
			return
		}
		row, err := x.current()
		if err != nil {
			v.problem(Problem{File: v.path + logSuffix, Bucket: tableNames[executionTable], Number: number, What: "its row in the log can't be read: a newer release may have written it", Err: err})
		}
		yield(number, row)
	}
	for s := v.stream(executionTable); s.ok; s.next() {
		if len(s.key) != 8 {
			v.bad(executionTable, s.key, nil, "the key has a wrong size", nil)
			continue
		}
		number := binary.BigEndian.Uint64(s.key)
		for ; len(logged) > 0 && logged[0] < number; logged = logged[1:] {
			fromLog(logged[0])
		}
		if v.logged != nil {
			if x := v.logged.executions[number]; x != nil && x.changed() {
				continue // it comes from the log
			}
		}
		row, err := checkpoint.DecodeRow(s.value)
		switch {
		case err != nil:
			v.problem(Problem{Bucket: tableNames[executionTable], Key: s.key, Number: number, What: "the row can't be read", Err: err})
			row = nil
		case row.Number != number:
			v.problem(Problem{Bucket: tableNames[executionTable], Key: s.key, Number: number, What: fmt.Sprintf("it holds execution number %d, %s", row.Number, row.ID)})
			row = nil
		}
		yield(number, row)
	}
	for _, number := range logged {
		if v.err == nil {
			fromLog(number)
		}
	}
}
