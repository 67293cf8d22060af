package main

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable"
)

// Shells ask for these while somebody types: they are quick, or say nothing.

// completions asks the program, file or database that the flags so far name. A
// completion is a word, and what it is behind a tab.
func (f *flags) completions(c *cobra.Command, ask func(ctx context.Context, api *client) []string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if c.Root().PersistentPreRunE(c, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	api, err := f.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer api.close()
	return slices.DeleteFunc(ask(ctx, api), func(c string) bool {
		word, _, _ := strings.Cut(c, "\t")
		return word != printable(word) // nobody can type it
	}), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeExecution completes the ID of one execution.
func (f *flags) completeExecution(c *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.completeExecutions(c, given, prefix)
}

// completeExecutions completes IDs of executions.
func (f *flags) completeExecutions(c *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return f.completions(c, func(ctx context.Context, api *client) (ids []string) {
		var answer struct{ Executions []execution }
		if api.get(ctx, "/executions", url.Values{"prefix": {prefix}, "limit": {"50"}}, &answer) != nil {
			return nil
		}
		for _, x := range answer.Executions {
			if !slices.Contains(given, x.ID) {
				ids = append(ids, x.ID+"\t"+printable(x.Function+" "+string(x.Status)))
			}
		}
		return ids
	})
}

// completeCallback completes the ID of an execution, then an open callback of it.
func (f *flags) completeCallback(c *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) != 1 {
		return f.completeExecution(c, given, prefix)
	}
	return f.completeOperation(c, given[0], func(o *durable.Operation) (string, bool) {
		return cmpOr(o.Name, o.ID), o.Type == "CALLBACK" && o.EndedAt.IsZero()
	})
}

// completeOperations completes a flag that is the ID of an operation.
func (f *flags) completeOperations(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.completeOperation(c, given[0], func(o *durable.Operation) (string, bool) { return o.ID, true })
}

func (f *flags) completeOperation(c *cobra.Command, id string, word func(*durable.Operation) (string, bool)) ([]string, cobra.ShellCompDirective) {
	return f.completions(c, func(ctx context.Context, api *client) (words []string) {
		ops, _ := api.operations(ctx, id, nil)
		for i := range ops {
			if w, ok := word(&ops[i]); ok {
				words = append(words, w+"\t"+operationRow(&ops[i], 0, time.Now(), false).name+" "+printable(string(ops[i].Status)))
			}
		}
		return words
	})
}

// completeFunction completes the name of a function.
func (f *flags) completeFunction(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveDefault // a file behind an @
	}
	return f.completions(c, func(ctx context.Context, api *client) (names []string) {
		var answer struct{ Functions []durable.FunctionInfo }
		if api.get(ctx, "/functions", nil, &answer) != nil {
			return nil
		}
		for _, fn := range answer.Functions {
			names = append(names, fn.Name+"\tinput like "+printable(string(fn.Sample)))
		}
		return names
	})
}
