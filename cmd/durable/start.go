package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type newExecution struct {
	ID string `json:"id"`
}

func newStartCommand(f *flags) *cobra.Command {
	var id, file string
	var timeout time.Duration
	var wait bool
	c := &cobra.Command{
		Use:   "start FUNCTION [INPUT]",
		Short: "Start an execution and print its ID",
		Long: `Start an execution and print its ID. INPUT is JSON, or the name of a file behind an @;
@- is standard input. Without it the input is null.

The function must be one of the program that is asked; in a database it may be one
of any program, and the execution waits for one that has it. In a file that no program
has open nothing can be started.`,
		Example: `  durable run start greet '"World"' --id greet-1 --wait`,
		Args:    args("FUNCTION", "[INPUT]"), ValidArgsFunction: f.completeFunction,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			in := map[string]any{"function": given[0]}
			if len(given) == 2 {
				file = given[1]
			}
			if file != "" {
				input, err := jsonArgument(c, file)
				if err != nil {
					return err
				}
				in["input"] = input
			}
			if id != "" {
				in["id"] = id
			}
			if timeout != 0 {
				in["timeout"] = timeout.String()
			}
			var started newExecution
			err := api.post(c.Context(), "/executions", in, &started)
			if e, ok := errors.AsType[*apiError](err); ok && e.Code == "function_not_found" && api.engine != nil {
				e.Text = fmt.Sprintf("no program has %s open: start the one that has the function %q, serving beside the file (durablehttp.ServeBeside), and try again", api.about, given[0])
			}
			if err != nil {
				return err
			}
			if wait {
				fmt.Fprintln(c.ErrOrStderr(), printable(started.ID))
				return f.result(c, api, started.ID, 0)
			}
			return f.printID(c, started)
		}),
	}
	c.Flags().StringVar(&id, "id", "", "ID of the execution; the same ID, function and input start nothing twice")
	c.Flags().DurationVar(&timeout, "timeout", 0, "the execution ends as TIMED_OUT after this")
	c.Flags().BoolVar(&wait, "wait", false, "wait for the result and print it")
	return c
}

func (f *flags) printID(c *cobra.Command, x newExecution) error {
	if f.output == "table" {
		fmt.Fprintln(c.OutOrStdout(), printable(x.ID))
		return nil
	}
	return f.printJSON(c.OutOrStdout(), x)
}

// jsonArgument is JSON that is an argument, or in the file that it names behind an @.
func jsonArgument(c *cobra.Command, arg string) (json.RawMessage, error) {
	data, name := []byte(arg), "the argument"
	if path, ok := strings.CutPrefix(arg, "@"); ok {
		var err error
		if name = path; path == "-" {
			name = "standard input"
			data, err = io.ReadAll(c.InOrStdin())
		} else {
			data, err = os.ReadFile(path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil, &codedError{exitNotFound, err}
		} else if err != nil {
			return nil, err
		}
	}
	if !json.Valid(data) {
		return nil, usageError("%s is not JSON; a text needs quotes: '\"text\"'", name)
	}
	return data, nil
}

func newResultCommand(f *flags) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:               "result ID",
		Short:             "Wait for the result of an execution and print it",
		Long:              "Wait for the result of an execution and print it as JSON. If the execution did not\nsucceed, say why and exit with code 5.",
		Args:              args("ID"),
		ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			return f.result(c, api, given[0], wait)
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 0, "give up after this, with code 4; default: never")
	return c
}

// result waits for the result of an execution and prints it.
func (f *flags) result(c *cobra.Command, api *client, id string, wait time.Duration) error {
	ctx := c.Context()
	deadline := time.Now().Add(wait)
	for {
		q := url.Values{"wait": {"30s"}, "payloads": {"true"}}
		if wait > 0 {
			q.Set("wait", max(0, min(30*time.Second, time.Until(deadline))).String())
		}
		raw, err := api.result(ctx, id, q)
		if api, ok := errors.AsType[*apiError](err); ok && api.Failure != nil {
			return &codedError{exitFailed, fmt.Errorf("execution %s did not succeed: %w", id, api.Failure)}
		}
		if err != nil {
			return err
		}
		if raw != nil {
			return f.printJSON(c.OutOrStdout(), raw)
		}
		if wait > 0 && time.Now().After(deadline) {
			return &codedError{exitConflict, fmt.Errorf("execution %s is still running", id)}
		}
	}
}

// result asks for a result; it is nil while the execution is running.
func (c *client) result(ctx context.Context, id string, q url.Values) (json.RawMessage, error) {
	answer, err := c.send(ctx, "GET", executionPath(id, "result"), q, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, c.broken(err)
	case answer.StatusCode == http.StatusAccepted:
		return nil, nil
	}
	return raw, nil
}
