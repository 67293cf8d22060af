package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/durable-go/durable"
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
	var drop, newKeys bool
	c := &cobra.Command{
		Use:   "retry ID",
		Short: "Run a failed execution again, from what failed",
		Long: `Start a new execution with the input of one that failed, timed out or was stopped.
It keeps what succeeded; what failed, or did not end, runs again, under the idempotency keys
that it had. Prints the new ID.

What the code did after the failure, such as a refund, would be forgotten: retry says what
that is and asks, or takes --drop. If it undid what others did, restart from the first
operation that was undone, with --new-keys. An execution that was invoked by another one is
retried with that one, which keeps what it has finished.`,
		Example: "  durable run retry order-42\n  durable run restart order-42 --from 1 --new-keys   # it was charged and refunded: charge it again",
		Args:    args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			in := withNewKeys(map[string]any{}, newKeys)
			if drop {
				in["allowDrop"] = true
			}
			err := f.again(c, api, executionPath(given[0], "retry"), in, id)
			refusal, _ := errors.AsType[*apiError](err)
			if refusal == nil || refusal.Code != "would_drop" || !confirmed(c, given[0]+": "+wouldDrop(refusal.Dropped)+". Forget that?") {
				return err
			}
			in["allowDrop"] = true
			return f.again(c, api, executionPath(given[0], "retry"), in, id)
		}),
	}
	c.Flags().StringVar(&id, "id", "", "ID of the new execution")
	c.Flags().BoolVar(&drop, "drop", false, "forget what happened after the failure")
	newKeysFlag(c, &newKeys)
	return c
}

func newKeysFlag(c *cobra.Command, newKeys *bool) {
	c.Flags().BoolVar(newKeys, "new-keys", false, "give what runs again new idempotency keys, so that receivers do it once more")
}

// withNewKeys adds to a request what older services do not know only if it is asked for.
func withNewKeys(in map[string]any, newKeys bool) map[string]any {
	if newKeys {
		in["newIdempotencyKeys"] = true
	}
	return in
}

// wouldDrop says what a retry would forget.
func wouldDrop(dropped []durable.DroppedOperation) string {
	const most = 10
	var list []string
	for i, o := range dropped {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(dropped)-most))
			break
		}
		list = append(list, o.String())
	}
	return "a retry would forget what happened: " + strings.Join(list, "; ")
}

func newRestartCommand(f *flags) *cobra.Command {
	var id, from string
	var newKeys bool
	c := &cobra.Command{
		Use:   "restart ID",
		Short: "Run an ended execution again, from a chosen operation",
		Long: `Start a new execution with the input of one that has ended. It keeps the recorded
outcomes before the operation --from; that one, and what came after it, runs again, under
the idempotency keys that it had: receivers that heed them do nothing twice. With --new-keys
they do it once more, as they should if it was undone in between. Prints the new ID.

To run again what failed, use retry, which finds it. One that was invoked by another one
runs alone after a restart: nobody takes its result.`,
		Example: "  durable run restart order-42 --from 3-1\n  durable run restart order-42              # from the very beginning",
		Args:    args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			return f.again(c, api, executionPath(given[0], "restart"), withNewKeys(map[string]any{"operation": from}, newKeys), id)
		}),
	}
	c.Flags().StringVar(&from, "from", "", "ID of an operation, as show prints it; default: from the beginning")
	c.Flags().StringVar(&id, "id", "", "ID of the new execution")
	newKeysFlag(c, &newKeys)
	c.RegisterFlagCompletionFunc("from", f.completeOperations)
	return c
}

// again asks for an execution that begins with what another one has recorded.
func (f *flags) again(c *cobra.Command, api *client, path string, in map[string]any, id string) error {
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
