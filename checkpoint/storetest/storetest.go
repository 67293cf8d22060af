// Package storetest checks that a checkpoint.Store keeps its contract. Authors
// of stores call it from a test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) checkpoint.Store { return mystore.New() })
//	}
//
// The package imports nothing but the standard library and this module.
package storetest

import (
	"testing"

	"github.com/durable-go/durable/checkpoint"
)

// Harness says how the tests get stores.
type Harness struct {
	// Open returns a new, empty store. The tests close it.
	Open func(t *testing.T) checkpoint.Store

	// Reopen ends the use of a store that Open or Reopen returned, closed or
	// not, and opens what it has kept as another process would. Nil for stores
	// that keep nothing.
	Reopen func(t *testing.T, s checkpoint.Store) checkpoint.Store

	// Damage damages what the store keeps of an execution, so that some of it can't be
	// read, while the store is open. Nil for stores whose data can't be damaged.
	Damage func(t *testing.T, s checkpoint.Store, id string)
}

// Run checks a store that keeps nothing when it is closed.
func Run(t *testing.T, open func(t *testing.T) checkpoint.Store) {
	Harness{Open: open}.Run(t)
}

// Run checks a store. Every subtest has a store of its own and is named after
// the behaviour that it checks.
func (h Harness) Run(t *testing.T) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Create", createTests},
		{"Claim", claimTests},
		{"Append", appendTests},
		{"Release", releaseTests},
		{"Hold", holdTests},
		{"Inbox", inboxTests},
		{"Callback", callbackTests},
		{"End", endTests},
		{"Read", readTests},
		{"Count", countTests},
		{"Glance", glanceTests},
		{"Delivered", deliveredTests},
		{"Delete", deleteTests},
		{"Hint", hintTests},
		{"Measure", measureTests},
		{"Close", closeTests},
		{"Concurrency", concurrencyTests},
		{"Flaky", flakyTests},
		{"Lagging", laggingTests},
	}
	for _, g := range groups {
		h.group(t, g.name, g.tests)
	}
	if h.Reopen != nil {
		h.group(t, "Reopen", reopenTests)
	}
	if h.Damage != nil {
		h.RunDamage(t)
	}
}

// RunDamage is the part of Run that needs Damage, for stores that can be damaged in more
// ways than one.
func (h Harness) RunDamage(t *testing.T) { h.group(t, "Damage", damageTests) }

func (h Harness) group(t *testing.T, name string, tests []test) {
	t.Run(name, func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(newProbe(t, h))
			})
		}
	})
}

type test struct {
	name string
	run  func(p *probe)
}
