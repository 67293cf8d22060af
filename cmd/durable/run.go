package main

import (
	"context"
	"maps"
	"net/url"

	"github.com/spf13/cobra"
)

func newRunCommand(f *flags) *cobra.Command {
	c := &cobra.Command{Use: "run", Aliases: []string{"runs"}, Short: "Executions: list, show, start, cancel, retry …"}
	c.AddCommand(newListCommand(f), newShowCommand(f), newStartCommand(f), newResultCommand(f),
		newCancelCommand(f), newStopCommand(f), newResumeCommand(f), newRetryCommand(f), newRestartCommand(f),
		newDeleteCommand(f), newExportCommand(f), newImportCommand(f))
	return c
}

// with makes a command's function of one that needs a client.
func (f *flags) with(do func(c *cobra.Command, api *client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		api, err := f.connect(c.Context())
		if err != nil {
			return err
		}
		err = do(c, api, args)
		if closing := api.close(); err == nil {
			err = closing
		}
		return err
	}
}

// describe asks for one execution.
func (c *client) describe(ctx context.Context, id string, q url.Values) (x execution, err error) {
	return x, c.get(ctx, executionPath(id), q, &x)
}

// reveal is the query that asks for payloads also where they are hidden.
var reveal = url.Values{"payloads": {"true"}}

// payloadsFlag gives a command the flag --payloads, and returns the query that it means.
func payloadsFlag(c *cobra.Command) func() url.Values {
	show := c.Flags().Bool("payloads", false, "show inputs and results also where the program hides them, if you may see them")
	return func() url.Values {
		if *show {
			return maps.Clone(reveal)
		}
		return url.Values{}
	}
}
