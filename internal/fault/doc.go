// Package fault has failures as they are recorded (Failure), the errors that the engine
// names them by, and what is needed to look at errors of the user's, whose methods may do
// anything: panic, end their goroutine, wrap themselves.
//
// A Failure is what becomes of an error where the user's code returns it; from there on
// nothing but failures is handed about, and the root makes errors of them again for those
// who ask. It has no lock and keeps nothing: what is in a Failure does not change once it is
// recorded.
package fault
