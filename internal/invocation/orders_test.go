package invocation

import (
	"runtime"
	"slices"
	"time"
)

// orders is Threads whose owner decides who goes on: one goroutine runs at a time, and at each
// point where more than one could go on, or something could come from outside, choose says
// which. So a list of choices is an order, and the same list is the same order again.
type orders struct {
	threads []*thread
	current *thread
	locked  bool
	dead    bool
	yielded chan struct{}
	choose  func(options int) int
	outside func() []event // what may come from outside now
	idle    func()         // told when nothing goes on by itself; nil: nobody is
}

// event is something that comes from outside: when it is chosen, it comes no more, and returns
// what its goroutine does.
type event func() func()

type thread struct {
	run     chan struct{}
	waiting any // for what; nil: it can go on
	done    bool
}

func newOrders(choose func(options int) int) *orders {
	return &orders{yielded: make(chan struct{}), choose: choose, outside: func() []event { return nil }}
}

func (s *orders) Go(f func()) {
	th := &thread{run: make(chan struct{})}
	s.threads = append(s.threads, th)
	go func() {
		<-th.run
		defer func() {
			th.done = true
			if !s.dead {
				s.yielded <- struct{}{}
			}
		}()
		if !s.dead {
			f()
		}
	}()
}

// yield lets somebody else decide who goes on.
func (s *orders) yield() {
	th := s.current
	s.yielded <- struct{}{}
	<-th.run
	s.live()
}

// live ends the goroutine if the run is over.
func (s *orders) live() {
	if s.dead {
		runtime.Goexit()
	}
}

// Lock is where another one may go first: whoever does not have the lock changes nothing.
func (s *orders) Lock() {
	s.live()
	if s.current != nil {
		s.yield()
	}
	if s.locked {
		panic("the lock is taken twice")
	}
	s.locked = true
}

func (s *orders) Unlock() { s.locked = false }

func (s *orders) Wait(on any) {
	s.live()
	s.locked = false
	s.current.waiting = on
	s.yield()
	s.locked = true
}

func (s *orders) Wake(on any) {
	for _, th := range s.threads {
		if th.waiting == on {
			th.waiting = nil
		}
	}
}

// AfterFunc never calls f: what a timer of the invocation's own does (sending what waits for
// company, leaving memory later, warning) may as well not happen.
func (s *orders) AfterFunc(time.Duration, func()) Timer { return noTimer{} }

type noTimer struct{}

func (noTimer) Reset(time.Duration) bool { return true }
func (noTimer) Stop() bool               { return true }

// run runs until nothing can go on and nothing comes from outside.
func (s *orders) run() {
	for {
		s.threads = slices.DeleteFunc(s.threads, func(th *thread) bool { return th.done })
		var options []func()
		add := func(th *thread) {
			options = append(options, func() {
				s.current = th
				th.run <- struct{}{}
				<-s.yielded
			})
		}
		if th := s.current; th != nil && !th.done && th.waiting == nil {
			add(th) // the first choice is that nothing interrupts
		}
		for _, th := range s.threads {
			if th != s.current && th.waiting == nil {
				add(th)
			}
		}
		if len(options) == 0 && s.idle != nil {
			s.idle()
		}
		for _, come := range s.outside() {
			options = append(options, func() { s.Go(come()) })
		}
		if len(options) == 0 {
			return
		}
		k := 0
		if len(options) > 1 {
			k = s.choose(len(options))
		}
		options[min(k, len(options)-1)]()
	}
}

// end ends all goroutines that are left.
func (s *orders) end() {
	s.dead = true
	for _, th := range s.threads {
		if !th.done {
			close(th.run)
		}
	}
}
