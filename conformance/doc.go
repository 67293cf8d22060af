// Package conformance holds this library against the conformance cases of AWS
// durable functions, event by event. It has tests only.
//
// The cases are data in a folder of their own, one YAML file a case, named by
// the environment variable DURABLE_CONFORMANCE. They are the language-neutral
// requirements of github.com/aws/aws-durable-execution-conformance-tests and
// are not part of this repository; without them TestCases is skipped. For each
// case there is a handler here, found by the case's file ("step/1-1"), in the
// file cases_<suite>_test.go. What is named otherwise here than there stands in
// shape_test.go, the cases that are left out on purpose in case_test.go.
//
// The other tests are our own: behaviour of the same operations that the
// cases leave out, written as scenarios with the history that AWS would show.
//
// Cases and scenarios run on each store, with ParkFor negative, so that an
// invocation is one stay in memory as it is on Lambda, and in virtual time.
//
//	go test ./...                       all of it
//	go test -run TestCases ./...        the cases
//	go test -run TestCases/./step/1-17  one case on both stores
package conformance
