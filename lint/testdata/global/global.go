package global

import (
	"context"
	"errors"

	"github.com/durable-go/durable"
)

var (
	counter  int
	cache    = map[string]string{}
	settings struct{ Limit int }
	token    string
	limit    = 3
	errGone  = errors.New("gone")
)

func init() { limit = 4 }

func bad(ctx *durable.Context, name string) (string, error) {
	counter++          // want `handler code writes to counter, a package-level variable: a replay writes to it again, .*; keep it in a variable of the handler.* \(global\)`
	settings.Limit = 3 // want `handler code writes to settings`
	cache[name] = "x"  // want `handler code writes to cache`
	err := durable.Do(ctx, "login", func(context.Context) error {
		token = "secret"
		return nil
	})
	return token, err // want `handler code reads token, a package-level variable that a body writes to: a replay does not run .* \(global\)`
}

func good(ctx *durable.Context, n int) (string, error) {
	if n > limit { // nobody changes it
		return "", errGone
	}
	return durable.Step(ctx, "login", func(context.Context) (string, error) {
		counter++
		token = "secret"
		return token, nil
	})
}

func outside() string {
	counter++
	return token
}
