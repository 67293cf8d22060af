package replaying

import (
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

func bad(ctx *durable.Context) {
	if !ctx.Replaying() { // want `durable.Wait depends on Replaying: a replay must ask for .*; call it always.* \(replaying\)`
		_ = durable.Wait(ctx, "pause", time.Second)
	}
	if ctx.Replaying() && ctx.ExecutionID() != "" { // want `durable.Now depends on Replaying`
	} else {
		_ = durable.Now(ctx)
	}
}

func good(ctx *durable.Context) {
	if !ctx.Replaying() {
		fmt.Println("printed once, except around a crash")
	}
	if ctx.ExecutionID() != "" {
		_ = durable.Wait(ctx, "pause", time.Second)
	}
}
