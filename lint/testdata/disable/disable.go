package disable

import (
	"time"

	"github.com/durable-go/durable"
)

func handler(ctx *durable.Context, m map[string]int) {
	_ = time.Now()
	_ = time.Now()        //durable:allow nondeterminism not unused: the rule is not checked
	for name := range m { // want `maprange`
		_ = durable.Wait(ctx, name, time.Second)
	}
}
