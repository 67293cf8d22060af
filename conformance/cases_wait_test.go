package conformance

import (
	"time"

	"github.com/durable-go/durable"
)

func waiting(name string, d time.Duration) handler {
	return handle(func(ctx *durable.Context, _ any) (any, error) { return nil, durable.Wait(ctx, name, d) })
}

var waitCases = map[string]handler{
	"wait/2-1": waiting("", 2*time.Second),
	"wait/2-2": waiting("custom_wait_name", 2*time.Second),
	"wait/2-4": waiting("", time.Minute),
	"wait/2-5": waiting("", time.Hour),
}
