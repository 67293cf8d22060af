package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// A machine is what the figures hold for. What the system doesn't tell is "?".
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     string `json:"memory"`
	Filesystem string `json:"filesystem"`
	Device     string `json:"device"`
	Load       string `json:"loadBefore"`
	Go         string `json:"go"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
}

// thisMachine looks into /proc, where there is one.
func thisMachine(folder string) machine {
	m := machine{CPU: "CPU ?", Cores: runtime.NumCPU(), Memory: "?", Filesystem: "file system ?", Device: "?", Load: "?",
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if s := field(read("/proc/cpuinfo"), "model name"); s != "" {
		m.CPU = s
	}
	if s := field(read("/proc/meminfo"), "MemTotal"); s != "" {
		if kib, err := strconv.ParseFloat(strings.TrimSuffix(s, " kB"), 64); err == nil {
			m.Memory = inBytes.format(kib * 1024)
		}
	}
	if fields := strings.Fields(read("/proc/loadavg")); len(fields) > 0 {
		m.Load = fields[0]
	}
	if path, err := filepath.Abs(folder); err == nil {
		if device, kind := mountOf(read("/proc/mounts"), path); kind != "" {
			m.Device, m.Filesystem = device, kind
		}
	}
	return m
}

func read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// field is the value of the first line "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// mountOf finds the longest mount point that the path is below; the last one
// mounted there counts.
func mountOf(mounts, path string) (device, kind string) {
	longest := -1
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		below := f[1] == "/" || path == f[1] || strings.HasPrefix(path, f[1]+"/")
		if below && len(f[1]) >= longest {
			longest, device, kind = len(f[1]), f[0], f[2]
		}
	}
	return device, kind
}
