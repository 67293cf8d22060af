package main

import (
	"testing"

	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
)

// startPostgres starts a server for a test and returns its URL.
func startPostgres(t *testing.T) (string, error) {
	server, err := pgtest.Start()
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { server.Close() })
	return server.URL(), nil
}
