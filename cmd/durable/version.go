package main

import "runtime/debug"

// version is the version of this program, as go install made it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "durable (devel)"
	}
	return "durable " + info.Main.Version + " " + info.GoVersion
}
