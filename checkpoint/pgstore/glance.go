package pgstore

import (
	"context"

	"github.com/durable-go/durable/checkpoint"
	"github.com/jackc/pgx/v5"
)

var _ checkpoint.Glancer = (*Store)(nil)

// Glance tells with one statement how far executions are.
func (s *Store) Glance(ctx context.Context, ids []string) (glances []checkpoint.Glance, err error) {
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		hashes[i] = s.sql.layout.idKey(id)
	}
	err = s.read(ctx, s.opts.Lease, s.question(s.sql.glance, func(rows pgx.Rows) error {
		glances = make([]checkpoint.Glance, 0, len(ids))
		var g checkpoint.Glance
		var id, incarnation []byte
		var status int16
		var tail int64
		_, err := pgx.ForEachRow(rows, []any{&id, &incarnation, &status, &tail, &g.Held}, func() error {
			g.ID, g.Status, g.Tail = string(id), checkpoint.Status(status), uint64(tail)
			copy(g.Incarnation[:], incarnation)
			glances = append(glances, g)
			return nil
		})
		return err
	}, hashes))
	if err != nil {
		return nil, err
	}
	return glances, nil
}
