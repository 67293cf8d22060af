package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// display shows the stages of an execution: on a terminal as a table that is
// painted again and again, elsewhere as a line for each thing that happened.
type display struct {
	out      io.Writer
	board    *board
	quiet    bool
	terminal bool
	color    bool

	mu      sync.Mutex
	id      string                       // of the execution that is shown
	painted int                          // rows of the table that are on the screen
	told    [len(workflow.Stages)]string // what the last line about each stage said
	stop    chan struct{}
	stopped chan struct{}
}

// repaintEvery is how often the table is painted while nothing happens.
const repaintEvery = 100 * time.Millisecond

func newDisplay(out io.Writer, b *board, quiet bool) *display {
	d := &display{out: out, board: b, quiet: quiet, terminal: isTerminal(out)}
	d.color = d.terminal && os.Getenv("NO_COLOR") == ""
	return d
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// start says what begins, and shows the execution until close.
func (d *display) start(id, what string) {
	if d.quiet {
		return
	}
	d.note(what)
	d.mu.Lock()
	d.id = id
	d.mu.Unlock()
	d.stop, d.stopped = make(chan struct{}), make(chan struct{})
	go d.loop()
}

func (d *display) loop() {
	defer close(d.stopped)
	tick := time.NewTicker(repaintEvery)
	defer tick.Stop()
	for {
		d.show()
		select {
		case <-d.board.changed:
		case <-tick.C:
		case <-d.stop:
			d.show()
			return
		}
	}
}

// close shows the last state. It may be called again.
func (d *display) close() {
	if d.stop == nil {
		return
	}
	close(d.stop)
	<-d.stopped
	d.stop = nil
	if d.terminal {
		io.WriteString(d.out, "\n")
	}
}

// note writes a text that stays, above the table.
func (d *display) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	io.WriteString(d.out, d.erased()+text+"\n")
	d.painted = 0
}

// logger returns a logger for what is worth knowing whatever is shown.
func (d *display) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{d}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type logWriter struct{ d *display }

func (w logWriter) Write(line []byte) (int, error) {
	w.d.note(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

func (d *display) show() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	rows := d.board.rows(d.id, now)
	if d.terminal {
		d.paint(rows, now)
	} else {
		d.tell(rows, now)
	}
}

// tell writes a line for each stage that waits, ended or failed since it was
// told of last.
func (d *display) tell(rows []row, now time.Time) {
	for i, r := range rows {
		key := fmt.Sprint(r.state, r.note)
		if r.state == statePending || r.state == stateRunning || key == d.told[i] {
			continue
		}
		d.told[i] = key
		text := r.text(now)
		switch r.state {
		case stateDone:
			text = strings.TrimSuffix("done in "+short(r.took)+", "+text, ", ")
		case stateFailed:
			text = "failed after " + short(r.took) + ": " + text
		}
		fmt.Fprintf(d.out, "%d/%d %-*s  %s\n", r.number, len(rows), nameWidth, r.name, text)
	}
}

// text is what there is to say about a stage.
func (r row) text(now time.Time) string {
	var said []string
	if r.note != "" {
		said = append(said, strings.ReplaceAll(r.note, timeLeft, countdown(r.due.Sub(now))))
	}
	if r.suspended {
		said = append(said, "suspended")
	}
	if r.replayed {
		said = append(said, "replayed")
	}
	return printable(strings.Join(said, ", "))
}

// printable is a text in one line without what a terminal might obey: part of
// what is shown comes from outside.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// nameWidth is the width of the column of names.
var nameWidth = func() (width int) {
	for _, name := range workflow.Stages {
		width = max(width, len(name))
	}
	return width
}()

// countdown is what is left of a wait.
func countdown(left time.Duration) string {
	if left = max(left, 0); left < time.Minute {
		return fmt.Sprintf("%.1f s", left.Seconds())
	}
	left = left.Round(time.Second)
	if left < time.Hour {
		return fmt.Sprintf("%d:%02d", left/time.Minute, left/time.Second%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", left/time.Hour, left/time.Minute%60, left/time.Second%60)
}

// short is a duration in few characters.
func short(d time.Duration) string {
	switch {
	case d < 100*time.Microsecond:
		return "<0.1 ms"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
