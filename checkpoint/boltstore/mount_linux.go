package boltstore

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// isMount reports whether a file or folder is mounted by itself: what lies beside it, then
// lies somewhere else. What the system does not tell is no mount.
func isMount(path string) bool {
	own, known := mountOf(path)
	folder, knownToo := mountOf(filepath.Dir(path))
	if known && knownToo {
		return own != folder
	}
	return isMountPoint(path)
}

// mountOf is the number of the mount that a path is in.
func mountOf(path string) (id string, known bool) {
	const openPath = 0x200000 // O_PATH: it is named, not opened, which takes no right to read
	fd, err := syscall.Open(path, openPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer syscall.Close(fd)
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == "mnt_id" {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// isMountPoint looks for a path among the mount points, for systems that number no mounts.
func isMountPoint(path string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && plain.Replace(fields[4]) == path {
			return true
		}
	}
	return false
}
