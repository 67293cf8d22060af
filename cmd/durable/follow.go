package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/durable-go/durable"
)

// errEnded ends the reading of events: the execution has ended.
var errEnded = errors.New("the execution has ended")

// follow gives each event of an execution to tell, until the execution has ended. A
// connection that breaks off is made again; the first one must succeed.
func (c *client) follow(ctx context.Context, id string, tell func(raw []byte, ev *durable.Event) error) error {
	after, connected := int64(0), false
	for {
		q := url.Values{}
		if after > 0 {
			q.Set("after", strconv.FormatInt(after, 10))
		}
		err := c.events(ctx, executionPath(id, "events"), q, func(name string, data []byte) error {
			connected = true
			switch name {
			case "end":
				return errEnded
			case "event":
				var ev durable.Event
				if err := json.Unmarshal(data, &ev); err != nil {
					return c.broken(err)
				}
				after = ev.EventID
				return tell(data, &ev)
			}
			return nil
		})
		coded, _ := errors.AsType[*codedError](err)
		switch {
		case errors.Is(err, errEnded):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (!connected || coded == nil || coded.code != exitUnreachable):
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followEvents prints a line for each event.
func (f *flags) followEvents(c *cobra.Command, api *client, id string) error {
	return api.follow(c.Context(), id, func(raw []byte, ev *durable.Event) error {
		if f.output != "table" {
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", raw)
			return err
		}
		r := eventRow(ev)
		line := fmt.Sprintf("%5s  %s  %-22s  %-8s %s  %s", r[0], r[1], r[2], r[3], printable(r[4]), printable(r[5]))
		_, err := fmt.Fprintln(c.OutOrStdout(), strings.TrimRight(line, " "))
		return err
	})
}

// repaintEvery bounds how often the live tree is drawn.
const repaintEvery = 200 * time.Millisecond

// followTree draws the tree again and again until the execution has ended.
func (f *flags) followTree(c *cobra.Command, api *client, id string, all bool) error {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- api.follow(ctx, id, func([]byte, *durable.Event) error {
			select {
			case changed <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	s := screen{out: c.OutOrStdout().(*os.File)}
	t := tree{paint: paintFor(s.out), all: all}
	var x execution
	var ops []durable.Operation
	var err error
	for over := false; ; {
		if x, err = api.describe(ctx, id); err == nil {
			ops, err = api.operations(ctx, id)
		}
		if err != nil {
			return err
		}
		t.width, _, _ = term.GetSize(int(s.out.Fd()))
		s.draw(t.lines(&x, ops), over)
		if over {
			return nil
		}
		// Countdowns go on between events, of which the tree needs no new ones.
		pause := time.After(repaintEvery)
	wait:
		for tick := time.NewTicker(time.Second); ; {
			select {
			case err := <-ended:
				tick.Stop()
				if err != nil {
					return err
				}
				over = true
				break wait
			case <-changed:
				tick.Stop()
				break wait
			case <-tick.C:
				s.draw(t.lines(&x, ops), false)
			case <-ctx.Done():
				tick.Stop()
				return ctx.Err()
			}
		}
		if !over {
			<-pause
		}
	}
}

// screen draws lines over those that it drew before.
type screen struct {
	out   *os.File
	drawn int
}

// draw draws lines; unless it is the last time, only as many as the terminal has.
func (s *screen) draw(lines []string, last bool) {
	if _, height, err := term.GetSize(int(s.out.Fd())); err == nil && !last && height > 2 && len(lines) > height-1 {
		cut := len(lines) - (height - 2)
		lines = append([]string{fmt.Sprintf("… %d lines above", cut)}, lines[cut:]...)
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dF", s.drawn)
	}
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.out.WriteString(b.String())
	s.drawn = len(lines)
}
