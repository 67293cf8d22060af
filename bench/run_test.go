package main

import (
	"slices"
	"testing"
)

func TestChosen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		only               []string
		systems, workloads int
		firstWorkload      string
	}{
		{"All", nil, len(systems("")), len(workloads(0)), "sequence"},
		{"AWorkload", []string{"late"}, len(systems("")), 1, "late"},
		{"WorkloadsThatBeginSo", []string{"burst", "burst 64"}, len(systems("")), 2, "burst 64"},
		{"SystemsThatContainIt", []string{"sqlite"}, 3, len(workloads(0)), "sequence"},
		{"Both", []string{"Bolt", "fan"}, 1, 2, "fan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ss, ws, err := chosen(c.only, systems(""), workloads(0))
			if err != nil || len(ss) != c.systems || len(ws) != c.workloads || ws[0].name != c.firstWorkload {
				t.Errorf("got %d systems, %d workloads, %v", len(ss), len(ws), err)
			}
		})
	}
	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		if _, _, err := chosen([]string{"nothing"}, systems(""), workloads(0)); err == nil {
			t.Error("no error")
		}
	})
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	var names, keys []string
	for _, w := range workloads(1) {
		names = append(names, w.name)
		for _, m := range w.metrics {
			keys = append(keys, m.key)
		}
	}
	for _, s := range systems("postgres://") {
		names = append(names, s.name())
	}
	for _, list := range [][]string{names, keys} {
		slices.Sort(list)
		if n := len(slices.Compact(slices.Clone(list))); n != len(list) {
			t.Errorf("twice in %q", list)
		}
	}
}
