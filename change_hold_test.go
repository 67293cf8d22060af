package durable_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"encoding/json"
	"github.com/durable-go/durable"
)

// heldOrder is an execution "order-42" that began with the operations of old, and
// is held by the build "new", which asks for others.
type heldOrder struct {
	*machine
	n   notes
	now *bundle // of the engine that is open
}

var oldOrder, newOrder = does("a", "wait", "b"), does("new", "wait", "b")

func holdOrder(t *testing.T, opts ...durable.StartOption) *heldOrder {
	h := &heldOrder{machine: newMachine(t)}
	h.deploy("old", oldOrder)
	h.start(opts...)
	time.Sleep(time.Minute)
	h.deploy("new", newOrder)
	time.Sleep(2 * time.Hour)
	h.now.held("order-42")
	return h
}

func (h *heldOrder) start(opts ...durable.StartOption) {
	h.Helper()
	_, err := h.now.engine.StartByName(h.now.ctx, "order", json.RawMessage("0"), append(opts, durable.WithExecutionID("order-42"))...)
	require.NoError(h, err)
}

// deploy ends the engine that is open, and opens the store with another build.
func (h *heldOrder) deploy(build string, code release) {
	h.deployWith(durable.Options{ParkFor: -1, Build: build}, code)
}

func (h *heldOrder) deployWith(opts durable.Options, code release) {
	h.Helper()
	if h.now != nil {
		h.shutDown(h.now)
	}
	h.now = h.open(opts, code(&h.n)...)
}

// status waits for two hours and returns what has become of the execution.
func (h *heldOrder) status() durable.ExecutionStatus {
	h.Helper()
	time.Sleep(2 * time.Hour)
	return h.now.describe("order-42").Status
}

func (h *heldOrder) resume() {
	h.Helper()
	require.NoError(h, h.now.engine.Resume(h.now.ctx, "order-42"))
}

// endsOfAHold are the rows of the guide's table of them.
var endsOfAHold = map[string]func(t *testing.T){
	"Another build that fits": func(t *testing.T) {
		h := holdOrder(t)
		h.deploy("fixed", oldOrder)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"a", "b"}, h.n.all())
	},
	"Engine.Resume": func(t *testing.T) {
		// The build that holds it fits now: what did not fit was no part of it.
		h := holdOrder(t)
		h.deploy("new", oldOrder)
		require.Equal(t, durable.ExecutionRunning, h.status())
		h.now.held("order-42")
		h.resume()
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"a", "b"}, h.n.all())
	},
	"Engine.Stop": func(t *testing.T) {
		h := holdOrder(t)
		h.now.stop("order-42")
		require.Equal(t, durable.ExecutionStopped, h.status())
		require.Nil(t, h.now.describe("order-42").Held)
	},
	"The deadline of the execution": func(t *testing.T) {
		h := holdOrder(t, durable.WithExecutionTimeout(3*time.Hour))
		require.Equal(t, durable.ExecutionTimedOut, h.status())
	},
	"Engine.Cancel, and then a build that fits": func(t *testing.T) {
		h := holdOrder(t)
		h.now.cancel("order-42")
		require.Equal(t, durable.ExecutionRunning, h.status())
		h.now.held("order-42")
		h.deploy("fixed", does("a", "wait", "wait"))
		require.Equal(t, durable.ExecutionFailed, h.status())
		require.ErrorIs(t, h.now.describe("order-42").Failure, durable.ErrCanceled)
	},
	"Another build, with Options.FailOnMismatch": func(t *testing.T) {
		h := holdOrder(t)
		h.deployWith(durable.Options{ParkFor: -1, Build: "strict", FailOnMismatch: true}, newOrder)
		require.Equal(t, durable.ExecutionFailed, h.status())
		require.ErrorIs(t, h.now.describe("order-42").Failure, durable.ErrNonDeterministic)
	},
}

// twoBuilds are the rows of the guide's table of rolling deploys. The store of a
// test belongs to one engine at a time, so the builds take turns.
var twoBuilds = map[string]func(t *testing.T){
	"An execution that the old build began": func(t *testing.T) {
		h := holdOrder(t) // the new build has tried it
		h.deploy("old", oldOrder)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"a", "b"}, h.n.all())
	},
	"An execution that the new build began": func(t *testing.T) {
		h := &heldOrder{machine: newMachine(t)}
		h.deploy("new", newOrder)
		h.start()
		time.Sleep(time.Minute)
		h.deploy("old", oldOrder)
		require.Equal(t, durable.ExecutionRunning, h.status())
		h.now.held("order-42")
		h.deploy("new", newOrder)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"new", "b"}, h.n.all())
	},
	"An execution whose Version the old build does not ask for": func(t *testing.T) {
		h := &heldOrder{machine: newMachine(t)}
		both := guarded("a wait b", "new wait b")
		h.deploy("new", both)
		h.start()
		time.Sleep(time.Minute)
		h.deploy("old", oldOrder)
		require.Equal(t, durable.ExecutionRunning, h.status())
		h.now.held("order-42")
		h.deploy("new", both)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"new", "b"}, h.n.all())
	},
	"An execution that neither can go on with": func(t *testing.T) {
		h := holdOrder(t)
		other := does("other", "wait")
		for turn := range 3 {
			for _, build := range []string{"other", "new"} {
				h.deploy(build, other)
				require.Equal(t, durable.ExecutionRunning, h.status())
				h.now.held("order-42")
				tries := int64(0)
				if turn == 0 && build == "other" {
					tries = 1
				}
				require.Equal(t, tries, invocations(h.now), "a build tries once")
			}
		}
		h.deploy("fixed", oldOrder)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
	},
	"An execution whose function one build does not have": func(t *testing.T) {
		h := &heldOrder{machine: newMachine(t)}
		h.deploy("new", oldOrder)
		h.start()
		time.Sleep(time.Minute)
		h.deploy("old", func(*notes) []durable.Definition { return []durable.Definition{nap} })
		require.Equal(t, durable.ExecutionRunning, h.status())
		require.ErrorIs(t, h.now.held("order-42"), durable.ErrFunctionNotFound)
		require.Zero(t, invocations(h.now))
		h.deploy("new", oldOrder)
		require.Equal(t, durable.ExecutionSucceeded, h.status())
		require.Equal(t, []string{"a", "b"}, h.n.all())
	},
}
