package allow

import (
	"time"

	"github.com/google/uuid"

	"github.com/durable-go/durable"
)

func handler(ctx *durable.Context, m map[string]int) {
	_ = time.Now() //durable:allow nondeterminism it is only shown on the screen

	//durable:allow nondeterminism it is only shown on the screen
	_ = time.Now()

	// A line in front.
	//durable:allow maprange the map has one key at most
	for name := range m {
		_ = durable.Wait(ctx, name, time.Second)
	}

	//durable:allow maprange,nondeterminism the map has one key, and its time is only shown
	for name := range map[string]time.Time{"x": time.Now()} {
		_ = durable.Wait(ctx, name, time.Second)
	}

	_ = time.Now() //durable:allow maprange the wrong rule // want `time.Now in handler code` `//durable:allow maprange allows nothing: remove it, or put it on the line .* \(allow\)`

	//durable:allow nondeterminism // want `//durable:allow nondeterminism gives no reason: say why .* \(allow\)`
	_ = time.Now()

	//durable:allow // want `//durable:allow names no rule: write //durable:allow <rule> <reason> \(allow\)`
	//durable:allow nonsense because // want `//durable:allow: there is no rule "nonsense" \(allow\)`
	_ = durable.Now(ctx)

	_ = uuid.New() //durable:allow nondeterminism a comment behind code is for its own line only
	_ = uuid.New() // want `uuid.New in handler code`

	//durable:allowed is something else
}
