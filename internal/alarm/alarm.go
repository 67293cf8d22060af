// Package alarm calls functions at a time to within a tenth of a millisecond.
//
// A timer of package time is late by up to a millisecond where the runtime waits in whole
// milliseconds, as it does on Linux. There, set such a timer to ring Early, and leave the
// rest to a Clock.
package alarm
