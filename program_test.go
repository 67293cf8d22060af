package durable_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// node is one operation of a random program, with what belongs to it. Whatever a
// program computes depends only on its seed: not on time, and not on what happens
// to the process.
type node struct {
	id       int
	kind     string
	catch    bool // go on although it failed
	fails    int  // attempts that fail, of a step or a check
	attempts int  // allowed
	how      string
	delay    time.Duration
	opts     int   // 0 to 7: what else varies
	before   *node // in the sequence
	kids     []*node
	branches [][]*node
}

// name is the name of the node's operation.
func (n *node) name() string { return fmt.Sprint(n.kind, " ", n.id) }

// isStep reports whether the node is a step and nothing else.
func (n *node) isStep() bool { return slices.Contains(stepKinds, n.kind) }

// never is a time that is not reached.
const never = 10000 * time.Hour

// Kinds of nodes. What only waits for time or for something outside is a leaf.
var (
	leafKinds = []string{
		"step", "step", "step", "wait", "poll", "poll", "callback", "early callback", "beaten callback",
		"note", "plain", "once", "attempt timeout", "sleeper",
	}
	stepKinds      = []string{"step", "once", "step timeout", "attempt timeout"}
	branchingKinds = []string{
		"child", "large", "deep", "invoke", "timeout", "step timeout", "batch timeout",
		"map", "parallel", "tolerance", "minimum", "min", "fail fast",
		"futures", "settled", "all", "any", "race", "select",
	}
)

type generator struct {
	*rand.Rand
	nodes []*node
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) delay() time.Duration {
	return []time.Duration{0, time.Millisecond, 700 * time.Millisecond, 3 * time.Second, time.Minute, 20 * time.Minute}[g.IntN(6)]
}

func (g *generator) sequence(depth int) []*node {
	seq := make([]*node, 1+g.IntN(3))
	for i := range seq {
		seq[i] = g.node(depth)
		if i > 0 {
			seq[i].before = seq[i-1]
		}
	}
	return seq
}

func (g *generator) node(depth int) *node {
	kinds := leafKinds
	if depth > 0 && g.chance(50) {
		kinds = branchingKinds
	}
	n := g.add(kinds[g.IntN(len(kinds))])
	n.catch, n.delay, n.attempts, n.opts = g.chance(70), g.delay(), 1+g.IntN(3), g.IntN(8)
	if g.chance(40) {
		n.fails = g.IntN(4)
		n.how = []string{"error", "error", "panic", "permanent", "retry after"}[g.IntN(5)]
	}
	switch n.kind {
	case "child", "invoke", "min", "fail fast", "race", "select", "large":
		n.kids = g.sequence(depth - 1)
	case "deep":
		n.kids = g.sequence(0)
	case "map", "parallel", "futures", "settled", "all", "any", "tolerance", "minimum":
		for range 1 + g.IntN(4) {
			n.branches = append(n.branches, g.sequence(depth-1))
		}
	}
	return n
}

func (g *generator) add(kind string) *node {
	n := &node{id: len(g.nodes), kind: kind}
	g.nodes = append(g.nodes, n)
	return n
}

// generate makes the program of a seed: what its handler does, and all its nodes.
func generate(seed uint64) (root, nodes []*node) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	for range 1 + g.IntN(2) {
		root = append(root, g.sequence(3)...)
	}
	if g.chance(25) {
		// At the end, when nothing else is under way, it is cancelled.
		n := g.add("cancel")
		for range 1 + g.IntN(4) {
			n.branches = append(n.branches, []*node{g.add([]string{"wait", "callback", "invoke", "retry", "body"}[g.IntN(5)])})
		}
		root = append(root, n)
	}
	return root, g.nodes
}

// String is the node as a line, and what is in it.
func (n *node) String() string { return n.text("") }

func (n *node) text(indent string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s %d: delay %s, opts %d, attempts %d, fails %d %s, catch %v\n", indent, n.kind, n.id, n.delay, n.opts, n.attempts, n.fails, n.how, n.catch)
	for i, seq := range append([][]*node{n.kids}, n.branches...) {
		if i > 0 {
			fmt.Fprintf(&b, "%s  branch %d\n", indent, i-1)
		}
		for _, kid := range seq {
			b.WriteString(kid.text(indent + "    "))
		}
	}
	return b.String()
}
