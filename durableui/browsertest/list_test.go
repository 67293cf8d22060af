package browsertest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

func TestEmpty(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	p := open(t, s.url, 1200, 800)
	p.sees(".state", "No executions yet")
	p.click("Start one here")
	p.sees("dialog", "Start an execution")
}

func TestList(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	for i := range 120 {
		s.start(t, "greet", `"World"`, fmt.Sprintf("greet-%03d", i))
	}
	for i := range 120 {
		s.ends(t, fmt.Sprintf("greet-%03d", i))
	}
	s.declines.Store(true)
	s.awaitsApproval(t, "order-41")
	s.approve(t, "order-41")
	require.Equal(t, durable.ExecutionFailed, s.ends(t, "order-41").Status)
	s.awaitsApproval(t, "order-42")
	p := open(t, s.url, 1280, 800)
	p.sees(".counts", "All124") // two orders, each invoked greet
	p.sees(".counts", "Failed1")

	t.Run("ShowsWhatIsWaitedForAndWhyItFailed", func(t *testing.T) {
		p.T = t
		p.sees("tbody", "approval (callback), in 1 d 23 h")
		p.sees("tbody", "the bank declined the card")
	})
	t.Run("Filters", func(t *testing.T) {
		p.T = t
		p.eval(`document.querySelector('[data-status=FAILED]').click()`)
		p.until(`location.search === '?status=FAILED' && document.querySelectorAll('tbody tr').length === 1`)
		p.sees("tbody", "order-41")
		p.do()
		p.eval(`history.back()`)
		p.until(`document.querySelectorAll('tbody tr').length === 50`)
		p.choose("Function", "order")
		p.until(`location.search === '?function=order' && document.querySelectorAll('tbody tr').length === 2`)
		p.click("Clear filters")
		p.until(`document.querySelectorAll('tbody tr').length === 50`)
		p.choose("Time of start", "15m")
		p.until(`location.search === '?since=15m' && document.querySelectorAll('tbody tr').length === 50`)
		p.sees(".counts", "All124")
		p.visit(s.url + "?before=2020-01-01T00:00:00.000Z")
		p.sees(".counts", "Failed0")
		p.sees(".state", "No execution matches")
		p.click("Show all executions")
		p.until(`document.querySelectorAll('tbody tr').length === 50`)
	})
	t.Run("Searches", func(t *testing.T) {
		p.T = t
		p.keys("/")
		p.until(`document.activeElement.id === 'search'`)
		p.keys("order-4")
		p.until(`location.search === '?prefix=order-4' && document.querySelectorAll('tbody tr').length === 2`)
		p.until(`document.activeElement.id === 'search'`)
		p.keys("1", kb.Enter) // the whole ID opens it
		p.sees("h1", "order")
		p.until(`location.search === '?execution=order-41'`)
		p.visit(s.url + "?prefix=no%20such%20id")
		p.sees("[role=alert]", "at most 128 of")
		p.forgive("400 (Bad Request)")
	})
	t.Run("Pages", func(t *testing.T) {
		p.T = t
		p.visit(s.url)
		seen := make(map[any]bool)
		for page, rows := range []int{50, 50, 24} {
			p.until(fmt.Sprintf(`document.querySelectorAll('tbody tr').length === %d && (%d === 0 || location.search.includes('cursor='))`, rows, page))
			for _, id := range p.eval(`[...document.querySelectorAll('tbody .id')].map(e => e.textContent)`).([]any) {
				require.False(t, seen[id], "%s is on two pages", id)
				seen[id] = true
			}
			if page < 2 {
				first := p.eval(`document.querySelector('tbody .id').textContent`).(string)
				p.click("Older")
				p.until(`document.querySelector('tbody .id').textContent !== ` + quote(first))
			}
		}
		require.Len(t, seen, 124)
		p.click("Newest")
		p.until(`location.search === '' && document.querySelectorAll('tbody tr').length === 50`)
	})
	t.Run("KeysWalk", func(t *testing.T) {
		p.T = t
		p.visit(s.url)
		p.until(`document.querySelectorAll('tbody tr').length === 50`)
		p.keys("j", "j", "k", kb.ArrowDown)
		p.until(`document.activeElement === document.querySelectorAll('tbody .id')[1]`)
		id := p.eval(`document.activeElement.textContent`).(string)
		p.keys("?")
		p.sees("dialog", "next, previous row")
		p.keys(kb.Escape)
		p.until(`!document.querySelector('dialog') && document.activeElement === document.querySelectorAll('tbody .id')[1]`)
		p.keys(kb.Enter)
		p.until(`location.search === ` + quote("?execution="+id))
		p.sees("h1", "")
		p.until(`document.querySelector('.waterfall')`)
		p.keys(kb.Escape)
		p.until(`location.search === '' && document.querySelectorAll('tbody tr').length === 50`)
	})
}

// TestListLives checks that the list follows what happens, and keeps still under the
// eyes of who reads it.
func TestListLives(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.awaitsApproval(t, "order-1")
	p := open(t, s.url, 1280, 800)
	p.sees("tbody tr", "Waiting")
	p.sees("#top", "Live")
	p.do()
	p.eval(`document.activeElement.blur()`)

	s.start(t, "nightly-report", `"Monday"`, "report-1")
	p.until(`document.querySelector('tbody tr .id').textContent === 'report-1'`)
	p.sees("tbody", "until-morning (timer), in 6 h 11 min")

	p.keys("j") // somebody reads
	s.start(t, "greet", `"x"`, "greet-1")
	p.sees(".fresh", "1 new")
	require.Equal(t, "report-1", p.eval(`document.querySelector('tbody tr .id').textContent`))
	s.approve(t, "order-1")
	p.until(`[...document.querySelectorAll('tbody tr')].find(r => r.querySelector('.id').textContent === 'order-1').dataset.status === 'SUCCEEDED'`)
	p.sees(".counts", "Succeeded3")
	require.Equal(t, "report-1", p.eval(`document.activeElement.textContent`), "the focus moved")
	p.click("1 new")
	p.until(`document.querySelector('tbody tr .id').textContent === 'greet-1'`)
}

// TestUnreachable checks that errors are told in words.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "greet", `"x"`, "greet-1")
	p := open(t, s.url, 1280, 800)
	p.sees("tbody", "greet-1")
	p.visit(s.url + "?execution=none")
	p.sees("[role=alert]", "There is no such execution")
	p.forgive("404 (Not Found)")
	s.Close()
	p.visit(s.url)
	p.sees("[role=alert]", "the engine is closed")
	p.forgive("503 (Service Unavailable)")
}

// What the page does not know yet is not taken for none.
func TestStartBeforeTheFunctionsAreKnown(t *testing.T) {
	t.Parallel()
	known := make(chan struct{})
	s := serve(t, durablehttp.AdminOptions{Hosts: []string{"127.0.0.1"}, Authorize: func(r *http.Request, _ durablehttp.Access) error {
		if strings.HasSuffix(r.URL.Path, "/functions") {
			select {
			case <-known:
			case <-r.Context().Done():
			}
		}
		return nil
	}})
	p := open(t, s.url, 1200, 800)
	p.sees(".state", "No executions yet")
	require.Equal(t, false, p.eval(`document.body.textContent.includes('knows no function')`))
	p.click("Start an execution")
	close(known)
	p.sees("dialog", "Input (JSON)")
}
