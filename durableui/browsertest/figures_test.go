package browsertest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

var shots = flag.Bool("console.shots", false, "take the pictures in docs/ anew")

// TestManyExecutions measures the list of 100,000 executions. It asserts no times.
func TestManyExecutions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 100,000 executions")
	}
	const n = 100_000
	s := serve(t, durablehttp.AdminOptions{})
	began := time.Now()
	var group sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) * 16 {
		group.Go(func() {
			for i := worker; i < n; i += runtime.GOMAXPROCS(0) * 16 {
				if _, err := s.StartByName(t.Context(), "ping", []byte("1"), durable.WithExecutionID(fmt.Sprintf("ping-%06d", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d executions started in %v", n, time.Since(began).Round(time.Millisecond))
	for i := n - 200; i < n; i++ {
		s.ends(t, fmt.Sprintf("ping-%06d", i))
	}
	p := open(t, s.url, 1280, 800)
	p.until(`performance.getEntriesByName('durable-rows').length`)
	first := p.eval(`performance.getEntriesByName('durable-rows')[0].startTime`)
	p.until(`document.querySelector('.counts b')?.textContent === '100,000'`)
	counted := p.eval(`performance.now()`)
	t.Logf("%d executions: first rows %.0f ms, counts %.0f ms after the address was entered", n, first, counted)
	next := p.eval(`new Promise(done => {
		const first = document.querySelector('tbody .id').textContent
		const began = performance.now()
		document.querySelector('[rel=next]').click()
		const look = () => document.querySelector('tbody .id').textContent === first ? requestAnimationFrame(look) : done(performance.now() - began)
		look()
	})`)
	t.Logf("%d executions: next page %.0f ms after the click", n, next)
	filtered := p.eval(`new Promise(done => {
		const began = performance.now()
		const search = document.getElementById('search')
		search.value = 'ping-00001'
		search.dispatchEvent(new Event('input'))
		const look = () => document.querySelectorAll('tbody tr').length === 10 ? done(performance.now() - began) : requestAnimationFrame(look)
		look()
	})`)
	t.Logf("%d executions: search %.0f ms after the last key, 200 of them to wait for another one", n, filtered)
}

// TestManyOperations measures the waterfall of 10,000 operations. It asserts no times.
func TestManyOperations(t *testing.T) {
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "import-rows", "5000", "rows-1") // an item and its step each, and the map
	s.ends(t, "rows-1")
	p := open(t, s.url+"?execution=rows-1", 1280, 800)
	p.until(`performance.getEntriesByName('durable-waterfall').length && document.querySelectorAll('.rows .w-row').length > 10`)
	t.Logf("10,001 operations: waterfall %.0f ms after the address was entered", p.eval(`performance.getEntriesByName('durable-waterfall')[0].startTime`))
	p.until(`Number(document.querySelector("[data-view=history] b")?.textContent.replace(",", "")) > 20000`)
	p.click("Expand all")
	p.until(`document.querySelector('.waterfall').getAttribute('aria-rowcount') === '10003'`)
	frames := p.eval(`new Promise(done => {
		const grid = document.querySelector('.waterfall')
		const times = []
		let last = performance.now()
		const step = () => {
			const now = performance.now()
			times.push(now - last)
			last = now
			grid.scrollTop += grid.scrollHeight / 120
			if (times.length < 120) requestAnimationFrame(step)
			else {
				times.sort((a, b) => a - b)
				done({ median: times[60], worst: times[119], rows: document.querySelectorAll('.rows .w-row').length, last: grid.textContent.includes('5000') })
			}
		}
		requestAnimationFrame(step)
	})`).(map[string]any)
	t.Logf("10,001 operations: scrolled through in 120 frames of %.1f ms (median), %.1f ms (worst)", frames["median"], frames["worst"])
	require.Less(t, frames["rows"], 60.0, "rows out of sight are in the page")
	p.until(`document.querySelector('.waterfall').textContent.includes('2-5000') || document.querySelector('.waterfall').textContent.includes('1-5000-1')`)
	p.keys("2")
	p.click("Full")
	p.until(`document.querySelector('.history').getAttribute('aria-rowcount') > 20000 && document.querySelectorAll('.history .rows > *').length < 60`)
	p.click("Compact")
}

// TestPhone checks that nothing needs to be scrolled sideways on a narrow screen.
func TestPhone(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.declines.Store(true)
	s.awaitsApproval(t, "an-order-with-a-very-long-id.2026-11-23:0123456789012345678901234567890123456789")
	s.awaitsApproval(t, "order-2")
	s.approve(t, "order-2")
	s.ends(t, "order-2")
	p := open(t, s.url, 400, 820)
	for address, ready := range map[string]string{
		"":                                `document.querySelectorAll('tbody tr').length === 4`,
		"?status=STOPPED":                 `document.querySelector('.state h2')`,
		"?execution=order-2":              row("9"),
		"?execution=order-2&op=4-2-1":     `document.querySelector('.attempts')`,
		"?execution=order-2&op=-":         `document.querySelector('.panel pre')`,
		"?execution=order-2&view=history": `document.querySelectorAll('.history .rows > *').length > 5`,
		"?execution=order-2&view=tree":    `document.querySelector('.family li li')`,
		"?execution=an-order-with-a-very-long-id.2026-11-23:0123456789012345678901234567890123456789": `!document.querySelector('.waits').hidden`,
	} {
		p.visit(s.url + address)
		p.until(ready)
		require.Nil(t, p.overflow(), "%s", address)
		bad, _ := p.nameless()
		require.Empty(t, bad, "%s", address)
	}
	p.visit(s.url)
	p.click("Start an execution")
	p.sees("dialog", "Input (JSON)")
	require.Nil(t, p.overflow())
	bad, _ := p.nameless()
	require.Empty(t, bad)
}

// TestTheme checks the switch, which a reload does not forget.
func TestTheme(t *testing.T) {
	s := serve(t, durablehttp.AdminOptions{})
	p := open(t, s.url, 1000, 700)
	p.colors("light")
	p.until(`document.getElementById('theme')`)
	background := func() any { return p.eval(`getComputedStyle(document.documentElement).backgroundColor`) }
	light := background()
	p.colors("dark")
	becomes := func(is string, color any) { // the page may be styled a moment later
		p.until(`getComputedStyle(document.documentElement).backgroundColor ` + is + ` ` + quote(color.(string)))
	}
	becomes("!==", light)
	dark := background()
	p.click("Theme: as the system")
	becomes("===", light)
	p.visit(s.url)
	becomes("===", light)
	p.click("Theme: light")
	becomes("===", dark)
	p.click("Theme: dark")
	p.until(`document.documentElement.dataset.theme === 'auto'`)
}

// TestShots takes the pictures in docs/.
func TestShots(t *testing.T) {
	if !*shots {
		t.Skip("with -console.shots")
	}
	s := serve(t, durablehttp.AdminOptions{})
	for i, name := range []string{"Ada", "Grace", "Barbara", "Radia"} {
		s.start(t, "greet", `"`+name+`"`, fmt.Sprintf("greet-%d", 1042+i))
	}
	s.start(t, "import-rows", "120", "import-2026-11")
	s.start(t, "payout", `{}`, "payout-7731")
	_, err := s.CallbackID(t.Context(), "payout-7731", "settled")
	require.NoError(t, err)
	s.start(t, "nightly-report", `"Monday"`, "report-monday", durable.WithExecutionTimeout(24*time.Hour))
	s.declines.Store(true)
	s.awaitsApproval(t, "order-4471")
	s.approve(t, "order-4471")
	s.ends(t, "order-4471")
	s.declines.Store(false)
	s.awaitsApproval(t, "order-4472")
	s.approve(t, "order-4472")
	s.ends(t, "order-4472")
	s.awaitsApproval(t, "order-4473")
	require.NoError(t, s.Stop(t.Context(), "order-4473", "ordered twice"))
	s.code.Store(1)
	time.Sleep(300 * time.Millisecond) // the payout has left memory: a picture of a hold needs a replay
	s.complete(t, "payout-7731", "settled")
	s.awaitsApproval(t, "order-4474")

	take := func(name, address, scheme string, width, height int64, ready ...string) {
		p := open(t, s.url, width, height)
		p.colors(scheme)
		p.visit(s.url + address)
		for _, js := range ready {
			p.until(js)
		}
		time.Sleep(1200 * time.Millisecond) // fonts, and what moves
		png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.Less(t, len(png), 200_000)
		require.NoError(t, os.WriteFile(filepath.Join("..", "..", "docs", "console-"+name+".png"), png, 0o644))
	}
	take("list", "", "light", 1280, 760, `document.querySelectorAll('tbody tr').length > 10`, `document.body.textContent.includes('until-morning')`, `document.body.textContent.includes('(callback)')`)
	take("execution", "?execution=order-4471&op=4-2-1", "light", 1440, 900, `document.querySelector('.attempts')`)
	take("execution-dark", "?execution=order-4474&op=8-1", "dark", 1440, 900, `document.querySelector('.panel .primary')`)
	take("phone", "?execution=order-4474", "light", 400, 820, row("3"))
}
