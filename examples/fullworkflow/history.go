package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// history is what happened to an execution.
type history struct {
	Execution durable.ExecutionInfo `json:"execution"`
	Events    []durable.Event       `json:"events"`
}

// history prints the history of an execution, of the newest if id is "".
func (p program) history(ctx context.Context, db, id string) error {
	var h history
	err := withFile(ctx, db,
		func(e *durable.Engine) (err error) { h, err = readHistory(ctx, e, id); return err },
		func(r running) error {
			return r.ask(ctx, http.MethodGet, "/history?id="+url.QueryEscape(id), nil, &h)
		})
	if err != nil {
		return err
	}
	return h.print(p)
}

func readHistory(ctx context.Context, e *durable.Engine, id string) (h history, err error) {
	if id == "" {
		for info, err := range e.Executions(ctx, durable.Query{Function: workflow.Function.Name(), Limit: 1}) {
			if err != nil {
				return h, err
			}
			id = info.ID
		}
		if id == "" {
			return h, errors.New("nothing has been run on this file yet")
		}
	}
	if h.Execution, err = e.Describe(ctx, id); err != nil {
		return h, err
	}
	for ev, err := range e.History(ctx, id) {
		if err != nil {
			return h, err
		}
		ev.CallbackID = "" // who reads a history is not thereby allowed to answer
		h.Events = append(h.Events, ev)
	}
	return h, nil
}

func (h history) print(p program) error {
	x := h.Execution
	fmt.Fprintf(p.stdout, "%s of %s: %s, begun %s", x.ID, x.Function, x.Status, x.StartedAt.Local().Format(time.DateTime))
	if !x.EndedAt.IsZero() {
		fmt.Fprintf(p.stdout, ", ended %s later", short(x.EndedAt.Sub(x.StartedAt)))
	}
	fmt.Fprint(p.stdout, "\n\n")
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tAFTER\tOPERATION\tTYPE\tNAME\tDETAILS")
	for _, ev := range h.Events {
		fmt.Fprintf(w, "%d\t%.3f s\t%s\t%s\t%s\t%s\n", ev.EventID, ev.Time.Sub(x.StartedAt).Seconds(), ev.OperationID, ev.Type, ev.Name, details(ev))
	}
	return w.Flush()
}

// details is what else there is to say about an event, in one line.
func details(ev durable.Event) string {
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if ev.SubType != "" && !strings.HasPrefix(ev.Type, ev.SubType) {
		say("%s", ev.SubType)
	}
	if ev.Attempt > 1 {
		say("attempt %d", ev.Attempt)
	}
	if ev.Duration > 0 {
		say("of %s", ev.Duration)
	}
	if ev.Timeout > 0 {
		say("timeout %s", ev.Timeout)
	}
	if ev.NextAttemptDelay > 0 {
		say("again in %s", ev.NextAttemptDelay)
	}
	if ev.InvokedID != "" {
		say("of %s as %s", ev.Function, ev.InvokedID)
	}
	if ev.Failure != nil {
		say("%s: %s", ev.Failure.Type, ev.Failure.Message)
	}
	switch {
	case ev.Input != nil:
		say("input %s", cut(string(ev.Input)))
	case ev.Result != nil:
		say("%s", cut(string(ev.Result)))
	}
	return printable(strings.Join(said, ", "))
}

// cut is the beginning of a text, enough for a table.
func cut(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
