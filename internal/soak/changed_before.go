//go:build !soaknext

package soak

import "time"

const first = "first"

func moved(t *trail, i int) {
	begun := t.step("begin", work{})
	t.step("carry", t.rest("rest", begun, time.Duration(300+i)*time.Millisecond))
	t.step("end", work{})
}
