package main

import (
	"context"
	"path/filepath"

	"github.com/durable-go/durable"
)

// boltStore is ours on its default store.
type boltStore struct{}

func (boltStore) name() string { return "durable bolt" }
func (boltStore) kind() kind   { return ours }
func (boltStore) about() string {
	return durableVersion() + "; durable.Open, default options, fsync on; Map for what fans out"
}

func (boltStore) limit(string) limit { return limit{} }

func (boltStore) open(_ context.Context, folder string, r residence) (engine, error) {
	e, err := durable.Open(filepath.Join(folder, "durable.db"), durableOptions(r))
	if err != nil {
		return nil, err
	}
	return durableEngine{e, "durable.Open has no mode without flushes"}, nil
}
