module github.com/durable-go/durable/cmd/durable

go 1.26.0

require (
	github.com/durable-go/durable v0.0.0
	github.com/durable-go/durable/checkpoint/pgstore v0.0.0
	github.com/rogpeppe/go-internal v1.16.0
	github.com/spf13/cobra v1.10.2
	github.com/stretchr/testify v1.12.1
	golang.org/x/term v0.36.0
)

replace (
	github.com/durable-go/durable => ../..
	github.com/durable-go/durable/checkpoint/pgstore => ../../checkpoint/pgstore
)
