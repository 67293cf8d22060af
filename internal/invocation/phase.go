package invocation

// phase is where a invocation is in its life.
//
//	loading --> running <--> releasing --> closed   suspended, or refused: there is news
//	   |  \        |  |  \----> ending ----> closed   the final record is on its way
//	   |   \       |  |            ^
//	   |    \----> holding --------+                  the code does not fit the journal: a note is
//	   |              ^  |
//	   \-------> retiring <--> releasing --> closed   the engine shuts down
//
// From each it may get to closed at once: fenced, stopped, timed out, an append failed,
// the engine closed.
//
// What each lets through, see rights:
//
//	            effects   records   events   end
//	loading        -        yes       -       -     what came meanwhile is taken over in order (catchUp)
//	running       yes       yes      yes     yes
//	releasing      -         -        -       -     nothing runs; news refuse the release, and are taken then
//	holding        -        yes      yes      -     bodies are waited for, and all that may end them goes on
//	retiring       -        yes      yes     yes    so they are here
//	ending         -         -        -       -
//	closed         -         -        -       -     all code of it ends, what it returns is dropped
type phase uint8

const (
	phaseLoading phase = iota
	phaseRunning
	phaseReleasing
	phaseHolding
	phaseRetiring
	phaseEnding
	phaseClosed
)

// rights are what a phase lets through.
type rights uint8

const (
	letEffects rights = 1 << iota // code begins operations and sees their outcomes
	letRecords                    // what bodies return, what is due and what comes from outside is recorded
	letEvents                     // timers fire (waits, timeouts, the deadline), the inbox is taken over (cancels, too)
	letEnd                        // what the handler returns is the execution's end
)

var rightsOf = [...]rights{
	phaseLoading:   letRecords,
	phaseRunning:   letEffects | letRecords | letEvents | letEnd,
	phaseReleasing: 0,
	phaseHolding:   letRecords | letEvents,
	phaseRetiring:  letRecords | letEvents | letEnd,
	phaseEnding:    0,
	phaseClosed:    0,
}

func (p phase) lets(r rights) bool { return rightsOf[p]&r != 0 }
