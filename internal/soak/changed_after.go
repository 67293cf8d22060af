//go:build soaknext

package soak

import (
	"time"

	"github.com/durable-go/durable"
)

const first = "premier"

func moved(t *trail, i int) {
	begun := t.step("begin", work{})
	rested := t.rest("rest", begun, time.Duration(300+i)*time.Millisecond)
	if t.err == nil && durable.Version(t.ctx, "by air", 1) == 1 {
		t.step("fly", rested)
		rested = work{}
	} else {
		t.step("carry", rested)
	}
	t.step("end", work{})
}
