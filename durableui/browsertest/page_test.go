package browsertest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// browser is the context of the one browser of all tests.
var browser context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		fmt.Println("durableui: skipped: no Chromium is installed (apt-get install chromium)")
		return 0
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox) // only pages of ours are opened
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	defer cancel()
	browser, cancel = chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(browser); err != nil {
		fmt.Println("durableui: skipped: Chromium does not start:", err)
		return 0
	}
	code := m.Run()
	chromedp.Cancel(browser)
	return code
}

// page is a tab.
type page struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string
	forgiven []string // texts
}

// open opens an address in a tab of its own; what the console says is kept until the
// test ends, and must be nothing.
func open(t *testing.T, url string, width, height int64) *page {
	t.Helper()
	p := blank(t, width, height)
	t.Cleanup(func() {
		if !t.Failed() {
			require.Empty(t, p.complaints(), "the browser complains")
		}
	})
	p.visit(url)
	return p
}

// blank opens an empty tab whose complaints nobody looks at.
func blank(t *testing.T, width, height int64) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	p := &page{T: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Type == "assert" {
				p.mu.Lock()
				p.messages = append(p.messages, fmt.Sprint(m.Type, ": ", m.Text, " ", m.URL, ":", m.Line))
				p.mu.Unlock()
			}
		}
	}()
	p.do(chromedp.EmulateViewport(width, height))
	return p
}

func (p *page) complaints() []string {
	p.eval(`new Promise(done => setTimeout(done))`) // what it said until now has arrived
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.messages), func(m string) bool {
		return slices.ContainsFunc(p.forgiven, func(text string) bool { return strings.Contains(m, text) })
	})
}

// forgive takes complaints with a text for part of the test; there must be one.
func (p *page) forgive(text string) {
	p.Helper()
	require.Condition(p, func() bool {
		return slices.ContainsFunc(p.complaints(), func(m string) bool { return strings.Contains(m, text) })
	}, "no complaint: %s", text)
	p.forgiven = append(p.forgiven, text)
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, actions...))
}

func (p *page) visit(url string) {
	p.Helper()
	p.do(chromedp.Navigate(url))
}

// eval evaluates JavaScript in the page.
func (p *page) eval(js string) any {
	p.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](js, chromedp.EvalAwaitPromise))
	require.NoError(p, err, "%s", js)
	return value
}

// until waits until an expression is true, looked at in each frame.
func (p *page) until(js string) {
	p.Helper()
	ok := p.eval(`new Promise(done => {
		const end = performance.now() + 60000
		const look = () => {
			let is = false
			try { is = !!(` + js + `) } catch {}
			if (is || performance.now() > end) done(is)
			else setTimeout(look, 15)
		}
		look()
	})`)
	if ok != true {
		require.Fail(p, "it does not become true: "+js, "page:\n%s\ncomplaints: %s", p.eval(`document.body.innerText.replaceAll('\\n', ' | ').slice(0, 1500)`), p.complaints())
	}
}

// sees waits until a text is in what a selector selects.
func (p *page) sees(selector, text string) {
	p.Helper()
	p.until(fmt.Sprintf(`[...document.querySelectorAll(%s)].some(e => e.innerText?.includes(%s) || e.textContent.includes(%[2]s))`, quote(selector), quote(text)))
}

// click clicks with the mouse on the button, link or row that a name names; what lies
// below a dialog is not looked at.
func (p *page) click(name string) {
	p.Helper()
	find := `(() => {
		const dialog = document.querySelector('dialog[open]') ?? document
		return [...dialog.querySelectorAll('button, a, summary, label, [role=row]')].find(e =>
			e.checkVisibility({ visibilityProperty: true }) && (e.textContent.trim() === ` + quote(name) + ` || e.ariaLabel === ` + quote(name) + ` || e.querySelector(':scope > span')?.textContent === ` + quote(name) + ` || e.querySelector('.w-name .text')?.textContent === ` + quote(name) + `))
	})()`
	p.until(find)
	// Where it is when it is clicked: the mouse would meet what has moved there meanwhile.
	p.eval(`(() => { const e = ` + find + `; e.scrollIntoView({ block: 'nearest' }); e.focus(); e.click() })()`)
}

// keys presses keys: names of kb for special ones.
func (p *page) keys(keys ...string) {
	p.Helper()
	for _, k := range keys {
		if k[0] <= ' ' || k[0] > '~' || len(k) > 1 {
			p.do(chromedp.KeyEvent(k))
			continue
		}
		// One event, so that a key that the page takes is not typed as well.
		_, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyDown", Key: k, Text: k})
		require.NoError(p, err)
		_, err = chromedp.Call(p.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyUp", Key: k})
		require.NoError(p, err)
	}
}

// enter replaces what stands in the field with this label, by typing.
func (p *page) enter(label, text string) {
	p.Helper()
	field := `[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('input, textarea, select')].find(e => e.labels?.[0]?.textContent === ` + quote(label) + ` || e.ariaLabel === ` + quote(label) + `)`
	p.until(field)
	p.eval(`(() => { const e = ` + field + `; e.focus(); e.select?.() })()`)
	p.keys(kb.Delete)
	p.keys(text)
}

// choose chooses from the select with this label.
func (p *page) choose(label, value string) {
	p.Helper()
	p.eval(`(() => {
		const e = [...(document.querySelector('dialog[open]') ?? document).querySelectorAll('select')].find(e => e.labels?.[0]?.textContent === ` + quote(label) + ` || e.ariaLabel === ` + quote(label) + `)
		e.value = ` + quote(value) + `
		e.dispatchEvent(new Event('change', { bubbles: true }))
	})()`)
}

// dark shows the page as on a system that is set to dark, or to light.
func (p *page) colors(scheme string) {
	p.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	require.NoError(p, err)
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// interactive are the roles of what people can act on, and of what holds much.
var interactive = []string{"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "menuitem", "tab", "treegrid", "table", "dialog", "navigation", "complementary", "DisclosureTriangle", "DateTime", "spinbutton", "RootWebArea"}

// nameless are the elements that someone who hears the page could not tell apart: what
// is interactive and has no name.
func (p *page) nameless() (bad []string, seen int) {
	p.Helper()
	tree, err := chromedp.Call(p.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	require.NoError(p, err)
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		var role, name string
		json.Unmarshal([]byte(n.Role.Value), &role)
		if n.Name != nil {
			json.Unmarshal([]byte(n.Name.Value), &name)
		}
		if !slices.Contains(interactive, role) {
			continue
		}
		seen++
		if strings.TrimSpace(name) == "" {
			bad = append(bad, fmt.Sprintf("%s (node %d)", role, n.BackendDOMNodeID))
		}
	}
	return bad, seen
}

// overflow is what is wider than the page, if the page can be scrolled sideways.
func (p *page) overflow() any {
	p.Helper()
	return p.eval(`(() => {
		const page = document.documentElement
		if (page.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth) return null
		return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className).slice(0, 5).join(', ') || 'the page'
	})()`)
}

// faint are the texts whose contrast with what lies behind them is below what WCAG
// asks for at level AA: 4.5, and 3 for large ones.
func (p *page) faint() (bad []any, seen int) {
	p.Helper()
	found := p.eval(`(() => {
		const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
		const rgba = color => {
			context.clearRect(0, 0, 1, 1)
			context.fillStyle = color
			context.fillRect(0, 0, 1, 1)
			const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data
			return [r, g, b, a / 255]
		}
		const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
		const behind = e => {
			const layers = []
			for (; e; e = e.parentElement) {
				const c = rgba(getComputedStyle(e).backgroundColor)
				if (c[3] > 0) layers.push(c)
				if (c[3] === 1) break
			}
			let color = [255, 255, 255, 1]
			for (const layer of layers.reverse()) color = over(layer, color)
			return color
		}
		const light = c => [0, 1, 2].map(i => c[i] / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
		const bad = new Set()
		let seen = 0
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
		while (walk.nextNode()) {
			const e = walk.currentNode.parentElement
			if (!walk.currentNode.data.trim() || !e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || e.closest('.visually-hidden, .skip, noscript, :disabled, option')) continue
			seen++
			const style = getComputedStyle(e)
			const back = behind(e)
			const [a, b] = [light(over(rgba(style.color), back)), light(back)]
			const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
			const size = parseFloat(style.fontSize)
			if (contrast < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5)) bad.add(contrast.toFixed(2) + ' ' + e.tagName + '.' + e.className + ': ' + walk.currentNode.data.trim().slice(0, 40))
		}
		return { bad: [...bad], seen }
	})()`).(map[string]any)
	return found["bad"].([]any), int(found["seen"].(float64))
}

func quoteNumber(x float64) string { return fmt.Sprint(x) }
