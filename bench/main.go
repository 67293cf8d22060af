// Command bench measures the disk, then this library and those that a user would
// take instead, on the same work in the same run. See README.md.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	interrupts "os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	run := command
	if data := os.Getenv(orderKey); data != "" {
		run = func() error { return serve(data) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command() error {
	p := plan{}
	flag.BoolVar(&p.short, "short", false, "everything small: shows that all of it works, the figures say nothing; fails if a system fails")
	flag.IntVar(&p.rounds, "rounds", 0, "how often everything is measured (default 3; 1 with -short)")
	only := flag.String("only", "", "names, separated by commas: of workloads (their beginning) and of systems (a part), as \"sequence,burst,bolt\"")
	flag.StringVar(&p.folder, "dir", "", "the folder whose disk is measured; default: the one for temporary files")
	flag.StringVar(&p.postgres, "postgres", os.Getenv("DURABLE_BENCH_POSTGRES"), "connection string of a Postgres server, postgres://…; default: $DURABLE_BENCH_POSTGRES; empty: without")
	flag.DurationVar(&p.sustain, "sustain", 0, "also keep 512 executions under way for this long; 30s is a good value")
	jsonPath := flag.String("json", "", "write the figures of all rounds to this file")
	svgPath := flag.String("svg", "", "draw a chart into this file")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("what is %q? There are only flags: see -h", flag.Arg(0))
	}
	if p.rounds == 0 {
		p.rounds = 3
		if p.short {
			p.rounds = 1
		}
	}
	p.folder = cmp.Or(p.folder, os.TempDir())
	for word := range strings.SplitSeq(*only, ",") {
		if word = strings.TrimSpace(word); word != "" {
			p.only = append(p.only, word)
		}
	}
	ctx, stop := interrupts.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	r, err := p.run(ctx, os.Stderr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "took %s\n\n", time.Since(began).Round(time.Second))
	r.write(os.Stdout)
	if *jsonPath != "" {
		data, err := json.MarshalIndent(r, "", "\t")
		if err == nil {
			err = os.WriteFile(*jsonPath, append(data, '\n'), 0o644)
		}
		if err != nil {
			return err
		}
	}
	if *svgPath != "" {
		f, err := os.Create(*svgPath)
		if err != nil {
			return err
		}
		if err := errors.Join(r.draw(f), f.Close()); err != nil {
			return err
		}
	}
	if failed := r.failed(); p.short && len(failed) > 0 {
		return fmt.Errorf("-short: these did not work:\n%s", strings.Join(failed, "\n"))
	}
	return nil
}
