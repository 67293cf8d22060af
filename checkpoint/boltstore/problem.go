package boltstore

import (
	"fmt"
	"strings"
)

// Problem is something that Verify found wrong, and its place, as far as that is known.
type Problem struct {
	File      string // of the store, or of its log
	Page      uint64 // of bbolt's file; 0: the place is not a page
	Bucket    string // of bbolt's file
	Key       []byte // in the bucket
	Number    uint64 // of the execution; 0: it concerns none, or it is not known which
	Execution string // its ID
	Operation string // its ID
	What      string
	Err       error // may be nil
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	say := func(given bool, format string, args ...any) {
		if given {
			fmt.Fprintf(&b, format, args...)
		}
	}
	say(p.Page != 0, ": page %d", p.Page)
	say(p.Bucket != "", ": %s", p.Bucket)
	say(len(p.Key) > 0, " %x", p.Key)
	say(p.Execution != "", ": execution %s", p.Execution)
	say(p.Execution == "" && p.Number != 0, ": execution number %d", p.Number)
	say(p.Operation != "", ", operation %s", p.Operation)
	say(true, ": %s", p.What)
	say(p.Err != nil, ": %v", p.Err)
	return b.String()
}
