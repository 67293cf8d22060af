package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newCancelCommand(f *flags) *cobra.Command {
	return newEndCommand(f, "cancel", "Ask an execution to end",
		"Ask an execution to end: its waiting operations fail with ErrCanceled, the contexts of its\nrunning steps end, and its code may clean up.")
}

func newStopCommand(f *flags) *cobra.Command {
	return newEndCommand(f, "stop", "End an execution at once",
		"End an execution at once, as STOPPED. None of its code runs any more, not even what\ncleans up; cancel is kinder.")
}

// newEndCommand makes cancel and stop.
func newEndCommand(f *flags, verb, short, long string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: verb + " ID …", Short: short, Long: long,
		Args: atLeastOne, ValidArgsFunction: f.completeExecutions,
		RunE: f.with(func(c *cobra.Command, api *client, ids []string) error {
			return each(c, ids, func(id string) error {
				return api.post(c.Context(), executionPath(id, verb), map[string]string{"reason": reason}, nil)
			})
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	return c
}

func newResumeCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "resume ID …", Short: "Lift a hold: let the code try again",
		Args: atLeastOne, ValidArgsFunction: f.completeExecutions,
		RunE: f.with(func(c *cobra.Command, api *client, ids []string) error {
			return each(c, ids, func(id string) error {
				return api.post(c.Context(), executionPath(id, "resume"), nil, nil)
			})
		}),
	}
}

func newRetryCommand(f *flags) *cobra.Command {
	var id string
	c := &cobra.Command{
		Use:   "retry ID",
		Short: "Run a failed execution again, from what failed",
		Long: `Start a new execution with the input of one that failed, timed out or was stopped.
It keeps what succeeded; what failed, or did not end, runs again. Prints the new ID.`,
		Args: args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			return f.again(c, api, executionPath(given[0], "retry"), map[string]string{}, id)
		}),
	}
	c.Flags().StringVar(&id, "id", "", "ID of the new execution")
	return c
}

func newRestartCommand(f *flags) *cobra.Command {
	var id, from string
	c := &cobra.Command{
		Use:   "restart ID",
		Short: "Run an ended execution again, from a chosen operation",
		Long: `Start a new execution with the input of one that has ended. It keeps the recorded
outcomes before the operation --from; that one, and what came after it, runs again.
Prints the new ID.`,
		Example: "  durable run restart order-42 --from 3-1\n  durable run restart order-42              # from the very beginning",
		Args:    args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			return f.again(c, api, executionPath(given[0], "restart"), map[string]string{"operation": from}, id)
		}),
	}
	c.Flags().StringVar(&from, "from", "", "ID of an operation, as show prints it; default: from the beginning")
	c.Flags().StringVar(&id, "id", "", "ID of the new execution")
	c.RegisterFlagCompletionFunc("from", f.completeOperations)
	return c
}

// again asks for an execution that begins with what another one has recorded.
func (f *flags) again(c *cobra.Command, api *client, path string, in map[string]string, id string) error {
	if id != "" {
		in["id"] = id
	}
	var started newExecution
	if err := api.post(c.Context(), path, in, &started); err != nil {
		return err
	}
	return f.printID(c, started)
}

func newDeleteCommand(f *flags) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete ID …", Short: "Delete executions that have ended, with all that is recorded of them",
		Args: atLeastOne, ValidArgsFunction: f.completeExecutions,
		RunE: f.with(func(c *cobra.Command, api *client, ids []string) error {
			if !yes {
				if !confirmed(c, fmt.Sprintf("Delete %s for good?", strings.Join(ids, ", "))) {
					return usageError("nothing was deleted: confirm with yes, or give --yes")
				}
			}
			return each(c, ids, func(id string) error { return api.delete(c.Context(), executionPath(id)) })
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// confirmed asks a question on a terminal; elsewhere the answer is no.
func confirmed(c *cobra.Command, question string) bool {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", printable(question))
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func atLeastOne(c *cobra.Command, given []string) error {
	if len(given) == 0 {
		return usageError("%s takes the ID of an execution, or several", c.CommandPath())
	}
	return nil
}

// each does something for each execution. One that fails does not keep it from the
// others; the error is the first one.
func each(c *cobra.Command, ids []string, do func(id string) error) error {
	var first error
	for _, id := range ids {
		err := do(id)
		if err == nil || c.Context().Err() != nil {
			if err != nil {
				return err
			}
			continue
		}
		if len(ids) > 1 {
			fmt.Fprintf(c.ErrOrStderr(), "durable: %s\n", oneLine(err.Error()))
			err = &codedError{exitCodeOf(c.Context(), err), fmt.Errorf("not all of them")}
		}
		if first == nil {
			first = err
		}
	}
	return first
}
