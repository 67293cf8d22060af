package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// someReport: ours takes 200 ns, one peer 800, another 500 for half the work, and
// a third fails. The floor is 100 ns.
func someReport(each bool) *report {
	r := &report{
		Machine: machine{CPU: "a <CPU>", Cores: 2, Go: "go1"}, Rounds: 2,
		Systems: []about{{Name: "ours", Kind: ours}, {Name: "full", Kind: peer}, {Name: "half", Kind: peer}, {Name: "broken", Kind: peer}},
		Floor:   []floorLine{{Title: "write", metric: metric{key: "floor"}}},
		cells:   map[string]*cell{},
	}
	r.addFloor(reply{Figures: figures{"floor": {P50: 90, P99: 900}}})
	r.addFloor(reply{Figures: figures{"floor": {P50: 110, P99: 1100}}})
	r.Lines = []*line{{Key: "k", Title: "a thing", Workload: "w", Unit: nanoseconds, Size: 10, metric: metric{key: "k", unit: nanoseconds, flushes: true, each: each}}}
	for i, c := range []cell{{Size: 10}, {Size: 10}, {Size: 5, Note: "slow"}, {Size: 10}} {
		c.about = &r.Systems[i]
		r.cells["w/"+r.Systems[i].Name] = &c
		for _, found := range [][]float64{{100, 700, 500}, {300, 900, 500}} {
			if i == 3 {
				c.add(reply{Error: "it broke"})
			} else {
				c.add(reply{Figures: figures{"k": {P50: found[i]}}, Durability: "checked"})
			}
		}
	}
	r.sum()
	return r
}

func TestReportCompares(t *testing.T) {
	t.Parallel()
	near := func(t *testing.T, name string, got, want float64) {
		t.Helper()
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	t.Run("WithPeersThatDidTheSame", func(t *testing.T) {
		t.Parallel()
		ours := someReport(false).Lines[0].Values[0]
		near(t, "median", ours.Median.P50, 200)
		near(t, "to floor", ours.ToFloor, 2)
		near(t, "to the best peer", ours.ToPeer, 4)
	})
	t.Run("WithAllWhereSizeDoesNotMatter", func(t *testing.T) {
		t.Parallel()
		near(t, "to the best peer", someReport(true).Lines[0].Values[0].ToPeer, 2.5)
	})
	t.Run("Rates", func(t *testing.T) {
		t.Parallel()
		l := &line{Unit: perSecond, metric: metric{flushes: true}, Values: []*value{{Median: figure{P50: 5e7}}, {kind: peer, Median: figure{P50: 1e7}}}}
		l.compare(100, l.Values)
		near(t, "to floor", l.Values[0].ToFloor, 5)
		near(t, "to the best peer", l.Values[0].ToPeer, 5)
	})
	t.Run("NotWithAPeerThatTakesNothing", func(t *testing.T) {
		t.Parallel()
		l := &line{Unit: inBytes, Values: []*value{{Median: figure{P50: 5}}, {kind: peer, Median: figure{P50: 9}, Rounds: []figure{{}}}, {kind: peer, Rounds: []figure{{}}}}}
		l.compare(100, l.Values)
		if l.Values[0].ToPeer != 0 {
			t.Errorf("better than nothing: %v times", l.Values[0].ToPeer)
		}
	})
}

func TestReportTellsWhatFailed(t *testing.T) {
	t.Parallel()
	failed := someReport(false).failed()
	if len(failed) != 1 || !strings.Contains(failed[0], "broken: it broke") {
		t.Errorf("got %q", failed)
	}
}

// TestReportForgivesSlowPeers: one that was ended at its limit of time has not failed.
func TestReportForgivesSlowPeers(t *testing.T) {
	t.Parallel()
	of := func(k kind, note string) []string {
		return (&report{Rounds: 1, Lines: []*line{{Key: "w", Values: []*value{{kind: k, Note: note, System: "s"}}}}}).failed()
	}
	if got := of(peer, "signal: killed: "); len(got) != 0 {
		t.Errorf("a slow peer: %q", got)
	}
	if got := of(ours, "signal: killed: "); len(got) != 1 {
		t.Errorf("ours: %q", got)
	}
	if got := of(peer, "it broke"); len(got) != 1 {
		t.Errorf("a broken peer: %q", got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	someReport(false).write(&b)
	for _, want := range []string{
		"| write     | 100 ns | 1.00 µs | 10,000,000 |",
		"| a thing | 200 ns | 800 ns | 500 ns [1] |  – [2] |   2.00× |     4.00× |",
		"[1] 5 instead of 10: slow", "[2] it broke", "Flushes: checked.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	t.Run("IsXMLWithABarForEachFigure", func(t *testing.T) {
		t.Parallel()
		var b strings.Builder
		if err := someReport(false).draw(&b); err != nil {
			t.Fatal(err)
		}
		bars, dec := 0, xml.NewDecoder(strings.NewReader(b.String()))
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
				bars++
			}
		}
		if bars != 1+3 { // the ground, and those that have a figure
			t.Errorf("%d rectangles in\n%s", bars, b.String())
		}
	})
	t.Run("BarsAreLogarithmic", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct{ f, want float64 }{{1, 10}, {10, 55}, {100, 100}} {
			if got := barLength(c.f, 1, 100, 100); got < c.want-0.01 || got > c.want+0.01 {
				t.Errorf("%v on 1 to 100: %v, want %v", c.f, got, c.want)
			}
		}
		if got := barLength(5, 5, 5, 100); got != 100 {
			t.Errorf("alone: %v", got)
		}
	})
}
