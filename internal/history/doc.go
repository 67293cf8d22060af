// Package history tells what records say.
//
// A journal is folded into operations (Operations.Apply), one for each position that the
// code of an execution has come to; everything that is read out of a journal is read out of
// that fold: what an execution goes on from, what people are shown, what a retry keeps, what
// can be imported. It is pure: no goroutine, no clock, no lock, no store, no engine. A fold
// belongs to whoever made it.
//
// What each record means is told by cases, which are tests: testdata/operations.txt begins
// with a step, scopes.txt tells of cancels, retry.txt, restart.txt and keys.txt of executions
// that begin as another one, check.txt of what can't be a journal.
//
//	operation.go  the fold of a record into its operation, and the states of an operation
//	open.go       what is open in a context
//	cancel.go     whom a cancel reaches, and what it makes of them
//	times.go      times, and what is earlier
//	kinds.go      what a type of record is
//	ids.go        IDs and names: which are allowed, how they are ordered, what derives from them
//	describe.go   operations for people, and whether code asks for what is recorded
//	batch.go      the decision of a batch
//	keys.go       idempotency keys that an execution has from the one it began as
//	ended.go      a whole journal, of an execution that has ended
//	restart.go    what another execution begins with
//	blame.go      what an execution failed of, and what a retry keeps
//	check.go      whether records can be a journal
package history
