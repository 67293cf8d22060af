package main

import "testing"

func TestMountOf(t *testing.T) {
	t.Parallel()
	const mounts = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw 0 0\ntmpfs /data/tmp tmpfs rw 0 0\n/dev/c /data btrfs rw 0 0\nbroken\n"
	for path, want := range map[string]string{"/home/x": "ext4", "/data": "btrfs", "/data/y": "btrfs", "/database": "ext4", "/data/tmp/z": "tmpfs"} {
		if _, kind := mountOf(mounts, path); kind != want {
			t.Errorf("%s: %s, want %s", path, kind, want)
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	const text = "processor\t: 0\nmodel name\t: Fast: CPU\nmodel name\t: Other\n"
	if got := field(text, "model name"); got != "Fast: CPU" {
		t.Errorf("got %q", got)
	}
	if got := field(text, "model"); got != "" {
		t.Errorf("got %q", got)
	}
}
