package invocation

import (
	"bytes"
	"reflect"
	"runtime"
	"strconv"
)

// A blocked operation is unwound with runtime.Goexit when its execution is
// suspended: deferred calls run, recover sees nothing, and no error can be
// swallowed. That is right only on goroutines that the library started, and that
// own the context: on another one the handler would go on with zero values.
// Who runs is looked up just before a goroutine blocks or ends, or starts another one
// of ours, where the cost (some microseconds) does not matter.

var routineMainEntry = reflect.ValueOf(routineMain).Pointer()

// onOwnGoroutine reports whether the calling goroutine began in routineMain.
func onOwnGoroutine() bool {
	var pcs [64]uintptr
	for skip := 1; ; skip += len(pcs) - 4 {
		n := runtime.Callers(skip, pcs[:])
		if n == 0 {
			return false
		}
		if n < len(pcs) {
			for i := n - 1; i >= 0 && i >= n-4; i-- {
				if fn := runtime.FuncForPC(pcs[i] - 1); fn != nil && fn.Entry() == routineMainEntry {
					return true
				}
			}
			return false
		}
	}
}

// onItsGoroutine reports whether the calling goroutine is r's. It is not looked up for
// a handler that has started no other goroutine of ours, and for the item of a batch
// that has not waited yet: that one is taken for another item that got hold of its context.
// x.mu is held.
func (r *routine) onItsGoroutine() bool {
	r.identify()
	return r.goroutine == goroutineID()
}

// identify takes note of the calling goroutine as r's, if it is one of ours. x.mu is held.
func (r *routine) identify() {
	if r.goroutine == 0 && onOwnGoroutine() {
		r.goroutine = goroutineID()
	}
}

// goroutineID reads the number from the first line of the stack trace.
func goroutineID() uint64 {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	if i := bytes.IndexByte(line, ' '); i > 0 {
		id, _ := strconv.ParseUint(string(line[:i]), 10, 64)
		return id
	}
	return 0
}

// goexit ends the calling goroutine.
func goexit() { runtime.Goexit() }
