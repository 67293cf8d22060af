//go:build !unix

package main

import (
	"errors"
	"testing"
)

func startPostgres(*testing.T) (string, error) {
	return "", errors.New("PostgreSQL is started on Unix only")
}
