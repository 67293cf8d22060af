// Package pause makes a process stand still for a while, as a laptop's lid or a
// frozen virtual machine does. It is for tests.
package pause

import "os"

// Stop makes a process stand still until GoOn or its end. Where the system can't, the
// error is an errors.ErrUnsupported.
func Stop(p *os.Process) error { return stop(p) }

// GoOn lets a process that stands still go on.
func GoOn(p *os.Process) error { return goOn(p) }
