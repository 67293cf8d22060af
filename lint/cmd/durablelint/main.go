// Command durablelint reports mistakes in the handlers of durable functions.
//
//	durablelint ./...                              alone
//	go vet -vettool=$(which durablelint) ./...     with go vet and its cache
//
// Its rules, and how to allow what is reported, are in the README of the module
// github.com/durable-go/durable/lint.
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/durable-go/durable/lint"
)

func main() { singlechecker.Main(lint.New()) }
