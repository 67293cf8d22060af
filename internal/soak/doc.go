// Package soak kills processes that work on a store, again and again, and compares what
// they did, what they promised, and what the store holds in the end. Tests use it.
//
// A round is one file and many lives of a process on it (Config.File), or a database and
// a fleet of processes to which things happen (Config.Fleet). The workload has one of
// every operation. The outside, which is the test, starts executions, completes
// callbacks, cancels, stops and asks for results; it counts only what it was told. What
// bodies do stands in the witness, and what the store said.
package soak
