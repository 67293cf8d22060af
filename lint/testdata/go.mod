// The code that the analyzer is tested with, against the real library. It is a
// module of its own so that lint needs no replace line, which would forbid
// go install …/cmd/durablelint@latest.
module github.com/durable-go/durable/lint/testdata

go 1.26.0

require (
	github.com/durable-go/durable v0.0.0
	github.com/google/uuid v1.6.0
	golang.org/x/sync v0.24.0
)

require (
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/durable-go/durable => ../..
