// Package faults holds tests of a whole engine on a disk and a system that fail:
// flushes and writes that return errors, full disks, files that are removed, clocks
// that jump, processes that are stopped, and two that want one file.
package faults
