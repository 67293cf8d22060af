package main

import "time"

// A program says what one execution does: in this order, the parts that are not
// zero. Every system has one function that carries programs out, so that each
// does the same work. The execution's result is the number of its steps.
type program struct {
	Steps  int           // steps one after the other
	Fan    int           // steps started all at once, then awaited
	Sleep  time.Duration // a durable wait
	Signal bool          // waits for a signal (a callback, an event, a message) from outside
	More   int           // steps one after the other
}

// total is the number of steps, and the result.
func (p program) total() int { return p.Steps + p.Fan + p.More }

// A step does nothing but tell that it ran: what is measured is its price.
func step(i int) (int, error) { return watch.body(i), nil }
