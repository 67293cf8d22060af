package pgstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestReadsThatCollide has the server give up each question twice in favour of others, as
// it may where transactions are serializable by default.
func TestReadsThatCollide(t *testing.T) {
	c := need(t)
	ctx := t.Context()
	for _, code := range []string{"40001", "40P01", "55P03"} {
		t.Run(code, func(t *testing.T) {
			schema := c.Schema()
			s := open(t, schema, pgstore.Options{Lease: time.Hour, Poll: time.Hour, NoListen: true})
			create(t, s, "x", false)
			create(t, s, "y", false)
			_, err := s.End(ctx, checkpoint.Ending{ID: "y", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
			collide := strings.NewReplacer("$S", pgx.Identifier{schema}.Sanitize(), "$CODE", code)
			c.exec(t, collide.Replace(`CREATE SEQUENCE $S.questions;
				CREATE FUNCTION $S.collide() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
					IF nextval('$S.questions') <= 2 THEN RAISE EXCEPTION 'others were faster' USING ERRCODE = '$CODE'; END IF;
					RETURN true;
				END $$;
				ALTER TABLE $S.execution RENAME TO e; CREATE VIEW $S.execution AS SELECT * FROM $S.e WHERE $S.collide()`))
			for name, ask := range map[string]func() error{
				"Get":    func() error { _, err := s.Get(ctx, "x"); return err },
				"Find":   func() error { _, err := s.Find(ctx, 1); return err },
				"Count":  func() error { _, err := s.Count(ctx, checkpoint.Query{}); return err },
				"Inbox":  func() error { _, err := s.Inbox(ctx, "x", 0); return err },
				"Expire": func() error { _, err := s.Expire(ctx, s.Now().Add(time.Hour), 1); return err },
				"NextDue": func() error {
					_, err := s.NextDue(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b"})
					return err
				},
				"List": func() (err error) {
					for _, e := range s.List(ctx, checkpoint.Query{}) {
						err = e
					}
					return err
				},
				"Records": func() (err error) {
					for _, e := range s.Records(ctx, "x", 0) {
						err = e
					}
					return err
				},
			} {
				c.exec(t, collide.Replace(`ALTER SEQUENCE $S.questions RESTART`))
				require.NoError(t, ask(), name)
				require.NotZero(t, c.exec(t, collide.Replace(`SELECT FROM $S.questions WHERE last_value > 2`)), "%s was not hindered", name)
			}
		})
	}
}

// TestStrictIsolation has stores work on each other's executions in databases whose
// transactions see less of each other than usual.
func TestStrictIsolation(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer knows no other database")
	}
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprint("isolated_", publications.Add(1))
			c.exec(t, "CREATE DATABASE "+name)
			c.exec(t, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_isolation = '%s'", name, level))
			at, schema := c.database(t, name), c.Schema()
			const stores, each = 4, 25
			var all sync.WaitGroup
			for n := range stores {
				all.Go(func() { // all make the tables
					s, err := pgstore.Open(t.Context(), at, &pgstore.Options{Schema: schema, Poll: 10 * time.Millisecond})
					if err != nil {
						t.Error(err)
						return
					}
					defer s.Close()
					for i := range each {
						own, other := fmt.Sprint(n, "-", i), fmt.Sprint((n+1)%stores, "-", i)
						sum, created, err := s.Create(t.Context(), creation(own, "f", true))
						if err != nil || !created {
							t.Errorf("create: %v, %v", created, err)
							return
						}
						for tail := range uint64(3) {
							if err := appendTo(s, step(sum, tail+1)); err != nil {
								t.Error(err)
							}
						}
						cancel := checkpoint.Delivery{ID: other, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}
						for _, err := s.Get(t.Context(), other); err != nil; _, err = s.Get(t.Context(), other) { // the other one will make it
							if t.Failed() {
								return
							}
						}
						if err := s.Deliver(t.Context(), cancel); err != nil {
							t.Error(err)
						}
						if _, err := s.Count(t.Context(), checkpoint.Query{}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			s := openAt(t, at, schema, pgstore.Options{})
			for n := range stores {
				for i := range each {
					sum, err := s.Get(t.Context(), fmt.Sprint(n, "-", i))
					require.NoError(t, err)
					require.EqualValues(t, 4, sum.Tail)
					inbox, err := s.Inbox(t.Context(), sum.ID, 0)
					require.NoError(t, err)
					require.Len(t, inbox, 1)
					require.False(t, sum.Owned, "its store is closed")
				}
			}
		})
	}
}
