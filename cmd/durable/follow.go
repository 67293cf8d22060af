package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
func (c *client) follow(ctx context.Context, id string, payloads url.Values, tell func(raw []byte, ev *durable.Event) error) error {
	after, connected := int64(0), false
	for {
		q := maps.Clone(payloads)
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
		switch {
		case errors.Is(err, errEnded):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (!connected || !isUnreachable(err)):
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
func (f *flags) followEvents(c *cobra.Command, api *client, id string, q url.Values) error {
	return api.follow(c.Context(), id, q, func(raw []byte, ev *durable.Event) error {
		if f.output != "table" {
			return jsonLine(c.OutOrStdout(), raw)
		}
		r := eventRow(ev)
		for i := range r {
			r[i] = printable(r[i])
		}
		line := fmt.Sprintf("%5s  %s  %-22s  %-8s %s  %s", r[0], r[1], r[2], r[3], r[4], r[5])
		_, err := fmt.Fprintln(c.OutOrStdout(), strings.TrimRight(line, " "))
		return err
	})
}

// repaintEvery bounds how often the live tree is asked for.
const repaintEvery = 200 * time.Millisecond

// lookEvery is how soon it is noticed that the program is gone, or back.
const lookEvery = 2 * time.Second

// followTree draws the tree until the execution has ended, on the terminal's other
// screen; what it has come to stays on the usual one.
func (f *flags) followTree(c *cobra.Command, api *client, id string, t tree, q url.Values) error {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	var x execution
	var ops []durable.Operation
	var looked time.Time
	look := func() error {
		looked = time.Now()
		now, err := api.describe(ctx, id, q)
		if err != nil {
			return err
		}
		operations, err := api.operations(ctx, id, q)
		if err == nil {
			x, ops = now, operations
		}
		return err
	}
	if err := look(); err != nil {
		return err
	}
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- api.follow(ctx, id, q, func([]byte, *durable.Event) error {
			select {
			case changed <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	out := c.OutOrStdout().(*guard)
	s := screen{out: out.out}
	s.open()
	err := func() error {
		defer s.close()
		var lost error
		for tick, again := time.NewTicker(repaintEvery), changed; ; { // countdowns go on between events
			width, height := s.size()
			t.width = width - 1 // what clears the rest of a line would clear the last column
			lines := t.lines(&x, ops)
			if lost != nil {
				lines = append(lines, t.cut("trying again: "+oneLine(lost.Error())))
			}
			s.draw(lines, height)
			select {
			case err := <-ended:
				if err == nil {
					err = look()
				}
				return err
			case <-again:
				again = nil // until the next tick
				if lost = look(); lost != nil && !isUnreachable(lost) {
					return lost
				}
			case <-tick.C:
				again = changed
				if time.Since(looked) > lookEvery {
					if lost = look(); lost != nil && !isUnreachable(lost) {
						return lost
					}
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}()
	t.width, _ = s.size()
	for _, line := range t.lines(&x, ops) {
		fmt.Fprintln(out, line)
	}
	return err
}

// screen is the other screen of a terminal, where lines are drawn over those before.
type screen struct {
	out   io.Writer
	shown string
}

func (s *screen) open() { io.WriteString(s.out, "\x1b[?1049h\x1b[?25l\x1b[?7l") } // without a cursor, cutting long lines

func (s *screen) close() { io.WriteString(s.out, "\x1b[?7h\x1b[?25h\x1b[?1049l") }

// size is the terminal's; 0 if it is not known.
func (s *screen) size() (width, height int) {
	if f, ok := s.out.(*os.File); ok {
		width, height, _ = term.GetSize(int(f.Fd()))
	}
	return width, height
}

// draw draws the first one of lines, and the last ones that fit, if they differ from
// what is shown.
func (s *screen) draw(lines []string, height int) {
	if height > 3 && len(lines) > height {
		cut := len(lines) - (height - 2)
		lines = append([]string{lines[0], fmt.Sprintf("… %d lines", cut-1)}, lines[cut:]...)
	}
	for i := range lines {
		lines[i] = (&guard{terminal: true}).safe(lines[i])
	}
	frame := "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[J"
	if key := fmt.Sprint(s.size()) + frame; key != s.shown {
		io.WriteString(s.out, frame)
		s.shown = key
	}
}
