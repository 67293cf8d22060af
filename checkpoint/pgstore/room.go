package pgstore

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

// room is a message without a byte: it gives the driver a buffer in which what comes next has
// room, and which is used again. Its own begins small each time, so that a round of many
// would be copied five times over while it grows.
type room struct{ buf []byte }

// driversOwn is how large a buffer the driver keeps.
const driversOwn = 1024

// make makes room for as many bytes in the driver's next message.
func (r *room) make(f *pgproto3.Frontend, bytes int) {
	if bytes <= driversOwn {
		return
	}
	if r.buf = r.buf[:0]; cap(r.buf) > most && bytes < most {
		r.buf = nil
	}
	r.buf = slices.Grow(r.buf, driversOwn+bytes)
	f.Send(r)
}

// Encode puts what the driver has not sent yet into the buffer.
func (r *room) Encode(unsent []byte) ([]byte, error) {
	if len(unsent) > driversOwn { // it has this one already, or another one that is large
		return unsent, nil
	}
	return append(r.buf[:0], unsent...), nil
}

func (*room) Decode([]byte) error { return nil }
func (*room) Frontend()           {}
