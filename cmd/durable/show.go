package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable"
)

func newShowCommand(f *flags) *cobra.Command {
	var follow, history, all bool
	var operation string
	var payloads func() url.Values
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an execution: its state and the tree of its operations",
		Example: `  durable run show order-42 --follow             live, until it ends
  durable run show order-42 --operation 3-1      one operation, with what it returned
  durable run show order-42 --history -o jsonl   each event`,
		Args: args("ID"), ValidArgsFunction: f.completeExecution,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			id := given[0]
			switch {
			case operation != "" && (follow || history):
				return usageError("--operation goes with neither --follow nor --history")
			case operation != "":
				return f.showOperation(c, api, id, operation, payloads())
			case follow && (f.output != "table" || !isTerminal(c.OutOrStdout()) || history):
				return f.followEvents(c, api, id, payloads())
			case follow:
				return f.followTree(c, api, id, tree{paint: paintFor(c.OutOrStdout()), all: all}, payloads())
			case history:
				return f.history(c, api, id, payloads())
			}
			x, err := api.describe(c.Context(), id, payloads())
			if err != nil {
				return err
			}
			ops, err := api.operations(c.Context(), id, payloads())
			if err != nil {
				return err
			}
			if f.output != "table" {
				return f.printJSON(c.OutOrStdout(), map[string]any{"execution": x, "operations": ops})
			}
			t := tree{paint: paintFor(c.OutOrStdout()), all: all}
			for _, line := range t.lines(&x, ops) {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			return nil
		}),
	}
	payloads = payloadsFlag(c)
	fl := c.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "go on showing it until it has ended: a live tree on a terminal, else a line for each event")
	fl.BoolVar(&history, "history", false, "show its history, event by event")
	fl.BoolVar(&all, "all", false, "leave nothing out: all items of large batches, whole payloads")
	fl.StringVar(&operation, "operation", "", "show one operation, by its ID")
	c.RegisterFlagCompletionFunc("operation", f.completeOperations)
	return c
}

func (c *client) operations(ctx context.Context, id string, q url.Values) ([]durable.Operation, error) {
	var answer struct{ Operations []durable.Operation }
	err := c.get(ctx, executionPath(id, "operations"), q, &answer)
	return answer.Operations, err
}

func (f *flags) showOperation(c *cobra.Command, api *client, id, operation string, q url.Values) error {
	var o durable.Operation
	if err := api.get(c.Context(), executionPath(id, "operations", operation), q, &o); err != nil {
		return err
	}
	if f.output != "table" {
		return f.printJSON(c.OutOrStdout(), o)
	}
	out, p := c.OutOrStdout(), paintFor(c.OutOrStdout())
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-9s %s\n", name, text)
		}
	}
	field("id", printable(o.ID))
	field("name", printable(o.Name))
	field("type", kindOf(&o))
	field("status", p.status(string(o.Status)))
	if o.Attempt > 0 {
		field("attempt", strconv.Itoa(o.Attempt))
	}
	field("started", stamp(o.StartedAt))
	field("ended", stamp(o.EndedAt))
	field("wakes", stamp(o.WakeAt))
	field("result", printable(string(o.Result)))
	if o.Failure != nil {
		field("failure", failed(o.Failure))
		field("data", printable(string(o.Failure.Data)))
		if o.Failure.Stack != "" {
			fmt.Fprintf(out, "stack\n%s\n", printableLines(o.Failure.Stack))
		}
	}
	return nil
}

// history prints the events of an execution, page by page.
func (f *flags) history(c *cobra.Command, api *client, id string, q url.Values) error {
	all := []json.RawMessage{}
	var rows [][]string
	for after := int64(0); ; {
		var answer struct {
			Events []json.RawMessage `json:"events"`
			Next   int64             `json:"next"`
		}
		q.Set("limit", "1000")
		q.Set("after", strconv.FormatInt(after, 10))
		if err := api.get(c.Context(), executionPath(id, "history"), q, &answer); err != nil {
			return err
		}
		for _, raw := range answer.Events {
			switch f.output {
			case "jsonl":
				if err := f.printJSON(c.OutOrStdout(), raw); err != nil {
					return err
				}
			case "json":
				all = append(all, raw)
			default:
				var ev durable.Event
				if err := json.Unmarshal(raw, &ev); err != nil {
					return api.broken(err)
				}
				rows = append(rows, eventRow(&ev))
			}
		}
		if answer.Next == 0 {
			break
		}
		after = answer.Next
	}
	switch f.output {
	case "json":
		return f.printJSON(c.OutOrStdout(), all)
	case "table":
		table(c.OutOrStdout(), []string{"EVENT", "TIME", "TYPE", "OPERATION", "NAME", ""}, rows)
	}
	return nil
}

// eventRow is an event as a row of a table.
func eventRow(ev *durable.Event) []string {
	note := ""
	switch {
	case ev.Failure != nil:
		note = failed(ev.Failure)
	case ev.InvokedID != "":
		note = ev.Function + " as " + ev.InvokedID
	case ev.Duration > 0:
		note = duration(ev.Duration)
	case ev.NextAttemptDelay > 0:
		note = "again in " + duration(ev.NextAttemptDelay)
	}
	if ev.Attempt > 1 {
		note = fmt.Sprintf("attempt %d  %s", ev.Attempt, note)
	}
	return []string{strconv.FormatInt(ev.EventID, 10), ev.Time.Local().Format("2006-01-02 15:04:05.000"), ev.Type, ev.OperationID, cmpOr(ev.Name, ev.Function), note}
}
