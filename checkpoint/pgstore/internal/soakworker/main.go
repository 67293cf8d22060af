// Command soakworker is a process of the fleet that TestSoak does harm to. Built with
// the tag soaknext, some of its functions are others.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/internal/soak"
)

func main() {
	if err := soak.Serve(os.Getenv(soak.ChildVariable), open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// place is what a worker is told of its store.
type place struct {
	URL, Direct, Schema string // Direct leads past the proxy
	Lease               time.Duration
	NoListen            bool
}

// open waits for a server that is away.
func open(o soak.Orders) (s checkpoint.Store, err error) {
	var at place
	if err := json.Unmarshal([]byte(o.Store), &at); err != nil {
		return nil, err
	}
	opts := &pgstore.Options{Schema: at.Schema, Lease: at.Lease, NoListen: at.NoListen, Logger: slog.New(slog.DiscardHandler)}
	for until := time.Now().Add(3 * time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) { // a server recovers for as long as it takes
		if s, err = pgstore.Open(context.Background(), at.URL, opts); err == nil {
			break
		}
	}
	if err == nil && o.Plant == "TakesOverLate" {
		s = &late{s}
	}
	if err == nil && o.Plant == "WritesAlthoughDeposed" {
		s = depose(s.(*pgstore.Store), at)
	}
	return s, err
}

// late is the bug of a process that takes nothing over for a long time.
type late struct{ checkpoint.Store }

func (b *late) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	claims, err := b.Store.Claim(ctx, r)
	for i := range claims {
		if claims[i].Lost {
			time.Sleep(3 * time.Second)
			break
		}
	}
	return claims, err
}

// deposed is the bug of a process that writes although it is not the owner any more: when it
// is told so, and, as it may have nothing to write just then, when it finds its lease lost.
type deposed struct {
	*pgstore.Store
	at place

	mu    sync.Mutex
	owned map[string]checkpoint.Record // the last record of each execution that it has
}

func depose(s *pgstore.Store, at place) *deposed {
	d := &deposed{Store: s, at: at, owned: make(map[string]checkpoint.Record)}
	go func() {
		was, _ := s.Lease()
		for range time.Tick(5 * time.Millisecond) {
			now, _ := s.Lease()
			if now == was {
				continue
			}
			was = now
			d.mu.Lock()
			lost := d.owned
			d.owned = make(map[string]checkpoint.Record)
			d.mu.Unlock()
			for id, r := range lost {
				d.write(id, r)
			}
		}
	}()
	return d
}

func (d *deposed) has(id string, r checkpoint.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owned[id] = r
}

func (d *deposed) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	sum, created, err := d.Store.Create(ctx, c)
	if created && c.Claim {
		d.has(c.ID, c.Started)
	}
	return sum, created, err
}

func (d *deposed) Append(a checkpoint.Append, done func(error)) {
	d.Store.Append(a, func(err error) {
		switch {
		case errors.Is(err, checkpoint.ErrFenced) && len(a.Records) > 0:
			d.write(a.ID, a.Records[0])
		case err == nil && (a.Release != nil || a.Status != 0):
			d.mu.Lock()
			delete(d.owned, a.ID)
			d.mu.Unlock()
		case err == nil && len(a.Records) > 0:
			d.has(a.ID, a.Records[0])
		}
		done(err)
	})
}

func (d *deposed) write(id string, r checkpoint.Record) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.at.Direct)
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	schema := pgx.Identifier{d.at.Schema}.Sanitize()
	pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var number int64
		err := tx.QueryRow(ctx, `UPDATE `+schema+`.execution SET rev = coalesce(rev, 1) + 1, tail = coalesce(tail, 1) + 1, last_event = coalesce(last_event, tail, 1) + $2
			WHERE id = $1 RETURNING number, tail, last_event`, []byte(id), int64(r.Events)).Scan(&number, &r.Seq, &r.EventID)
		if err != nil {
			return err
		}
		r.EventID -= uint64(max(r.Events, 1)) - 1
		_, err = tx.Exec(ctx, `INSERT INTO `+schema+`.journal (number, seq, type, operation, at, data) VALUES ($1, $2, $3, $4, $5, $6)`,
			number, int64(r.Seq), int16(r.Type), r.OperationID, r.Time, checkpoint.AppendRecord(nil, &r))
		return err
	})
}
