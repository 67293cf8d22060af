package durable

import "github.com/durable-go/durable/checkpoint"

// Map calls fn for each item at the same time, each in a child context of its
// own, and records the outcome of each and of the whole. Items start in the
// order of their index. Errors, options and the batch are those of Parallel;
// AsStep makes an ordinary function the body of an item.
//
// The items must be the same on every replay: results of earlier operations, or
// the input. A Map of n items that do one step costs two or three records an
// item, and few flushes in all.
func Map[I, O any](ctx *Context, name string, items []I,
	fn func(ctx *Context, item I, index int) (O, error), opts ...BatchOption) (*Batch[O], error) {
	s := batchSettings(opts)
	return runBatch(ctx, checkpoint.Map, checkpoint.MapIteration, name, len(items), &s,
		func(int) string { return "" },
		func(c *Context, i int) (O, error) {
			if fn == nil {
				panic(errNoBody)
			}
			return fn(c, items[i], i)
		})
}
