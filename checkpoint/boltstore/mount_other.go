//go:build !linux

package boltstore

// isMount is false: files are not mounted by themselves here, or not so that it is known.
func isMount(string) bool { return false }
