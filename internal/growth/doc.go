// Package growth holds tests that nothing grows with the square: whatever comes in
// numbers (operations, callbacks, executions, those who wait), and however it ends, four
// times as much of it is about four times the work. The work is counted, not timed.
package growth
