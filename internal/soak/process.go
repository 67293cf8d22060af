package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// The process that is killed: an engine on a store that does what the outside asks
// it for over its standard input, and answers over its standard output.

// ChildVariable holds the Orders of the process, as JSON.
const ChildVariable = "DURABLE_SOAK_CHILD"

// Orders is what a process is told at its start.
type Orders struct {
	Dir    string
	Life   int
	Point  *point // where it ends itself; nil: nowhere
	Plant  string // the bug that it has; "": none
	Parked time.Duration
	Places int    // 0: as many as an engine has by default
	Build  string // "": that of the binary
	Store  string // how a process of a fleet opens the store
}

// request is what the outside asks for.
type request struct {
	N         int
	Do        string // start, result, cancel, stop, succeed or fail
	Execution string
	Function  string
	Input     int
	Callback  string
	Payload   string
}

// message is what the process says: an answer to request N, or N is 0.
type message struct {
	Say       string   // opening, ready, callback or answer
	N         int      `json:",omitempty"`
	Execution string   `json:",omitempty"`
	Callback  string   `json:",omitempty"`
	Values    []string `json:",omitempty"`
	Error     string   `json:",omitempty"` // "" is success
}

type child struct {
	Orders
	witness *witness
	point   *point
	engine  *durable.Engine
	now     func() int64 // the store's time
	known   map[string]function

	mu     sync.Mutex        // of standard output, and:
	lost   map[string]int    // how often this process claimed what another, or itself, had lost
	epochs map[string]uint64 // under which it claimed last
}

// stay is a process while it runs a handler once.
type stay struct {
	*child
	ownership int // how often the execution was claimed before because it was lost
	epoch     uint64
	entered   int64 // when the handler was
}

func (c *child) stay(execution string) *stay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &stay{c, c.lost[execution], c.epochs[execution], time.Now().UnixNano()}
}

func (c *child) say(m message) {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := os.Stdout.Write(append(b, '\n')); err != nil {
		os.Exit(3) // nobody listens any more
	}
}

// storePath is the file of a round on one.
func storePath(dir string) string { return filepath.Join(dir, "durable.db") }

// Serve is the whole process. Without open the store is a file.
func Serve(settings string, open func(Orders) (checkpoint.Store, error)) error {
	if open == nil {
		open = func(o Orders) (checkpoint.Store, error) { return boltstore.Open(storePath(o.Dir), nil) }
	}
	c := &child{known: make(map[string]function), lost: make(map[string]int), epochs: make(map[string]uint64)}
	if err := json.Unmarshal([]byte(settings), &c.Orders); err != nil {
		return err
	}
	if c.point = c.Point; c.point == nil {
		c.point = new(point)
	}
	var err error
	if c.witness, err = openWitness(c.Dir, c.Life); err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	c.say(message{Say: "opening"})
	store, err := open(c.Orders)
	if err != nil {
		return err
	}
	c.now = func() int64 { return store.Now().UnixNano() }
	opts := &durable.Options{ParkFor: c.Parked, Retention: -1, Logger: slog.New(slog.DiscardHandler), MaxResident: c.Places, Build: c.Build}
	for _, f := range c.functions() {
		c.known[f.Name()] = f
		opts.Functions = append(opts.Functions, f)
	}
	bug := Plants[c.Plant]
	if bug.options != nil {
		bug.options(opts)
	}
	tapped := &tap{Store: bug.in(bug.below, store), child: c}
	if c.engine, err = durable.New(bug.in(bug.above, tapped), opts); err != nil {
		return err
	}
	c.say(message{Say: "ready"})
	go c.listen()
	<-interrupted
	if bug.closes {
		return c.engine.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.engine.Shutdown(ctx)
}

func (c *child) listen() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		go c.answer(r)
	}
	os.Exit(3) // the outside is gone
}

// outcomes are the errors that the outside tells apart.
var outcomes = []struct {
	err  error
	name string
}{
	{durable.ErrClosed, "closed"}, {durable.ErrCallbackCompleted, "completed"}, {durable.ErrCanceled, "canceled"},
	{durable.ErrStopped, "stopped"}, {durable.ErrTimeout, "timeout"},
	{durable.ErrExecutionExists, "exists"}, {durable.ErrExecutionNotFound, "not found"}, {durable.ErrCallbackNotFound, "no callback"},
}

func (c *child) answer(r request) {
	ctx := context.Background()
	m := message{Say: "answer", N: r.N}
	var err error
	switch r.Do {
	case "start":
		_, err = c.known[r.Function].Start(ctx, c.engine, r.Input, durable.WithExecutionID(r.Execution))
	case "result":
		m.Values, err = c.known[r.Function].Attach(c.engine, r.Execution).Result(ctx)
	case "cancel":
		err = c.engine.Cancel(ctx, r.Execution, "enough")
	case "stop":
		err = c.engine.Stop(ctx, r.Execution, "enough")
	case "succeed":
		err = c.engine.SucceedCallback(ctx, r.Callback, r.Payload)
	case "fail":
		err = c.engine.FailCallback(ctx, r.Callback, durable.Failure{Type: "Refused", Message: r.Payload})
	default:
		panic(fmt.Sprintf("asked to %q", r.Do))
	}
	if err != nil {
		m.Error = err.Error()
		for _, o := range outcomes {
			if errors.Is(err, o.err) {
				m.Error = o.name
				break
			}
		}
	}
	c.say(m)
}
