package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable"
)

func newListCommand(f *flags) *cobra.Command {
	var status, function, prefix, since, until string
	var limit int
	var payloads func() url.Values
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List executions, newest first",
		Example: "  durable run list --store orders.db --status failed --since 24h\n  durable run list -n 0 -o jsonl | jq -r .id",
		Args:    args(),
		RunE: func(c *cobra.Command, args []string) error {
			q := payloads()
			set := func(key, value string) {
				if value != "" {
					q.Set(key, value)
				}
			}
			set("status", strings.ToUpper(strings.ReplaceAll(status, "-", "_")))
			set("function", function)
			set("prefix", prefix)
			for key, text := range map[string]string{"startedAfter": since, "startedBefore": until} {
				t, err := moment(text)
				if err != nil {
					return err
				}
				set(key, t)
			}
			return f.with(func(c *cobra.Command, api *client, _ []string) error { return f.list(c, api, q, limit) })(c, args)
		},
	}
	payloads = payloadsFlag(c)
	fl := c.Flags()
	fl.StringVar(&status, "status", "", "only running, succeeded, failed, timed-out or stopped ones")
	fl.StringVar(&function, "function", "", "only executions of this function")
	fl.StringVar(&prefix, "prefix", "", "only IDs that begin so")
	fl.StringVar(&since, "since", "", "only started since: a duration like 24h, or a time")
	fl.StringVar(&until, "until", "", "only started before: a duration like 24h, or a time")
	fl.IntVarP(&limit, "limit", "n", 50, "at most so many; 0: all")
	c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"running", "succeeded", "failed", "timed-out", "stopped"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// moment is a time as the API takes it, of a time or of how long ago it was.
func moment(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", usageError("%q is neither a duration like 24h nor a time like 2006-01-02 15:04", text)
}

// list prints executions, page by page.
func (f *flags) list(c *cobra.Command, api *client, q url.Values, limit int) error {
	const page = 500
	all, out := []json.RawMessage{}, c.OutOrStdout()
	var rows [][]string
	for n := 0; ; {
		q.Set("limit", strconv.Itoa(page))
		if limit > 0 {
			q.Set("limit", strconv.Itoa(min(page, limit-n)))
		}
		var answer struct {
			Executions []json.RawMessage `json:"executions"`
			Next       string            `json:"next"`
		}
		if err := api.get(c.Context(), "/executions", q, &answer); err != nil {
			return err
		}
		for _, raw := range answer.Executions {
			switch f.output {
			case "jsonl":
				if err := f.printJSON(out, raw); err != nil {
					return err
				}
			case "json":
				all = append(all, raw)
			default:
				var x execution
				if err := json.Unmarshal(raw, &x); err != nil {
					return api.broken(err)
				}
				rows = append(rows, listed(&x, time.Now()))
			}
		}
		n += len(answer.Executions)
		if answer.Next == "" || limit > 0 && n >= limit {
			return f.listDone(c, rows, all, answer.Next != "")
		}
		q.Set("cursor", answer.Next)
	}
}

func (f *flags) listDone(c *cobra.Command, rows [][]string, all []json.RawMessage, more bool) error {
	switch {
	case f.output == "json":
		return f.printJSON(c.OutOrStdout(), all)
	case f.output == "jsonl":
	case len(rows) == 0:
		fmt.Fprintln(c.ErrOrStderr(), "no executions")
	default:
		table(c.OutOrStdout(), []string{"ID", "FUNCTION", "STATUS", "STARTED", "TOOK", "WAITS"}, rows)
	}
	if more {
		fmt.Fprintf(c.ErrOrStderr(), "there are more: -n 0 lists all\n")
	}
	return nil
}

// unreadable is what is told of an execution whose payloads the service could not read.
const unreadable = "can't be read: damaged, or its key is missing"

// listed is the row of an execution.
func listed(x *execution, now time.Time) []string {
	took, waiting := "", ""
	switch {
	case x.Unreadable && x.Status != durable.ExecutionRunning:
		took, waiting = duration(x.EndedAt.Sub(x.StartedAt)), unreadable
	case x.Unreadable:
		waiting = unreadable
	case x.Status != durable.ExecutionRunning:
		took = duration(x.EndedAt.Sub(x.StartedAt))
	case x.Held != nil:
		waiting = "for code that fits: " + x.Held.Message
	case x.Resident:
		waiting = "in memory"
	case x.WakeAt.After(now):
		waiting = "until " + stamp(x.WakeAt)
	default:
		waiting = waits(x.WakeAt, now)
	}
	return []string{x.ID, x.Function, statusOf(&x.ExecutionInfo), stamp(x.StartedAt), took, waiting}
}
