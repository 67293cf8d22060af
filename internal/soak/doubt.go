package soak

// A failover to a standby that lacks the end of what its primary had made loses what was
// acknowledged in that time, and nothing else. Whoever makes one says when that is; what
// is acknowledged meanwhile is in doubt. The outside asks for it again: an execution that
// was started then may be gone, and all that are not gone end. Records of that time may be
// gone, or others now, and bodies run again whose outcome was there. All rules hold for
// what the store has in the end, and for every execution that nothing happened to then.

// doubts are what the outside was told of an execution in doubt.
type doubts struct{ steer, callback, result bool }

// inDoubt has all that is acknowledged while do runs be in doubt.
func (w *World) inDoubt(do func() error) error {
	w.mu.Lock()
	w.doubtful = true
	w.mu.Unlock()
	w.witness.say(line{Kind: doubted})
	err := do()
	w.witness.say(line{Kind: certain})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubtful = false
	for _, x := range w.order {
		w.lives[0].askAgain(x)
	}
	return err
}

// hears notes that something was heard of an execution, maybe in doubt.
func (w *World) hears(x *asked) (inDoubt bool) {
	x.shaky = x.shaky || w.doubtful
	return w.doubtful
}

// askAgain takes back what is in doubt of an execution, and asks for it once more.
func (l *life) askAgain(x *asked) {
	d := x.doubts
	x.doubts = doubts{}
	if d.result {
		x.result, x.finished = "", false
	}
	if d.steer {
		x.steered = false
	}
	if d.callback {
		x.delivered = ""
	}
	if d == (doubts{}) || x.finished {
		return
	}
	l.result(x)
	l.steer(x)
	if x.callback != "" && x.delivered == "" {
		l.complete(x)
	}
}

// wasLost reports whether an answer is right because something was lost that was in doubt:
// an execution is gone, or has not come again to its callback.
func (l *life) wasLost(r request, x *asked, failure string) bool {
	switch {
	case x.mayGo && failure == "not found":
		x.gone, x.finished = true, true
	case x.shaky && failure == "no callback":
		l.again(r)
	case l.behind && (failure == "not found" || failure == "no callback"):
		l.again(r)
	default:
		return false
	}
	return true
}

// whileBehind has answers that something is not there be doubted while do runs: some come from
// a primary that is none any more.
func (w *World) whileBehind(do func() error) error {
	w.mu.Lock()
	w.behind = true
	w.mu.Unlock()
	err := do()
	w.mu.Lock()
	w.behind = false
	w.mu.Unlock()
	return err
}

// doubtOf says which lines of the witness are in doubt, and the executions of which there
// are such lines.
func doubtOf(lines []line) (in []bool, shaky map[string]bool) {
	in, shaky = make([]bool, len(lines)), make(map[string]bool)
	doubtful := false
	for i, l := range lines {
		switch l.Kind {
		case doubted:
			doubtful = true
		case certain:
			doubtful = false
		}
		if in[i] = doubtful; doubtful && l.Execution != "" {
			shaky[l.Execution] = true
		}
	}
	return in, shaky
}
