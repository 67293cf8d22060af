package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	orders "github.com/durable-go/durable/testdata/orders/errs"
	users "github.com/durable-go/durable/testdata/users/errs"
)

// gone is a typed error of which there are sentinels.
type gone struct{ Code int }

func (g *gone) Error() string { return fmt.Sprint("gone ", g.Code) }

// numbered holds another error.
type numbered struct {
	Code int
	Err  error
}

func (c *numbered) Error() string { return fmt.Sprint("numbered ", c.Code) }
func (c *numbered) Unwrap() error { return c.Err }

// several holds others, some of them in what it embeds.
type several struct {
	about
	Errs []error
}

type about struct{ Why error }

func (s several) Error() string   { return "several" }
func (s several) Unwrap() []error { return append([]error{s.Why}, s.Errs...) }

// status is a number, and matches those of its class.
type status int

func (s status) Error() string { return "status " + strconv.Itoa(int(s)) }
func (s status) Is(target error) bool {
	class, ok := target.(status)
	return ok && class%100 == 0 && s/100 == class/100
}

// translated is found as another type than its own, and is not registered.
type translated struct{ code int }

func (t *translated) Error() string { return "translated" }
func (t *translated) As(target any) bool {
	c, ok := target.(**numbered)
	if ok {
		*c = &numbered{Code: t.code}
	}
	return ok
}

// sealedError is decoded and encoded by its own rules.
type sealedError struct{ secret string }

func (s *sealedError) Error() string                { return "sealed" }
func (s *sealedError) MarshalJSON() ([]byte, error) { return json.Marshal(s.secret) }
func (s *sealedError) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.secret) }

// sealedValue is so, and is returned as a value.
type sealedValue struct{ secret string }

func (s sealedValue) Error() string                 { return "sealed value" }
func (s *sealedValue) MarshalJSON() ([]byte, error) { return json.Marshal(s.secret) }
func (s *sealedValue) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.secret) }

var (
	errA    = errors.New("a")
	errB    = errors.New("b")
	errAB   = fmt.Errorf("a and b: %w", errA)
	errGone = &gone{410}
	errLost = &gone{404}
)

func as[E error](ok func(e E) bool) func(error) bool {
	return func(err error) bool {
		e, found := errors.AsType[E](err)
		return found && ok(e)
	}
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, target := range targets {
			if !errors.Is(err, target) {
				return false
			}
		}
		return true
	}
}

func both(checks ...func(error) bool) func(error) bool {
	return func(err error) bool {
		for _, check := range checks {
			if !check(err) {
				return false
			}
		}
		return true
	}
}

func not(check func(error) bool) func(error) bool { return func(err error) bool { return !check(err) } }

// TestRegisteredErrors: what errors.Is and errors.AsType find in what a body returned,
// they find in what is recorded of it.
func TestRegisteredErrors(t *testing.T) {
	t.Parallel()
	registered := []error{errA, errB, errAB, errSilent, errGone, errLost, &numbered{}, several{}, status(0), status(404), &sealedError{}, sealedValue{}, declined{}, &transient{},
		&users.NotFound{}, &orders.NotFound{}, &fs.PathError{}, &url.Error{}, &os.SyscallError{}, &strconv.NumError{}, syscall.Errno(0), fs.ErrNotExist, context.DeadlineExceeded}
	_, noFile := os.Open("/nowhere/to/be/found")
	_, noNumber := strconv.Atoi("x")
	var deep error = errA
	for i := range 100 { // each holds the others: what is recorded must not grow with their powers
		deep = &numbered{i, fmt.Errorf("x: %w", &url.Error{Op: "Get", URL: "http://x", Err: fmt.Errorf("y: %w", deep)})}
	}
	for name, c := range map[string]struct {
		err   error
		found func(error) bool
	}{
		"Joined":              {errors.Join(errB, errA), both(is(errA, errB), not(is(errAB)))},
		"Wrapped":             {fmt.Errorf("%w: %w", errB, errA), is(errA, errB)},
		"WrapsASentinel":      {fmt.Errorf("x: %w", errAB), both(is(errA, errAB), not(is(errB)))},
		"DeepInATree":         {fmt.Errorf("x: %w", errors.Join(errors.New("y"), fmt.Errorf("z: %w", errors.Join(errB, &numbered{1, errA})))), is(errA, errB)},
		"WithoutText":         {fmt.Errorf("x: %w", errSilent), is(errSilent)},
		"WithoutTextAndOther": {errors.Join(errSilent, errA), is(errSilent, errA)},
		"Pointer":             {fmt.Errorf("x: %w", errGone), both(is(errGone), not(is(errLost)))},
		"PointerItself":       {errLost, both(is(errLost), not(is(errGone)), as(func(g *gone) bool { return g.Code == 404 }))},
		"PointersJoined":      {errors.Join(errLost, errGone), is(errGone, errLost)},
		"SameAsAPointer":      {&gone{410}, both(not(is(errGone)), as(func(g *gone) bool { return g.Code == 410 }))},
		"Value":               {fmt.Errorf("x: %w", status(503)), both(is(status(503), status(500)), not(is(status(404))), as(func(s status) bool { return s == 503 }))},
		"ValueOfTheSameText":  {status(404), is(status(404), status(400))},
		"ValueByPointer":      {&declined{Reason: "x"}, as(func(d *declined) bool { return d.Reason == "x" })},
		"TypedWithACause":     {&numbered{5, errA}, both(is(errA), as(func(c *numbered) bool { return c.Code == 5 && c.Err == errA }))},
		"CauseThatIsAPointer": {&numbered{5, errGone}, as(func(c *numbered) bool { return c.Err == errGone })},
		"CauseThatIsTyped":    {&numbered{5, &gone{7}}, as(func(c *numbered) bool { g, ok := c.Err.(*gone); return ok && g.Code == 7 })},
		"CauseThatIsWrapped": {&numbered{5, fmt.Errorf("x: %w", &gone{7})}, as(func(c *numbered) bool {
			return c.Err.Error() == "x: gone 7" && as(func(g *gone) bool { return g.Code == 7 })(c.Err)
		})},
		"CauseThatIsUnknown": {&numbered{5, errors.New("x")}, as(func(c *numbered) bool { return c.Err.Error() == "x" })},
		"CausesOfCauses": {&numbered{1, &numbered{2, &numbered{3, errB}}}, both(is(errB), as(func(c *numbered) bool {
			second, _ := c.Err.(*numbered)
			third, _ := second.Err.(*numbered)
			return c.Code == 1 && second.Code == 2 && third.Code == 3 && third.Err == errB
		}))},
		"Deep": {deep, both(is(errA), as(func(c *numbered) bool {
			return c.Code == 99 && as(func(e *url.Error) bool { return e.Op == "Get" })(c.Err)
		}))},
		"CauseThatPanics": {&numbered{5, (*gone)(nil)}, as(func(c *numbered) bool { return c.Code == 5 && c.Err != nil })},
		"NoCause":         {&numbered{5, nil}, as(func(c *numbered) bool { return c.Code == 5 && c.Err == nil })},
		"Several": {several{about{errA}, []error{errB, nil, status(7)}}, both(is(errA, errB, status(7)), as(func(s several) bool {
			return s.Why == errA && len(s.Errs) == 3 && s.Errs[0] == errB && s.Errs[1] == nil && s.Errs[2] == status(7)
		}))},
		"OneOfTwoOfAName":   {&users.NotFound{Key: "ann"}, both(as(func(e *users.NotFound) bool { return e.Key == "ann" }), not(as(func(*orders.NotFound) bool { return true })))},
		"OtherOfTwoOfAName": {&orders.NotFound{Key: "7"}, both(as(func(e *orders.NotFound) bool { return e.Key == "7" }), not(as(func(*users.NotFound) bool { return true })))},
		"TwoOfAName":        {errors.Join(&orders.NotFound{Key: "7"}, &users.NotFound{Key: "ann"}), both(as(func(e *orders.NotFound) bool { return e.Key == "7" }), as(func(e *users.NotFound) bool { return e.Key == "ann" }))},
		"PathError": {noFile, both(is(fs.ErrNotExist, syscall.ENOENT), as(func(e *fs.PathError) bool {
			return e.Op == "open" && e.Path == "/nowhere/to/be/found" && e.Err == syscall.ENOENT && e.Error() == noFile.Error()
		}))},
		"URLError": {&url.Error{Op: "Get", URL: "http://x", Err: context.DeadlineExceeded},
			both(is(context.DeadlineExceeded), not(is(durable.ErrTimeout)), as(func(e *url.Error) bool { return e.URL == "http://x" && e.Timeout() }))},
		"URLErrorOfAnother": {&url.Error{Op: "Get", URL: "http://x", Err: fmt.Errorf("dial: %w", errA)}, both(is(errA), as(func(e *url.Error) bool { return e.Error() == `Get "http://x": dial: a` }))},
		"SyscallError":      {os.NewSyscallError("stat", syscall.EACCES), both(is(syscall.EACCES, fs.ErrPermission), as(func(e *os.SyscallError) bool { return e.Syscall == "stat" }))},
		"NumError":          {noNumber, as(func(e *strconv.NumError) bool { return e.Num == "x" && strings.Contains(e.Error(), "invalid syntax") })},
		"ByAs":              {&translated{7}, as(func(c *numbered) bool { return c.Code == 7 })},
		"OwnRules":          {&sealedError{"x"}, as(func(s *sealedError) bool { return s.secret == "x" })},
		"OwnRulesOfAValue":  {sealedValue{"x"}, as(func(s sealedValue) bool { return s.secret == "x" })},
	} {
		require.True(t, c.found(c.err), "%s: it is not found where it comes from", name)
		for way, op := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				trial[bool]{
					opts:  durable.Options{Errors: registered},
					op:    func(ctx *durable.Context) (bool, error) { return c.found(op(ctx, func() error { return c.err })), nil },
					check: func(t *testing.T, found bool, err error) { require.NoError(t, err); require.True(t, found) },
				}.runLoosely(t)
			})
		}
		t.Run(name+"/Execution", func(t *testing.T) {
			t.Parallel()
			if errors.Is(c.err, context.DeadlineExceeded) {
				t.Skip("it can't be told from the end of who waits")
			}
			everyLife(t, func(t *testing.T, opts durable.Options) {
				opts.Errors = registered
				inner := durable.Define("inner", func(*durable.Context, int) (int, error) { return 0, c.err })
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					_, err := durable.Invoke(ctx, "i", inner, 0)
					return 0, fmt.Errorf("by the way: %w", err)
				})
				b := setupWith(t, opts, f, inner)
				x := start(b, f, 1)
				_, err := finish(b, x)
				require.True(t, c.found(err))
				require.True(t, c.found(b.describe(x.ID()).Failure))
			})
		})
	}
}

// TestErrorsRecordedByEarlierVersions: their types were recorded without the path of
// their package, and one sentinel was.
func TestErrorsRecordedByEarlierVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			err := durable.Do(ctx, "s", func(context.Context) error { return durable.Permanent(errors.Join(errA, &gone{7})) })
			if err := durable.Wait(ctx, "w", time.Hour); err != nil {
				return "", err
			}
			return fmt.Sprint(is(errA)(err), as(func(g *gone) bool { return g.Code == 7 })(err)), nil
		})
		opts := durable.Options{Errors: []error{errA, errB, errGone}, ParkFor: -1}
		b := setupWith(t, opts, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		r, err := b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
		data, err := json.Marshal(r)
		require.NoError(t, err)
		old := strings.ReplaceAll(string(data), `"of":"github.com/durable-go/durable_test",`, "")
		require.NotEqual(t, string(data), old)
		require.NoError(t, json.Unmarshal([]byte(old), r))
		b = setupWith(t, opts, f)
		_, err = b.engine.Import(b.ctx, r)
		require.NoError(t, err)
		out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "true true", out)
	})
}

type (
	hiddenCode  struct{ code int }
	hiddenCause struct{ error }
	hiddenDeep  struct {
		In struct{ At map[string][]*hidden }
	}
	heldTime   struct{ By fmt.Stringer }
	heldErrors struct{ By map[string]error }
	heldList   []struct{ Err error }
	heldNext   struct {
		Err  error
		Next *heldNext
	}
)

func (e *hiddenCode) Error() string { return fmt.Sprint("hidden code ", e.code) }
func (e hiddenCause) Error() string { return fmt.Sprint("hidden cause ", e.error) }
func (*hiddenDeep) Error() string   { return "hidden deep" }
func (*heldErrors) Error() string   { return "held errors" }
func (heldTime) Error() string      { return "held" }
func (heldList) Error() string      { return "held list" }
func (*heldNext) Error() string     { return "held next" }

// TestErrorsThatCantBeFoundAgain: they are refused with what to do, and not lost.
func TestErrorsThatCantBeFoundAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		errs []error
		says []string
	}{
		"Interface":        {[]error{&net.OpError{}}, []string{"*net.OpError", "Source", "net.Addr", "register an error of your own"}},
		"InterfaceOfAn":    {[]error{&heldTime{}}, []string{"heldTime", "By", "fmt.Stringer"}},
		"InterfacesInAMap": {[]error{&heldErrors{}}, []string{"heldErrors", "interfaces, error, in By", "[]error"}},
		"CausesInAList":    {[]error{heldList{}}, []string{"heldList", "Err", "interface"}},
		"CausesFurtherOn":  {[]error{&heldNext{}}, []string{"heldNext", "Next.Err", "interface"}},
		"Hidden":           {[]error{&hiddenCode{}}, []string{"code is not exported", "MarshalJSON"}},
		"HiddenCause":      {[]error{hiddenCause{}}, []string{"error is not exported", "MarshalJSON"}},
		"HiddenDeep":       {[]error{&hiddenDeep{}}, []string{"In.At.", "is not exported"}},
		"HiddenOfAPackage": {[]error{&json.SyntaxError{}}, []string{"*json.SyntaxError", "msg is not exported"}},
		"TwoOfOneText":     {[]error{errGone, &gone{410}}, []string{"gone 410", "give one another text"}},
		"TwoSentinels":     {[]error{errA, errors.New("a")}, []string{`"a"`, "give one another text"}},
		"TwoLocalTypes":    {[]error{localOne(), localTwo()}, []string{"local", "another name"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := durable.New(memstore.New(), &durable.Options{Errors: c.errs})
			for _, s := range c.says {
				require.ErrorContains(t, err, s)
			}
			readable(t, err)
		})
	}
	for name, errs := range map[string][]error{
		"SameTwice":          {errA, errA, errGone, errGone, status(1), status(1)},
		"ManyOfOneType":      {errGone, errLost, &gone{}, status(1), status(2)},
		"LeftOutOnPurpose":   {&struct{ leftOut }{}},
		"ExampleWithACause":  {&fs.PathError{Op: "open", Path: "x", Err: errors.New("y")}, &numbered{7, errA}},
		"ExampleWithoutText": {&fs.PathError{}, &url.Error{}},
		"NilPointer":         {(*transient)(nil)},
		"AlwaysFound":        {&durable.Failure{}, &durable.OpError{}, &durable.NonDeterministicError{}},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := durable.New(memstore.New(), &durable.Options{Errors: errs})
			require.NoError(t, err)
			require.NoError(t, e.Close())
		})
	}

	t.Run("IsLogged", func(t *testing.T) {
		var log bytes.Buffer
		inTrial := trial[bool]{
			opts: durable.Options{Errors: []error{&touchy{}}, Logger: slog.New(slog.NewTextHandler(&log, nil))},
			op: func(ctx *durable.Context) (bool, error) {
				err := durable.Do(ctx, "s", func(context.Context) error { return durable.Permanent(&touchy{Bad: true}) })
				return as(func(*touchy) bool { return true })(err), nil
			},
			check: func(t *testing.T, found bool, err error) { require.False(t, found) },
		}
		inTrial.run(t)
		require.Contains(t, log.String(), "*durable_test.touchy")
	})
}

type leftOut struct {
	N     int
	Stack []uintptr `json:"-"`
	_     int
}

func (leftOut) Error() string { return "left out" }

func localOne() error {
	type local struct{ hidden1 }
	return &local{}
}

func localTwo() error {
	type local struct{ hidden1 }
	return &local{}
}

type hidden1 struct{ N int }

func (hidden1) Error() string { return "local" }

// TestChangedFailures: a failure that a handler has changed is recorded as it returned it.
func TestChangedFailures(t *testing.T) {
	t.Parallel()
	type seen struct {
		Type, Message, Data, Stack string
		Is                         bool
	}
	look := func(err error) seen {
		f := failure(err)
		return seen{f.Type, f.Message, string(f.Data), f.Stack, errors.Is(err, errA)}
	}
	first := func(ctx *durable.Context) *durable.Failure {
		err := durable.Do(ctx, "first", func(context.Context) error {
			return durable.Permanent(fmt.Errorf("%w: %w", &durable.Failure{Type: "T", Message: "m", Data: json.RawMessage(`1`), Stack: "s"}, errA))
		})
		f := *failure(err)
		return &f
	}
	for name, c := range map[string]struct {
		change func(f *durable.Failure) error
		want   seen
	}{
		"Nothing": {func(f *durable.Failure) error { return f }, seen{"T", "m: a", "1", "s", true}},
		"Message": {func(f *durable.Failure) error { f.Message = "other"; return f }, seen{"T", "other", "1", "s", true}},
		"Type":    {func(f *durable.Failure) error { f.Type = "U"; return f }, seen{"U", "m: a", "1", "s", true}},
		"Data":    {func(f *durable.Failure) error { f.Data = json.RawMessage(`{"a":2}`); return f }, seen{"T", "m: a", `{"a":2}`, "s", true}},
		"Stack":   {func(f *durable.Failure) error { f.Stack = ""; return f }, seen{"T", "m: a", "1", "", true}},
		"All": {func(f *durable.Failure) error {
			f.Type, f.Message, f.Data, f.Stack = "U", "n", nil, "t"
			return f
		}, seen{"U", "n", "", "t", true}},
		"Wrapped":          {func(f *durable.Failure) error { f.Message = "other"; return fmt.Errorf("x: %w", f) }, seen{"T", "x: other", "1", "s", true}},
		"InAnOpError":      {func(f *durable.Failure) error { f.Message = "other"; return &durable.OpError{Type: "STEP", Err: f} }, seen{"T", "other", "1", "s", true}},
		"WrittenAnew":      {func(f *durable.Failure) error { return &durable.Failure{Type: f.Type, Message: "new"} }, seen{"T", "new", "", "", false}},
		"PermanentAndMore": {func(f *durable.Failure) error { f.Message = "other"; return durable.Permanent(f) }, seen{"T", "other", "1", "s", true}},
	} {
		for way, op := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				trial[seen]{
					opts: durable.Options{Errors: []error{errA}},
					op: func(ctx *durable.Context) (seen, error) {
						f := first(ctx)
						return look(op(ctx, func() error { return c.change(f) })), nil
					},
					check: func(t *testing.T, got seen, err error) { require.NoError(t, err); require.Equal(t, c.want, got) },
				}.runLoosely(t)
			})
		}
		t.Run(name+"/Execution", func(t *testing.T) {
			t.Parallel()
			everyLife(t, func(t *testing.T, opts durable.Options) {
				opts.Errors = []error{errA}
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, c.change(first(ctx)) })
				b := setupWith(t, opts, f)
				_, err := finish(b, start(b, f, 1))
				require.Equal(t, c.want, look(err))
			})
		})
	}
}
