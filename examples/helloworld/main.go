// Command helloworld calls the function that examples/fullworkflow invokes: it
// reads its input as JSON from standard input and prints its output.
//
//	echo '{"name": "Ada"}' | go run ./examples/helloworld
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/durable-go/durable/examples/helloworld/hello"
	"github.com/durable-go/durable/examples/internal/input"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, `usage: helloworld < input.json    (input: {"name": "Ada", "message": "Hello"}, both may be absent)`)
		os.Exit(2)
	}
	var stdin io.Reader = os.Stdin
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		stdin = bytes.NewReader(nil) // nobody is going to type JSON: greet the world
	}
	if err := run(stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "helloworld:", err)
		os.Exit(1)
	}
}

func run(stdin io.Reader, stdout io.Writer) error {
	data, name, err := input.Read("-", stdin)
	if err != nil {
		return err
	}
	var in hello.Input
	if len(bytes.TrimSpace(data)) > 0 {
		if err := input.Decode(name, data, &in); err != nil {
			return err
		}
	}
	out, err := hello.Greet(context.Background(), in)
	if err != nil {
		return err
	}
	e := json.NewEncoder(stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
