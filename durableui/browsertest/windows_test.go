package browsertest

import (
	"testing"

	"github.com/durable-go/durable/durablehttp"
)

// TestManyWindows looks at an execution in more windows than a browser has connections
// to a host, all of them in sight: all are shown, and hear that it has ended.
func TestManyWindows(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.awaitsApproval(t, "order-1")
	var pages []*page
	for range 7 {
		p := open(t, s.url+"?execution=order-1", 800, 600)
		p.sees(".waits", "approval")
		pages = append(pages, p)
	}
	s.approve(t, "order-1")
	for _, p := range pages {
		p.sees(".title", "Succeeded")
	}
}
