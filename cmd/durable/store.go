package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

func newStoreCommand(f *flags) *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "The store itself: stats, verify, backup, compact, disk-check"}
	c.AddCommand(newStatsCommand(f), newVerifyCommand(f), newBackupCommand(f), newCompactCommand(f), newDiskCheckCommand(f))
	return c
}

func newStatsCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "How many executions there are, by status, and what the engine does",
		Args: args(),
		RunE: f.with(func(c *cobra.Command, api *client, _ []string) error {
			var counts map[string]int
			if err := api.get(c.Context(), "/counts", nil, &counts); err != nil {
				return err
			}
			var stats json.RawMessage
			if api.engine == nil { // an engine of this process has just begun
				if err := api.get(c.Context(), "/stats", nil, &stats); err != nil {
					return err
				}
			}
			if f.output != "table" {
				answer := map[string]any{"counts": counts}
				if stats != nil {
					answer["stats"] = stats
				}
				return f.printJSON(c.OutOrStdout(), answer)
			}
			p := paintFor(c.OutOrStdout())
			for _, s := range []durable.ExecutionStatus{durable.ExecutionRunning, durable.ExecutionSucceeded, durable.ExecutionFailed, durable.ExecutionTimedOut, durable.ExecutionStopped} {
				fmt.Fprintf(c.OutOrStdout(), "%9d  %s\n", counts[string(s)], p.status(string(s)))
			}
			var engine durable.Stats
			if stats != nil && json.Unmarshal(stats, &engine) == nil {
				fmt.Fprintf(c.OutOrStdout(), "%9d  in memory, of which %d wait and %d are stalled; %d bodies run\n", engine.Resident, engine.Idle, engine.Stalled, engine.Bodies)
			}
			return nil
		}),
	}
}

// file is the file that --store names, for what needs one.
func (f *flags) file(c *cobra.Command) (string, error) {
	if f.store == "" || isPostgres(f.store) {
		return "", usageError("%s needs --store FILE; PostgreSQL has its own tools for that", c.CommandPath())
	}
	if _, err := os.Stat(f.store); errors.Is(err, os.ErrNotExist) {
		return "", &codedError{exitNotFound, fmt.Errorf("%s: no such file", f.store)}
	}
	return f.store, nil
}

func newVerifyCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check a file to the last byte",
		Long: `Check a file: pages, checksums of all records, journals against summaries, indexes, and the
log beside it. It changes nothing. No program may have the file open; for an open one see
boltstore.Store.Verify, or verify a backup. Exit code 8 if there is damage.`,
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := f.file(c)
			if err != nil {
				return err
			}
			progress := newProgress(c.ErrOrStderr())
			problems := 0
			verified, err := boltstore.Verify(c.Context(), path, &boltstore.VerifyOptions{
				Problem: func(p boltstore.Problem) {
					problems++
					progress.clear()
					if f.output == "table" {
						fmt.Fprintln(c.OutOrStdout(), printable(p.String()))
					} else {
						f.printJSON(c.OutOrStdout(), map[string]any{"problem": p.String(), "file": p.File, "page": p.Page, "execution": p.Execution})
					}
				},
				Progress: func(v boltstore.Verified) {
					progress.show("%d executions, %d records", v.Executions, v.Records)
				},
			})
			progress.clear()
			switch {
			case problems > 0:
				return &codedError{exitDamaged, fmt.Errorf("%s: %d problems; %d executions, %d records looked at", path, problems, verified.Executions, verified.Records)}
			case errors.Is(err, durable.ErrLocked):
				return &codedError{exitUnreachable, err}
			case errors.Is(err, durable.ErrCorrupt):
				return &codedError{exitDamaged, err}
			case err != nil:
				return err
			case f.output != "table":
				return f.printJSON(c.OutOrStdout(), verified)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is whole: %d executions, %d records, %d pages (%d free), %d batches of the log\n",
				path, verified.Executions, verified.Records, verified.Pages, verified.FreePages, verified.Batches)
			return nil
		},
	}
}

func newBackupCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "backup DESTINATION",
		Short: "Copy a file, also while a program runs on it",
		Long: `Copy a file into another one, which must not exist, or to standard output (-). The copy has
all that was acknowledged before, of one moment; to restore, open it. If a program has the
file open, it makes the copy: it must serve it beside (durablehttp.ServeBeside), or its API
at --addr, to whom it lets see payloads.`,
		Args: args("DESTINATION"),
		RunE: func(c *cobra.Command, given []string) error {
			if isPostgres(f.store) {
				if _, err := f.file(c); err != nil {
					return err
				}
			}
			api, err := f.connect(c.Context())
			if err != nil {
				return err
			}
			defer api.close()
			if out := c.OutOrStdout().(*guard); given[0] == "-" {
				if out.terminal {
					return usageError("a copy is not for a terminal: give a file, or redirect the output")
				}
				return api.backup(c.Context(), out.out)
			}
			progress := newProgress(c.ErrOrStderr())
			written, err := api.backupTo(c.Context(), given[0], progress)
			progress.clear()
			if err == nil && f.output == "table" {
				fmt.Fprintf(c.OutOrStdout(), "%s: %d bytes\n", given[0], written)
			} else if err == nil {
				err = f.printJSON(c.OutOrStdout(), map[string]any{"file": given[0], "bytes": written})
			}
			return err
		},
	}
}

// backup asks for a copy of the store.
func (c *client) backup(ctx context.Context, w io.Writer) error {
	answer, err := c.send(ctx, "POST", "/store/backup", nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return c.broken(err)
	}
	if answer.Trailer.Get("Durable-Backup") != "complete" {
		return &codedError{exitError, errors.New("the copy broke off: it is no store")}
	}
	return nil
}

// backupTo writes a copy to a new file, which appears when it is whole.
func (c *client) backupTo(ctx context.Context, path string, p *progress) (written int64, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, exists(path)
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // with mode 0600
	if err != nil {
		return 0, fmt.Errorf("%s can't be written: %w", path, errors.Unwrap(err))
	}
	defer os.Remove(part.Name())
	counted := &counted{w: part, p: p}
	err = c.backup(ctx, counted)
	if err == nil {
		err = part.Sync()
	}
	if closing := part.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = publish(part.Name(), path)
	}
	return counted.n, err
}

// counted counts what is written.
type counted struct {
	w io.Writer
	p *progress
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.p.show("%d MiB", c.n>>20)
	return n, err
}

func newCompactCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "compact",
		Short: "Give the space that a file does not need back to the file system",
		Long: `Give the space that a file does not need back to the file system. No program may have it
open. It needs space for a copy; a crash leaves the old file or the new one. The file keeps
its mode, owner and group, also when root does it.`,
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := f.file(c)
			if err != nil {
				return err
			}
			done, err := boltstore.Compact(c.Context(), path)
			switch {
			case errors.Is(err, durable.ErrLocked):
				return &codedError{exitUnreachable, err}
			case errors.Is(err, durable.ErrCorrupt):
				return &codedError{exitDamaged, err}
			case err != nil:
				return err
			case f.output != "table":
				return f.printJSON(c.OutOrStdout(), done)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %d bytes, before %d\n", path, done.After, done.Before)
			return nil
		},
	}
}

func newDiskCheckCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "disk-check [FOLDER]",
		Short: "Measure how long the disk takes to make a small write durable",
		Long: `Measure how long the disk under a folder takes to make a small write durable: no step on
that disk is faster. Without a folder it is that of --store, else the current one. It takes
some seconds, and wants an idle disk.`,
		Args: args("[FOLDER]"),
		RunE: func(c *cobra.Command, given []string) error {
			dir := "."
			if f.store != "" && !isPostgres(f.store) {
				dir = filepath.Dir(f.store)
			}
			if len(given) == 1 {
				dir = given[0]
			}
			p := newProgress(c.ErrOrStderr())
			p.show("measuring the disk under %s …", dir)
			report, err := boltstore.DiskCheck(c.Context(), dir)
			p.clear()
			if err != nil {
				return err
			}
			if f.output != "table" {
				return f.printJSON(c.OutOrStdout(), report)
			}
			_, err = io.WriteString(c.OutOrStdout(), report.String())
			return err
		},
	}
}

// progress is a line on a terminal that is written over.
type progress struct {
	w     io.Writer // nil: not a terminal
	shown time.Time
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w.(*guard).out}
}

func (p *progress) show(format string, args ...any) {
	if p.w == nil || time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprint(p.w, "\r"+printable(fmt.Sprintf(format, args...))+"\x1b[K")
}

func (p *progress) clear() {
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
