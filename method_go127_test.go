//go:build go1.27

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestMethods runs one handler that uses the method form of every operation,
// and then the same handler in the function form: results and operations are equal.
func TestMethods(t *testing.T) {
	double := durable.DefinePlain("double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	step := func(context.Context) (int, error) { return 1, nil }
	nothing := func(context.Context) error { return nil }
	addTo := func(_ context.Context, n int) (int, error) { return n + 1, nil }
	child := func(n int) func(*durable.Context) (int, error) {
		return func(ctx *durable.Context) (int, error) {
			return n, durable.Wait(ctx, "in", time.Duration(n)*time.Second)
		}
	}
	fails := func(*durable.Context) (int, error) { return 0, errors.New("it fails") }
	complete := func(ctx context.Context, callbackID string, payload int) error {
		info, _ := durable.StepInfoFrom(ctx)
		return info.Engine.SucceedCallback(ctx, callbackID, payload)
	}
	branches := []durable.Branch[int]{{Name: "a", Run: child(1)}, {Name: "b", Run: child(2)}}
	three := durable.PollEvery(time.Second, func(n int) bool { return n == 3 })
	item := durable.AsStep(addTo)

	methods := func(ctx *durable.Context, soon time.Time) (sums []int, err error) {
		var problems []error
		add := func(n int, err error) {
			sums, problems = append(sums, n), append(problems, err)
		}
		addBatch := func(b *durable.Batch[int], err error) { add(len(b.Values()), err) }

		add(ctx.Step("step", step))
		add(0, ctx.Do("do", nothing))
		add(ctx.Call("call", addTo, 1))
		add(0, ctx.Wait("wait", time.Minute))
		add(0, ctx.WaitUntil("until", soon))
		add(0, ctx.After("after", time.Second).Await(ctx))
		add(ctx.WaitForCondition("condition", 0, addTo, three))
		cb, err := ctx.CreateCallback[int]("callback", durable.WithTimeout(time.Hour))
		add(0, err)
		add(0, ctx.Do("complete", func(c context.Context) error { return complete(c, cb.ID(), 5) }))
		add(cb.Await(ctx))
		add(ctx.WaitForCallback[int]("submit", func(c context.Context, id string) error { return complete(c, id, 6) }))
		addBatch(ctx.Parallel("parallel", branches))
		addBatch(ctx.Map("map", []int{1, 2, 3}, item))
		add(ctx.RunInChildContext("child", child(3)))
		for first := range ctx.Settled("settled", ctx.Go("late", child(2)), ctx.Go("early", child(1))) {
			add(len(first.Name()), nil)
		}
		first, err := ctx.Select("select", ctx.After("slow", time.Hour), ctx.After("fast", time.Second))
		add(len(first.Name()), err)
		all, err := ctx.All("all", ctx.Go("x", child(1)), ctx.Go("y", child(2)))
		add(len(all), err)
		add(ctx.Any("any", ctx.Go("z", child(2)), ctx.Go("fails", fails)))
		add(ctx.Race("race", ctx.Go("u", child(1)), ctx.Go("v", child(2))))
		add(ctx.Invoke("invoke", double, 4))
		add(ctx.InvokeByName[int]("by name", "double", 5))
		add(int(ctx.Now().Sub(soon)/time.Second), nil)
		add(len(ctx.NewUUID()), nil)
		add(ctx.Version("change", 7), nil)
		return sums, errors.Join(problems...)
	}

	functions := func(ctx *durable.Context, soon time.Time) (sums []int, err error) {
		var problems []error
		add := func(n int, err error) {
			sums, problems = append(sums, n), append(problems, err)
		}
		addBatch := func(b *durable.Batch[int], err error) { add(len(b.Values()), err) }

		add(durable.Step(ctx, "step", step))
		add(0, durable.Do(ctx, "do", nothing))
		add(durable.Call(ctx, "call", addTo, 1))
		add(0, durable.Wait(ctx, "wait", time.Minute))
		add(0, durable.WaitUntil(ctx, "until", soon))
		add(0, durable.After(ctx, "after", time.Second).Await(ctx))
		add(durable.WaitForCondition(ctx, "condition", 0, addTo, three))
		cb, err := durable.CreateCallback[int](ctx, "callback", durable.WithTimeout(time.Hour))
		add(0, err)
		add(0, durable.Do(ctx, "complete", func(c context.Context) error { return complete(c, cb.ID(), 5) }))
		add(cb.Await(ctx))
		add(durable.WaitForCallback[int](ctx, "submit", func(c context.Context, id string) error { return complete(c, id, 6) }))
		addBatch(durable.Parallel(ctx, "parallel", branches))
		addBatch(durable.Map(ctx, "map", []int{1, 2, 3}, item))
		add(durable.RunInChildContext(ctx, "child", child(3)))
		for first := range durable.Settled(ctx, "settled", durable.Go(ctx, "late", child(2)), durable.Go(ctx, "early", child(1))) {
			add(len(first.Name()), nil)
		}
		first, err := durable.Select(ctx, "select", durable.After(ctx, "slow", time.Hour), durable.After(ctx, "fast", time.Second))
		add(len(first.Name()), err)
		all, err := durable.All(ctx, "all", durable.Go(ctx, "x", child(1)), durable.Go(ctx, "y", child(2)))
		add(len(all), err)
		add(durable.Any(ctx, "any", durable.Go(ctx, "z", child(2)), durable.Go(ctx, "fails", fails)))
		add(durable.Race(ctx, "race", durable.Go(ctx, "u", child(1)), durable.Go(ctx, "v", child(2))))
		add(durable.Invoke(ctx, "invoke", double, 4))
		add(durable.InvokeByName[int](ctx, "by name", "double", 5))
		add(int(durable.Now(ctx).Sub(soon)/time.Second), nil)
		add(len(durable.NewUUID(ctx)), nil)
		add(durable.Version(ctx, "change", 7), nil)
		return sums, errors.Join(problems...)
	}

	// outline is what an execution did, an operation a line, without its values.
	outline := func(b *bundle, id string) (lines []string) {
		ops, err := b.engine.Operations(b.ctx, id)
		require.NoError(b, err)
		for _, o := range ops {
			lines = append(lines, fmt.Sprintf("%s %s/%s %q %s", o.ID, o.Type, o.SubType, o.Name, o.Status))
		}
		return lines
	}

	synctest.Test(t, func(t *testing.T) {
		m, f := durable.Define("methods", methods), durable.Define("functions", functions)
		b := setup(t, m, f, double)

		byMethods := start(b, m, time.Now().Add(2*time.Minute))
		sums, err := byMethods.Result(b.ctx)
		require.NoError(t, err)
		byFunctions := start(b, f, time.Now().Add(2*time.Minute))
		same, err := byFunctions.Result(b.ctx)
		require.NoError(t, err)

		require.NotEmpty(t, sums)
		require.Equal(t, same, sums)
		require.Equal(t, outline(b, byFunctions.ID()), outline(b, byMethods.ID()))
	})
}

// TestMethodsAreComplete finds every function of the package whose first
// parameter is a *Context, and asks for a method of the same name.
func TestMethodsAreComplete(t *testing.T) {
	t.Parallel()
	functions, methods := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			switch {
			case !ok || !fn.Name.IsExported():
			case fn.Recv == nil && len(fn.Type.Params.List) > 0 && isContextPointer(fn.Type.Params.List[0].Type):
				functions[fn.Name.Name] = true
			case fn.Recv != nil && isContextPointer(fn.Recv.List[0].Type):
				methods[fn.Name.Name] = true
			}
		}
	}
	require.NotEmpty(t, functions)
	for name := range functions {
		require.True(t, methods[name], "%s has no method form: add it to method_go127.go", name)
	}
}

func isContextPointer(e ast.Expr) bool {
	star, ok := e.(*ast.StarExpr)
	if !ok {
		return false
	}
	id, ok := star.X.(*ast.Ident)
	return ok && id.Name == "Context"
}
