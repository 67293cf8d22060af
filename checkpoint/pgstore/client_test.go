package pgstore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// clientOrders has the worker's orders, as JSON.
const clientOrders = "PGSTORE_TEST_WORKER"

// approval waits for a callback, and forwards what comes.
var approval = durable.Define("approval", func(ctx *durable.Context, name string) (string, error) {
	answer, err := durable.CreateCallback[string](ctx, "answer")
	if err != nil {
		return "", err
	}
	who, err := answer.Await(ctx)
	if err != nil {
		return "", err
	}
	return durable.Step(ctx, "forward", func(context.Context) (string, error) { return name + " by " + who, nil })
})

// rest is long, and cut short by a cancel.
var rest = durable.Define("rest", func(ctx *durable.Context, _ int) (string, error) {
	return "rested", durable.Wait(ctx, "rest", time.Hour)
})

type workerOrders struct {
	URL     string
	Options pgstore.Options
}

// serveClients is a process that has the functions.
func serveClients(orders string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	var o workerOrders
	fail(json.Unmarshal([]byte(orders), &o))
	o.Options.Logger = slog.New(slog.DiscardHandler)
	store, err := pgstore.Open(context.Background(), o.URL, &o.Options)
	fail(err)
	_, err = durable.New(store, &durable.Options{Functions: []durable.Definition{approval, rest}, Logger: o.Options.Logger})
	fail(err)
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadByte() // until the test ends
}

// TestAnyProcess asks a process without functions for everything; another one has them.
func TestAnyProcess(t *testing.T) {
	c := need(t)
	const quick = time.Second * 20 // or it would take an hour
	for name, opts := range map[string]pgstore.Options{
		"ByNotification": {Poll: time.Hour, Lease: time.Hour},
		"ByPolling":      {NoListen: true, Poll: 50 * time.Millisecond},
	} {
		if *throughBouncer && !opts.NoListen {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.Schema = c.Schema()
			url := c.url + "&application_name=any"
			e, err := durable.New(openAt(t, url, opts.Schema, opts), &durable.Options{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			defer e.Close()
			startWorker(t, url, opts)
			first := 0
			if !opts.NoListen { // until each knows of the other it tells nothing
				require.Eventually(t, func() bool {
					first++
					id, err := e.StartByName(t.Context(), "approval", []byte(`"0"`), durable.WithExecutionID(fmt.Sprint("first-", first)))
					if !assert.NoError(t, err) {
						return false
					}
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					defer cancel()
					_, waited := e.CallbackID(ctx, id, "answer")
					return assert.NoError(t, e.Stop(t.Context(), id, "enough")) && waited == nil
				}, quick, time.Millisecond)
			}
			ctx, cancel := context.WithTimeout(t.Context(), quick)
			defer cancel()
			began := time.Now()

			id, err := e.StartByName(ctx, "approval", []byte(`"42"`), durable.WithExecutionID("order"))
			require.NoError(t, err)
			callback, err := e.CallbackID(ctx, id, "answer")
			require.NoError(t, err)
			require.NoError(t, e.SucceedCallback(ctx, callback, "Ann"))
			result, err := e.ResultJSON(ctx, id)
			require.NoError(t, err)
			require.JSONEq(t, `"42 by Ann"`, string(result))
			require.ErrorIs(t, e.SucceedCallback(ctx, callback, "Bob"), durable.ErrCallbackCompleted)

			_, err = e.StartByName(ctx, "approval", []byte(`"43"`), durable.WithExecutionID("refused"))
			require.NoError(t, err)
			callback, err = e.CallbackID(ctx, "refused", "answer")
			require.NoError(t, err)
			require.NoError(t, e.FailCallback(ctx, callback, durable.Failure{Type: "Refused", Message: "no"}))
			_, err = e.ResultJSON(ctx, "refused")
			require.ErrorIs(t, err, durable.ErrCallbackFailed)

			for steered, steer := range map[string]func() error{
				"canceled": func() error { return e.Cancel(ctx, "canceled", "enough") },
				"stopped":  func() error { return e.Stop(ctx, "stopped", "enough") },
			} {
				_, err = e.StartByName(ctx, "rest", []byte("1"), durable.WithExecutionID(steered))
				require.NoError(t, err)
				require.Eventually(t, func() bool {
					ops, err := e.Operations(ctx, steered)
					require.NoError(t, err)
					return len(ops) > 0
				}, quick, 5*time.Millisecond)
				require.NoError(t, steer())
				_, err = e.ResultJSON(ctx, steered)
				require.ErrorIs(t, err, map[string]error{"canceled": durable.ErrCanceled, "stopped": durable.ErrStopped}[steered])
			}

			n := 0
			for info, err := range e.Executions(ctx, durable.Query{}) {
				require.NoError(t, err)
				described, err := e.Describe(ctx, info.ID)
				require.NoError(t, err)
				require.NotEqual(t, durable.ExecutionRunning, described.Status)
				if strings.HasPrefix(info.ID, "first-") {
					continue
				}
				events := 0
				for _, err := range e.History(ctx, info.ID) {
					require.NoError(t, err)
					events++
				}
				require.Greater(t, events, 2)
				n++
			}
			require.Equal(t, 4, n)
			t.Logf("4 executions of another process, and all that can be asked: %s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// startWorker starts a process with the functions, which ends with the test.
func startWorker(t *testing.T, url string, opts pgstore.Options) *os.Process {
	orders, err := json.Marshal(workerOrders{url, opts})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), clientOrders+"="+string(orders))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", said)
	return cmd.Process
}

// TestWaitingIsANotification plants the lack of it: without it nothing comes within the
// hour that polling takes.
func TestWaitingIsANotification(t *testing.T) {
	c := need(t)
	opts := pgstore.Options{NoListen: true, Poll: time.Hour, Lease: time.Hour, Schema: c.Schema()}
	e, err := durable.New(openAt(t, c.url, opts.Schema, opts), &durable.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer e.Close()
	other := open(t, opts.Schema, pgstore.Options{})
	create(t, other, "x", false)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	time.AfterFunc(200*time.Millisecond, func() {
		other.End(context.Background(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
	})
	_, err = e.ResultJSON(ctx, "x")
	require.ErrorIs(t, err, context.DeadlineExceeded, "something told it that was neither a notification nor a poll")
}
