// Package durabletest tests durable functions: in virtual time, without a disk,
// and through crashes.
//
// Test gives a test an engine in which a month's wait takes microseconds, and in
// which callbacks are answered and steps and invoked functions are stubbed by
// name. CrashEverywhere runs a function once for each checkpoint it makes, crashes
// there, and fails if that shows. Replay runs today's code over what a real
// execution recorded.
//
//	func TestOrder(t *testing.T) {
//		durabletest.Test(t, durabletest.Config{
//			Functions: []durable.Definition{orders},
//			Steps: map[string]durabletest.Step{
//				"charge": func(ctx context.Context, info durable.StepInfo) (any, error) { return "receipt 7", nil },
//			},
//			Answers: map[string]durabletest.Answer{
//				"approval": func(cb *durabletest.Callback) { cb.Succeed("yes") },
//			},
//		}, func(t *testing.T, e *durabletest.Engine) {
//			out, err := orders.Run(t.Context(), e.Engine, Order{ID: "42"})
//			…
//		})
//	}
//
// Everything runs in a bubble of testing/synctest: time stands still while
// anything runs, and jumps to the next timer when nothing does. So code under test
// must not wait for what is outside of the bubble, such as a network or a child
// process: stub it.
//
// The package imports the standard library and this module only.
package durabletest
