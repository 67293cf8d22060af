// Package durableui is the console: a web page that shows what an engine's executions
// do, what they wait for and why they failed, and lets people with the right to do so
// act on them.
//
// It is a handler in front of the API of package durablehttp. Mount it where you like:
//
//	admin := durablehttp.Admin(engine, &durablehttp.AdminOptions{Authorize: authorize})
//	mux.Handle("/console/", http.StripPrefix("/console", durableui.Handler(admin)))
//
// Put what asks people who they are (basic auth, a session, a proxy) around it, so that
// the browser sends it along with each request to the API, whose Authorize decides.
//
// # What it shows
//
// The list of executions, newest first, with the number of each status, filters that
// stand in the address (status, function, beginning of the ID, time), and what each of
// them does or waits for. It follows what happens, and puts nothing new into the list
// while somebody reads it.
//
// An execution: its operations on a time axis, nested as they were run, each attempt a
// bar, waiting hatched; long waits are folded, so that milliseconds beside days can be
// seen. The operation that is chosen shows its input, result, error and attempts. Its
// history as a table and as JSON. The executions that it invoked, and who invoked it.
//
// What can be done: start, import, cancel, stop, resume, retry, restart from an
// operation, complete or fail a callback or keep it alive, delete. Each but the
// heartbeat asks before it acts. With
// AdminOptions.ReadOnly there are no such buttons; with AdminOptions.HidePayloads
// inputs and results are shown when asked for.
//
// # What it is made of
//
// Plain HTML, CSS and JavaScript modules, embedded in the program: no build, no
// third-party code, nothing loaded from elsewhere. Its Content-Security-Policy allows
// nothing inline and nothing made of text. It needs a browser of 2024 or later. Press ?
// for its keys; it works with a screen reader and on a telephone.
package durableui
