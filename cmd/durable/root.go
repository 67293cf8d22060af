package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// flags are what all commands have.
type flags struct {
	store, addr, schema string
	output              string
}

func newRoot() *cobra.Command {
	f := new(flags)
	root := &cobra.Command{
		Use:   "durable",
		Short: "Look at durable executions and steer them",
		Long: `Look at durable executions and steer them.

Where they are:
  --store FILE         a file of durable.Open; if a program has it open and serves
                       it beside (durablehttp.ServeBeside), that program is asked
  --store postgres://… a database of pgstore.Open
  --addr URL           a running program that serves durablehttp.Admin, http or https;
                       a name and password go into the URL, a token into $DURABLE_TOKEN

$DURABLE_STORE and $DURABLE_ADDR are used when neither flag is given.

Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 not in the state for that,
5 the execution did not succeed, 6 can't be reached, 7 not allowed, 8 damaged,
130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(newGuard(os.Stdout))
	root.SetErr(newGuard(os.Stderr))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%w", err) })
	p := root.PersistentFlags()
	p.StringVar(&f.store, "store", "", "file, or postgres:// URL, that holds the executions")
	p.StringVar(&f.addr, "addr", "", "URL of a running program's admin API")
	p.StringVar(&f.schema, "schema", "", "schema of the tables in PostgreSQL (default \"durable\")")
	p.StringVarP(&f.output, "output", "o", "table", "table, json or jsonl")
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "jsonl"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if name := cmd.Name(); name == cobra.ShellCompRequestCmd || name == cobra.ShellCompNoDescRequestCmd {
			return nil // the flags of the command that is typed are not read yet: see completions
		}
		switch f.output {
		case "table", "json", "jsonl":
		default:
			return usageError("-o %s: there are table, json and jsonl", f.output)
		}
		if f.store != "" && f.addr != "" {
			return usageError("--store or --addr, not both")
		}
		if f.store == "" && f.addr == "" {
			f.store, f.addr = os.Getenv("DURABLE_STORE"), os.Getenv("DURABLE_ADDR")
			if f.store != "" && f.addr != "" {
				return usageError("$DURABLE_STORE and $DURABLE_ADDR are both set: give --store or --addr")
			}
		}
		return nil
	}
	root.AddCommand(newRunCommand(f), newCallbackCommand(f), newStoreCommand(f), newReplayCommand(), newUICommand(f), newVersionCommand())
	for _, c := range append(root.Commands(), root) {
		needsSubcommand(c)
	}
	return root
}

// needsSubcommand makes a group that is called without a command of its own an error
// in usage, instead of a success that prints help.
func needsSubcommand(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			var names []string
			for _, s := range c.Commands() {
				names = append(names, s.Name())
			}
			if len(args) > 0 {
				return usageError("%s has no command %q: there are %s", c.CommandPath(), args[0], strings.Join(names, ", "))
			}
			return usageError("%s: which command? There are %s", c.CommandPath(), strings.Join(names, ", "))
		}
	}
}

// args checks the number of arguments, which have these names.
func args(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		least := 0
		for _, n := range names {
			if !strings.HasPrefix(n, "[") {
				least++
			}
		}
		if len(given) < least || len(given) > len(names) {
			return usageError("%s takes %s", c.CommandPath(), cmpOr(strings.Join(names, " "), "no arguments"))
		}
		return nil
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
