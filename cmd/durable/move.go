package main

import (
	"encoding/json"
	"io"
	"net/url"

	"github.com/spf13/cobra"
)

func newExportCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "export ID",
		Short: "Print the recording of an execution, for replay and import",
		Long: `Print the recording of an execution as JSON: all that is recorded of it, inputs and
results in plain text, without callback IDs. durabletest.Replay, and durable.Replay, run
today's code over it; import brings it into another store.`,
		Example: "  durable run export order-42 > order-42.json",
		Args:    args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			var recording json.RawMessage
			if err := api.get(c.Context(), executionPath(given[0], "recording"), reveal, &recording); err != nil {
				return err
			}
			out := c.OutOrStdout().(*guard)
			if out.terminal {
				return f.printJSON(out, recording)
			}
			return f.printJSON(out.out, recording) // to the byte: results are compared by a replay
		}),
	}
}

func newImportCommand(f *flags) *cobra.Command {
	var id string
	var newKeys bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Bring a recording into the store, as export printed it",
		Long: `Bring a recording into the store; - is standard input. An execution that had ended
stays as it ended; one that had not goes on in whatever program runs the store, under the
idempotency keys that it has where it was recorded: see that it does not run there, too.
Prints its ID.`,
		Args: args("FILE"),
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			data, err := jsonArgument(c, "@"+given[0])
			if err != nil {
				return err
			}
			q := url.Values{}
			if id != "" {
				q.Set("id", id)
			}
			if newKeys {
				q.Set("newIdempotencyKeys", "true")
			}
			var started newExecution
			if err := api.postTo(c.Context(), "/import", q, data, &started); err != nil {
				return err
			}
			return f.printID(c, started)
		}),
	}
	c.Flags().StringVar(&id, "id", "", "ID of the execution; default: that of the recording")
	newKeysFlag(c, &newKeys)
	return c
}

// newReplayCommand tells how to step through a recording: it takes the program's own code.
func newReplayCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "replay",
		Short: "How to step through a recorded execution with a debugger",
		Args:  args(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), replayHelp)
			return err
		},
	}
}

const replayHelp = `A recording is replayed by your own code, so that takes a test of yours:

  1.  durable run export order-42 --store orders.db > testdata/order-42.json

  2.  func TestReplayOrder42(t *testing.T) {
          durabletest.Replay(t, durabletest.Config{Functions: []durable.Definition{order}}, "testdata/order-42.json")
      }

  3.  go test -run TestReplayOrder42 .            passes, or says where the code differs
      dlv test . -- -test.run TestReplayOrder42   steps through it: break in the handler

No body of a step that has an outcome runs: each operation returns what it returned
then. docs/debugging.md shows what one sees.
`

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), version()+"\n")
			return err
		},
	}
}
