package fault_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/fault"
)

// panics and exits are errors whose methods do what they like.
type (
	panics struct{}
	exits  struct{}
)

func (panics) Error() string    { panic("Error") }
func (panics) Is(error) bool    { panic("Is") }
func (exits) Error() string     { return "exits" }
func (exits) Is(error) bool     { runtime.Goexit(); return true }
func (a asked) Error() string   { return "asked" }
func (a asked) Is(e error) bool { return e == a.of }

type asked struct{ of error }

func TestIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err error
		is  bool
	}{
		"Nil":         {nil, false},
		"Itself":      {io.EOF, true},
		"Wrapped":     {fmt.Errorf("x: %w", io.EOF), true},
		"Joined":      {errors.Join(errors.New("x"), io.EOF), true},
		"Another":     {io.ErrUnexpectedEOF, false},
		"ItSaysSo":    {asked{io.EOF}, true},
		"ItPanics":    {panics{}, false},
		"ItExits":     {exits{}, false},
		"BeforeIt":    {errors.Join(io.EOF, panics{}), true},
		"PanicsFirst": {errors.Join(panics{}, io.EOF), false},
	} {
		require.Equal(t, c.is, fault.Is(c.err, io.EOF), name)
	}
	require.False(t, fault.Is(nil, nil), "no error is none")
}

func TestApart(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"Returns": func() {},
		"Panics":  func() { panic("boom") },
		"Exits":   func() { runtime.Goexit() },
	} {
		begun, ended := false, false
		fault.Apart(func() {
			begun = true
			defer func() { ended = true }()
			f()
		})
		require.True(t, begun && ended, name)
	}
}

// looped wraps itself.
type looped struct{}

func (l *looped) Error() string { return "looped" }
func (l *looped) Unwrap() error { return l }

func TestDeeper(t *testing.T) {
	t.Parallel()
	three := fmt.Errorf("1: %w", fmt.Errorf("2: %w", errors.New("3")))
	joined := errors.Join(errors.New("short"), nil, three)
	for name, c := range map[string]struct {
		err    error
		limit  int
		deeper bool
	}{
		"Nil":           {nil, 0, false},
		"One":           {io.EOF, 1, false},
		"OneIsMore":     {io.EOF, 0, true},
		"Three":         {three, 3, false},
		"ThreeAreMore":  {three, 2, true},
		"InAJoin":       {joined, 4, false},
		"MoreInAJoin":   {joined, 3, true},
		"JoinAtTheEnd":  {fmt.Errorf("x: %w", errors.Join(io.EOF)), 3, false},
		"WithoutAnEnd":  {&looped{}, fault.MaxDepth, true},
		"UnwrapsToNone": {fmt.Errorf("x: %w", nil), 1, false},
	} {
		require.Equal(t, c.deeper, fault.Deeper(c.err, c.limit), name)
	}
}
