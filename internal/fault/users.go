package fault

import (
	"errors"
	"slices"
)

// Is is errors.Is for the user's errors, whose methods may do anything.
func Is(err, target error) (is bool) {
	if err != nil {
		Apart(func() { is = errors.Is(err, target) })
	}
	return is
}

// Apart calls f, which calls methods of the user's errors, on a goroutine of its
// own, and waits for it: f may panic, and may call runtime.Goexit. Errors are rare
// enough for that.
func Apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		f()
	}()
	<-done
}

// MaxDepth is how many errors may be wrapped one in another.
const MaxDepth = 10_000

// Deeper reports whether more than limit errors are wrapped one in another.
func Deeper(err error, limit int) bool {
	for ; err != nil; limit-- {
		if limit == 0 {
			return true
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(e.Unwrap(), func(inner error) bool { return Deeper(inner, limit-1) })
		default:
			return false
		}
	}
	return false
}
