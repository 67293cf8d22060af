package capturedwrite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/durable-go/durable"
)

type order struct {
	ID    string
	Lines []line
	Extra *line
	Marks map[string]bool
	Pair  [2]int
}

type line struct{ Price int }

func total(context.Context) (int, error) { return 1, nil }

func bad(ctx *durable.Context, in order, shared *order, orders []*order, db *sql.DB) error {
	var (
		sum   int
		names []string
		out   order
		marks = map[string]bool{}
		made  = &order{}
	)
	_ = durable.Do(ctx, "assign", func(ctx context.Context) error {
		sum = 1                     // want `a body writes to sum, a variable of the handler: a replay does not run .*; return the value, and assign what the operation returns \(capturedwrite\)`
		sum++                       // want `a body writes to sum`
		names = append(names, "a")  // want `a body writes to names`
		out.ID = "x"                // want `a body writes to out`
		out.Lines[0].Price = 2      // want `a body writes to out`
		marks["x"] = true           // want `a body writes to marks`
		delete(marks, "x")          // want `a body writes to marks`
		made.ID = "x"               // want `a body writes to made`
		in.ID = "x"                 // want `a body writes to in`
		shared.ID = "x"             // want `a body writes to shared`
		(*shared).Lines[0] = line{} // want `a body writes to shared`
		func() { sum++ }()          // want `a body writes to sum`
		for sum = range 3 {         // want `a body writes to sum`
		}
		var err error
		sum, err = total(ctx) // want `a body writes to sum`
		return err
	})
	alias, fresh, pair := made, newMarks(), shared.Pair
	_ = durable.Do(ctx, "copies", func(ctx context.Context) error {
		alias.ID = "x"    // want `a body writes to alias`
		fresh["x"] = true // want `a body writes to fresh`
		pair[0] = 1       // want `a body writes to pair`
		return nil
	})
	_ = durable.Do(ctx, "fill", func(ctx context.Context) error {
		if err := json.Unmarshal([]byte("1"), &sum); err != nil { // want `a body writes to sum`
			return err
		}
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&sum, &out.ID) // want `a body writes to sum` `a body writes to out`
	})
	for _, o := range orders {
		_ = durable.Do(ctx, o.ID, func(context.Context) error {
			o.ID = "x" // want `a body writes to o`
			return nil
		})
	}
	_, _ = durable.WaitForCondition(ctx, "ready", 0,
		func(_ context.Context, n int) (int, error) {
			sum = n // want `a body writes to sum`
			return n, nil
		},
		durable.PollEvery(1, func(n int) bool {
			sum = n // want `a body writes to sum`
			return true
		}))
	_, _ = durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
		sum = 2 // want `a child's function writes to sum, a variable of the handler: a replay does not run a child whose result is recorded`
		inner := 0
		_ = durable.Do(ctx, "inner", func(context.Context) error {
			inner++ // want `a body writes to inner`
			sum++   // want `a body writes to sum`
			return nil
		})
		return inner, nil
	})
	results := make([]int, 2)
	_, _ = durable.Parallel(ctx, "both", []durable.Branch[int]{
		{Name: "a", Run: func(ctx *durable.Context) (int, error) {
			results[0] = 1 // want `a child's function writes to results`
			return 1, nil
		}},
	})
	fmt.Println(sum, names, results)
	return nil
}

type service struct {
	seen  map[string]bool
	calls int
	stats *order
}

var runs int

func (s *service) good(ctx *durable.Context, in order) (order, error) {
	sum, err := durable.Step(ctx, "sum", func(ctx context.Context) (int, error) {
		sum := 0
		for _, l := range in.Lines {
			sum += l.Price
		}
		var out order
		out.ID = "x"
		marks := map[string]bool{}
		marks["x"] = true
		s.calls++ // it outlives the handler
		s.seen["x"] = true
		return sum, json.Unmarshal([]byte("1"), &sum)
	})
	cache, stats := s.seen, s.stats
	loaded := load()
	_ = durable.Do(ctx, "fill", func(context.Context) error {
		cache["x"] = true // so may this
		stats.ID = "x"
		loaded.ID = "x"
		in.Extra.Price = 1
		var n int
		n, err := total(ctx.Context())
		_ = n
		return err
	})
	in.ID = fmt.Sprint(sum)
	again := func() { sum++ }
	again()
	func() { sum = 7 }()
	return in, err
}

func newMarks() map[string]bool { return map[string]bool{} }

func load() *order { return new(order) }

// The tests of a handler count what it does.
func countsInTests() int {
	calls := 0
	_ = durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		return durable.Step(ctx, "s", func(context.Context) (int, error) { calls++; return calls, nil })
	})
	return calls
}

// A plain function is not replayed.
var plain = durable.DefinePlain("plain", func(context.Context, int) (int, error) { runs++; return runs, nil })
