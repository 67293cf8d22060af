// Package browsertest drives the console of package durableui in a real browser. It is
// a module of its own, because what drives the browser is no dependency of the library.
// The tests are skipped where no Chromium is installed.
//
//	go test ./...                     the tests, with the figures that they measure under -v
//	go test . -console.shots          also takes the pictures in docs/ anew
package browsertest
