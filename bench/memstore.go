package main

import (
	"context"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// memStore is ours with nothing on disk: what the engine costs by itself.
type memStore struct{}

func (memStore) name() string { return "durable memory" }
func (memStore) kind() kind   { return reference }
func (memStore) about() string {
	return durableVersion() + "; memstore: NOT durable, shows what the engine costs by itself"
}

func (memStore) limit(workload string) limit {
	switch workload {
	case "replay", "parked", "parked more", "bytes":
		return cannot("nothing is on disk")
	}
	return limit{}
}

func (memStore) open(_ context.Context, _ string, r residence) (engine, error) {
	e, err := durable.New(memstore.New(), durableOptions(r))
	if err != nil {
		return nil, err
	}
	return durableEngine{e, "none: memory only"}, nil
}
