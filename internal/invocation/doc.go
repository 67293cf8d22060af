// Package invocation is one stay of an execution in memory: it runs the handler's code over
// what is recorded, and records what happens. Where that is, it does not know: a Host keeps
// the journal, says what time it is, starts other executions and is told what happens. The
// engine is one.
//
// Reading it:
//
//	host.go             what it asks of the world; config.go: what it is made of
//	invocation.go       its state, its goroutines (routines), how one blocks and is woken
//	phase.go            where it is in its life, and what that lets through: a table
//	begin.go            loading, and what came or became due meanwhile
//	handler.go          the handler's run and its end
//	suspend.go          idle, suspended, held, finished, lost, closed, gone
//	journal.go          what is recorded, and who waits for it: where a result is made durable
//	inbox.go, due.go    what comes from outside, and with time
//	scope.go            contexts as scopes: what a cancel, and an end, does in them
//	standardcontext.go  where a cancel is shown to code, and how a replay knows that it was
//	life.go             what every operation does first and last
//	attempt.go          steps and conditions, their attempts and bodies; info.go: what a body knows
//	child.go, batch.go, batchresult.go, await.go, gather.go, settled.go, wait.go, callback.go,
//	invoke.go, note.go, transaction.go: what each operation does between
//	replay.go           a stay that begins nothing and records nothing
//	state.go            what is seen of it from outside
//	threads.go          how its goroutines take turns: a port, for tests that try every order
//
// All of its state is under one lock, mu; "x.mu is held" says who must have it. No code of
// the user's runs under it, and no store is waited for: what may take time is done without
// it, and then looks again whether it may go on (mayGoOn). TestExplore tries the orders in
// which small programs can run, each cut off where it may be; an order that it finds can be
// run again. The host's methods that are
// called with it are marked in host.go. Its neighbours: below it journal and history, which
// have no lock; above it the root, which makes bytes and failures of Go values and errors,
// and the host.
package invocation
