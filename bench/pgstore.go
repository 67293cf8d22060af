package main

import (
	"context"
	"log/slog"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// pgStore is ours on Postgres.
type pgStore struct{ postgres }

func (pgStore) name() string { return "durable Postgres" }
func (pgStore) kind() kind   { return ours }
func (pgStore) about() string {
	return durableVersion() + "; pgstore.Open, default options; a schema a run, dropped at its end"
}

func (pgStore) limit(string) limit { return limit{} }

func (s pgStore) open(ctx context.Context, folder string, r residence) (engine, error) {
	store, err := pgstore.Open(ctx, s.url, &pgstore.Options{Schema: schemaOf(folder), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	e, err := durable.New(store, durableOptions(r))
	if err != nil {
		return nil, err
	}
	return pgEngine{durableEngine{Engine: e}, s}, nil
}

type pgEngine struct {
	durableEngine
	store pgStore
}

func (e pgEngine) durability(ctx context.Context) (string, error) { return e.store.durability(ctx) }
