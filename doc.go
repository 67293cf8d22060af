// Package durable runs Go functions that survive crashes, deploys and long waits.
//
// A handler is an ordinary function that takes a *[Context]. What it does
// through that context is an operation, and every operation is checkpointed to
// a store: a file, by default. After a crash, a deploy or a wait of a month the
// handler is run again from the top. Operations that have an outcome return it
// at once, and the handler goes on at the first one that has none.
//
//	var checkout = durable.Define("checkout", func(ctx *durable.Context, o Order) (Receipt, error) {
//		charge, err := durable.Call(ctx, "charge", chargeCard, o)
//		if err != nil {
//			return Receipt{}, err
//		}
//		if err := durable.Wait(ctx, "cool-off", 24*time.Hour); err != nil {
//			return Receipt{}, err
//		}
//		return durable.Call(ctx, "ship", ship, charge)
//	})
//
//	engine, err := durable.Open("orders.db", &durable.Options{Functions: []durable.Definition{checkout}})
//	receipt, err := checkout.Run(ctx, engine, order, durable.WithExecutionID("order-42"))
//
// # Words
//
// A function is a registered handler. An execution is one run of it, from start
// to a final status, under an ID. An operation is one durable thing that an
// execution does: a step, a wait, a callback, an invoke, a child context. An
// attempt is one call of a step's body. An invocation is one stay of an
// execution in memory: from the moment its handler is entered until it ends or
// is suspended. To suspend is to leave memory because nothing can go on until a
// timer, a callback or another execution comes; to replay is to enter the
// handler again with what is recorded.
//
// # What handler code may do
//
// A handler runs again at every wake-up, so it must ask for the same operations
// in the same order whenever it gets the same results:
//
//   - Effects belong into steps: requests, queries, files, prints that must
//     appear once. A step's body gets a context.Context; a *Context is on
//     purpose not one, so that handler code can't call them by mistake.
//   - Time, randomness and settings that may change belong into operations too:
//     [Now], [NewUUID], or a [Step].
//   - No ranging over maps, no select, no global state, where it decides what
//     operation comes next.
//   - No goroutines of one's own with operations in them. A *Context belongs to
//     the goroutine that its function was called on. Use [Go], [Parallel] and
//     [Map], which give each branch a context and a goroutine of its own. Inside
//     a child, use the child's context.
//   - Pure code between operations is free to do what it likes, goroutines
//     included, as long as the result is the same each time.
//
// # Deferred calls run at every suspension
//
// When an execution leaves memory, the goroutines of its handler end where they
// are, by runtime.Goexit. There is no error that means "suspended" and that code
// would have to pass on. But deferred calls run, each time: at a suspension, at
// a shutdown, and when the execution is stopped. So
//
//   - Defer what belongs to the stay in memory: unlock a mutex, close a file
//     that the handler opened for reading, count a metric.
//   - Do not defer what belongs to the end of the execution. A deferred plain
//     call that deletes the upload deletes it at the first long wait. A deferred
//     operation does nothing at a suspension (operations that are called while
//     their goroutine ends just end it again), but it does run when the handler
//     returns or panics.
//
// Undo on the path that needs it:
//
//	if err := durable.Do(ctx, "ship", ship); err != nil {
//		return errors.Join(err, durable.Do(ctx.WithoutCancel(), "refund", refund))
//	}
//
// While a handler is suspended recover returns nil, and what its deferred calls
// do to named results is ignored.
//
// # Changes of code
//
// Replay checks type, sub-type and name of each operation. Code that asks for
// something else than what is recorded gets a [NonDeterministicError], which
// the handler does not see: the execution is held. A held execution keeps its
// status RUNNING and its history as it was; Describe says why. Deploy code that
// fits and it goes on, because a hold is bound to the build that set it
// (Options.Build); [Engine.Resume] lifts it by hand. [Version] guards a change
// under executions that are under way. With Options.FailOnMismatch such an
// execution fails instead.
// docs/changing-code.md lists what is safe, what is not, and what nobody notices.
//
// # What is guaranteed
//
// Durable means written and synced to the disk.
//
//   - [Function.Start] returns when the execution is durable. From then on it
//     runs to its end, whatever happens to the process, provided that some
//     process opens the store with its function.
//   - An outcome is recorded before the handler sees it, and it never changes. A
//     step whose outcome is durable never runs again.
//   - Before an effect begins, everything that the execution recorded before is
//     durable. Effects are bodies, starting an invoked execution, handing out a
//     callback ID, and answering Result. The code between them runs ahead of the
//     disk: after a crash, what it printed may appear again, and a step that had
//     returned may run again if no effect had followed it yet.
//   - A body runs at least once: a crash in the middle of an attempt means the
//     attempt is made again, with the same number. [StepInfo] has an
//     IdempotencyKey to give to whom the body calls. With [AtMostOnce] each
//     attempt runs at most once, and one that was cut off has failed with
//     [ErrInterrupted].
//   - A timer never fires early. One that passed while nothing was running
//     fires when the store is opened.
//   - A callback takes exactly one outcome. A completion that was acknowledged is
//     never lost, also one that comes before the handler waits for it, or while
//     nothing is running. One that comes after the callback's timeout is refused.
//   - An invoked execution is started once.
//   - At most one engine drives an execution at a time.
//
// Values are returned as decoded from their record, on the first run as on
// replay, so an unexported field is gone on both. One that can't be decoded again
// is an error ([ErrCodec]) where it is made. The engine's times are in UTC;
// a time.Time of one's own keeps its offset in JSON, but not the name and the
// rules of its zone: return t.UTC().
//
// # Errors
//
// A failed operation returns an *[OpError], which says what failed, where, after
// how many attempts, and wraps a *[Failure]: the error as it was recorded, with
// its type's name and message. Both are rebuilt from the record on the first run
// too, so code that looks at errors takes the same way each time. Use errors.Is
// with the sentinels ([ErrTimeout], [ErrCanceled], [ErrCallbackFailed] …), and
// errors.AsType for *OpError and *Failure, also through child contexts, batches
// and invokes. One's own sentinels and error types are found again after a
// replay when Options.Errors lists them.
//
// ErrTimeout and ErrCanceled say that an operation ended so. They do not match
// the errors of package context, which say that somebody stopped waiting, for
// example in [Execution.Result].
//
// In a body, [Permanent] ends the retries and [RetryAfter] sets the delay. A
// panic in a body is a failed attempt, with its stack; in a handler it fails the
// execution.
//
// # Cancel, stop, timeouts
//
// Each child context, branch and item is a scope. When its function returns,
// what it started and did not await is cancelled and can record nothing more.
// [Engine.Cancel], and WithTimeout on a child or a batch, cancel a scope from
// outside: what waits in it returns ErrCanceled or ErrTimeout, running bodies
// see their context end, later operations return the same error at once. Undo on
// [Context.WithoutCancel]. [Engine.Stop] and the execution's own timeout
// ([WithExecutionTimeout]) are not cooperative: the status is final first.
//
// A body can't be killed. One that ignores its context runs on, and what it
// returns is not recorded once its execution or its scope has ended.
//
// # Looking and repairing
//
// [Engine.Describe], [Engine.Executions], [Engine.Count], [Engine.Operations] and
// [Engine.History] tell what is; [Engine.Follow] and [Engine.Changes] what becomes.
//
// Three calls start an execution that begins as another one did, which stays as it is:
//
//   - [Engine.Retry], when one failed, timed out or was stopped, and what was wrong has been
//     mended: it keeps what succeeded and does again what failed. It never forgets what
//     happened after the failure, such as a compensation, unless [AllowDrop] is given; an
//     execution that was invoked is retried with its caller.
//   - [Engine.RestartFrom], when you know from which operation on it is to be done again:
//     after a compensation from what was undone, with [WithNewIdempotencyKeys]; or when
//     what succeeded was wrong.
//   - [Engine.Import], with what [Engine.Recording] has taken out of a store as JSON, when
//     it is to go on, or to be looked at, in another one.
//
// What they do again has the idempotency key that it had, so that a receiver which heeds
// it does nothing twice.
//
// # Storage
//
// [Open] keeps everything in one bbolt file, for one process at a time; a second
// one gets [ErrLocked] at once. While it is open, and after a crash, a write-ahead
// log lies beside it, in a folder with -wal behind the file's name: the two belong
// together. After Shutdown or Close the file alone is everything. [New] takes any
// [checkpoint.Store]; checkpoint/memstore keeps everything in memory, for tests.
// Authors of stores check theirs with checkpoint/storetest. After a write to the
// disk failed, nothing is written any more and every call returns
// [ErrStoreFailed]; opening the file again recovers.
//
// Payloads are JSON by default, see [Codec]. One is at most Options.MaxPayload;
// put what is larger elsewhere and record a reference. Executions that have
// ended are removed after Options.Retention, by default seven days.
//
// # Lifecycle
//
// Open begins at once to run what the file holds, so list every function in
// Options.Functions that may be in it; an execution whose function is missing
// waits for an engine that has it. Idle executions leave memory after
// Options.ParkFor; at most Options.MaxResident are in memory. Nothing polls.
//
// [Engine.Shutdown] lets running bodies end and records them; after it returned
// nil, none has to run again. [Engine.Close] is as safe as a crash, and as rude.
//
// # Testing
//
// Time is the standard library's, so a test in a testing/synctest bubble, on
// memstore, waits a day in no time:
//
//	synctest.Test(t, func(t *testing.T) {
//		engine, err := durable.New(memstore.New(), &durable.Options{ParkFor: -1, Functions: …})
//		…
//	})
//
// ParkFor: -1 suspends whenever nothing can go on, so that every wait is a
// replay and code that is not deterministic is found out early.
//
// # Security
//
// Who has a callback's ID may complete that callback, once; it is not guessable
// and is never logged. [Engine.Operations] and [Engine.History] show open
// callback IDs and all payloads: put an authorizer in front of them. The file is
// not encrypted unless Options.Sealer is set; package durableseal has one.
package durable
