package memstore

import (
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// journal is the records of an execution, as the rounds that wrote them: what an
// append brings is kept as it is, and nothing is copied when the journal grows.
type journal [][]checkpoint.Record

func (j journal) first() checkpoint.Record { return j[0][0] }

func (j journal) last() checkpoint.Record {
	round := j[len(j)-1]
	return round[len(round)-1]
}

// after returns up to most records behind a sequence number.
func (j journal) after(seq uint64, most int) []checkpoint.Record {
	// The last round that begins at or before the record that is looked for.
	at, found := slices.BinarySearchFunc(j, seq+1, func(round []checkpoint.Record, seq uint64) int {
		switch first := round[0].Seq; {
		case first < seq:
			return -1
		case first > seq:
			return 1
		}
		return 0
	})
	if !found {
		at = max(at-1, 0)
	}
	if len(j) == 0 || j.last().Seq <= seq {
		return nil
	}
	records := make([]checkpoint.Record, 0, min(j.last().Seq-seq, uint64(most)))
	for ; at < len(j) && len(records) < most; at++ {
		round := j[at]
		if skip := seq + 1 - round[0].Seq; round[0].Seq <= seq { // they have no gaps
			round = round[min(skip, uint64(len(round))):]
		}
		records = append(records, round[:min(len(round), most-len(records))]...)
	}
	return records
}
