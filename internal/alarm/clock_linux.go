package alarm

import (
	"container/heap"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Early is how long before it is due something is to be left to a Clock: more than the
// lateness of the runtime's timers.
const Early = 1500 * time.Microsecond

// Clock calls functions. It has one goroutine, and only while it has something to call:
// it reads from a timer of the kernel, to which the runtime's poller listens like to a
// socket. The zero value is ready.
type Clock struct {
	mu      sync.Mutex
	due     calls
	timer   *os.File // nil: not opened yet
	setAt   time.Time
	reading bool
	closed  bool

	// standing: the time does not go on by itself, as in a bubble of testing/synctest.
	// There the runtime's timers are exact.
	standing bool
}

type call struct {
	at time.Time
	f  func()
}

// calls is a heap by time.
type calls []call

func (c calls) Len() int           { return len(c) }
func (c calls) Less(i, j int) bool { return c[i].at.Before(c[j].at) }
func (c calls) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *calls) Push(v any)        { *c = append(*c, v.(call)) }
func (c *calls) Pop() any {
	last := len(*c) - 1
	v := (*c)[last]
	(*c)[last] = call{}
	*c = (*c)[:last]
	return v
}

// After calls f on a goroutine of its own after d.
func (c *Clock) After(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.standing {
		time.AfterFunc(d, f)
		return
	}
	if c.timer == nil {
		c.timer = openTimer()
	}
	at := time.Now().Add(d)
	if (len(c.due) == 0 || at.Before(c.due[0].at)) && !c.set(d) {
		time.AfterFunc(d, f) // no such timers here
		return
	}
	heap.Push(&c.due, call{at, f})
	if !c.reading {
		c.reading = true
		go c.read()
	}
}

func (c *Clock) read() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ticks [8]byte
	for len(c.due) > 0 {
		c.mu.Unlock()
		_, err := c.timer.Read(ticks[:])
		c.mu.Lock()
		now := time.Now()
		if err != nil { // it was closed
			break
		}
		c.standing = now.Equal(c.setAt)
		for len(c.due) > 0 && (c.standing || !c.due[0].at.After(now)) {
			next := heap.Pop(&c.due).(call)
			if d := next.at.Sub(now); d > 0 {
				time.AfterFunc(d, next.f)
			} else {
				go next.f()
			}
		}
		if len(c.due) > 0 {
			c.set(c.due[0].at.Sub(now))
		}
	}
	c.reading = false
}

// Close drops what is not due yet and ends the goroutine.
func (c *Clock) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.due = true, nil
	if c.timer != nil {
		c.timer.Close()
	}
}

// openTimer opens a timer of the kernel; nil if it has none.
func openTimer() *os.File {
	const monotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil
	}
	return os.NewFile(fd, "timerfd")
}

// set makes the timer ring after d. c.mu is held.
func (c *Clock) set(d time.Duration) (ok bool) {
	if c.timer == nil {
		return false
	}
	raw, err := c.timer.SyscallConn()
	if err != nil {
		return false
	}
	c.setAt = time.Now()
	spec := struct{ interval, value syscall.Timespec }{value: syscall.NsecToTimespec(int64(max(d, 1)))}
	err = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
		ok = errno == 0
	})
	return ok && err == nil
}
