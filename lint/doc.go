// Package lint finds mistakes in the handlers of durable functions: code that
// takes another way on a replay than on the first run.
//
// It is one analyzer in the sense of golang.org/x/tools/go/analysis, with a
// handful of rules. Package cmd/durablelint is the program, which runs alone and
// under go vet; package golangci makes it a plugin of golangci-lint. The README
// beside this file shows each rule with bad and good code.
//
// Handler code is a function with a parameter of type *durable.Context, and the
// function literals in it, except bodies: a step's body, a condition's check, a
// callback's submitter. An operation is what the package durable declares with a
// *Context in front. A function of the same package that performs operations, and
// one of another package that takes a *durable.Context, count as operations too.
//
// The analyzer looks at one package at a time and does not follow values. It
// would rather miss a mistake than report what is none. What is reported and yet
// right is allowed with a reason, on its line or the line above:
//
//	//durable:allow maprange the map has one key at most
package lint
