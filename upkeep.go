package durable

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/durable-go/durable/checkpoint"
)

// Backup writes a copy of the store to w while it is used: all that was acknowledged
// before the call, of one moment. For a bbolt file see boltstore.Store.Backup: what is
// written is such a file, and holds the secret behind callback IDs and every payload. It
// is errors.ErrUnsupported for stores that have other tools for that, like PostgreSQL.
//
// written is how many bytes w has taken. After an error they are no store.
func (e *Engine) Backup(ctx context.Context, w io.Writer) (written int64, err error) {
	if err := e.takes(ctx); err != nil {
		return 0, err
	}
	s, ok := e.store.(checkpoint.Backuper)
	if !ok {
		return 0, fmt.Errorf("durable: backup: %w by this store: it has tools of its own", errors.ErrUnsupported)
	}
	written, err = s.Backup(ctx, w)
	if err != nil {
		err = e.outward(err)
	}
	return written, err
}
