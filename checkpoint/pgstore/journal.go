package pgstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/durable-go/durable/checkpoint"
)

// A row of a journal has the records of one execution that one round wrote, one behind the
// other, as many as fit into packBytes; its seq, type, operation and at are those of the last
// one. So seq > n finds all records behind n, perhaps with some before. The first record of
// all has a row of its own, and its type and at are null. A row of their own have also those
// that the transaction of a step writes, and those in executions that older programs can read.

// packBytes is how many bytes records have that share a row: who wants one of them reads all.
const packBytes = 1000

// lines are new rows of journals, by column.
type lines struct {
	numbers, seqs, ats []int64
	types              []int16
	operations         []string
	data               [][]byte
	bytes              []byte // of data
}

func (l *lines) reset() {
	l.numbers, l.seqs, l.ats, l.types = l.numbers[:0], l.seqs[:0], l.ats[:0], l.types[:0]
	l.operations, l.data = cleared(l.operations), cleared(l.data)
	if l.bytes = l.bytes[:0]; cap(l.bytes) > most {
		l.bytes = nil
	}
}

func (l *lines) add(number uint64, records []checkpoint.Record, pack bool) {
	for i := 0; i < len(records); i++ {
		start := len(l.bytes)
		l.bytes = checkpoint.AppendRecord(l.bytes, &records[i])
		for pack && records[i].Seq > 1 && i+1 < len(records) {
			end := len(l.bytes)
			if l.bytes = checkpoint.AppendRecord(l.bytes, &records[i+1]); len(l.bytes)-start > packBytes {
				l.bytes = l.bytes[:end]
				break
			}
			i++
		}
		r := &records[i]
		l.numbers, l.seqs = append(l.numbers, int64(number)), append(l.seqs, int64(r.Seq))
		l.data = append(l.data, l.bytes[start:len(l.bytes):len(l.bytes)])
		if pack && r.Seq == 1 {
			l.types, l.ats, l.operations = append(l.types, 0), append(l.ats, 0), append(l.operations, "")
			continue
		}
		l.types, l.ats = append(l.types, int16(r.Type)), append(l.ats, r.Time)
		l.operations = append(l.operations, legible(r.OperationID))
	}
}

func (l *lines) args() []any {
	return []any{l.numbers, l.seqs, l.types, l.operations, l.ats, l.data}
}

// legible is what a column of text takes.
func legible(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// decodeLast decodes the last record of a row, which has the number seq.
func decodeLast(data []byte, seq uint64) (r checkpoint.Record, err error) {
	for first := true; first || len(data) > 0; first = false {
		if r, data, err = checkpoint.DecodeRecord(data); err != nil {
			return r, err
		}
	}
	if r.Seq != seq {
		err = fmt.Errorf("it has the number %d", r.Seq)
	}
	return r, err
}

// decodeAll decodes the records of rows as far as they can be read and have the numbers that
// they should have, from after on; err is why not further. What the first row has before is
// left out. Who needs the others meets the error, too.
func decodeAll(rows [][]byte, after uint64) (all []checkpoint.Record, err error) {
	for i, data := range rows {
		for first := true; first || len(data) > 0; first = false {
			var r checkpoint.Record
			r, data, err = checkpoint.DecodeRecord(data)
			switch {
			case err == nil && i == 0 && r.Seq <= after && len(data) > 0:
				continue
			case err == nil && r.Seq != after+1:
				err = fmt.Errorf("it has the number %d", r.Seq)
			}
			if err != nil {
				return all, err
			}
			all = append(all, r)
			after = r.Seq
		}
	}
	return all, nil
}

var errMissing = errors.New("it is missing")
