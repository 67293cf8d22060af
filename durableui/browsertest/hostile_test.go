package browsertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

const markup = `<img src=x onerror="window.owned=1"></script><script>window.owned=1</script>`

const markupJSON = `</pre><img src=x onerror='window.owned=1'><script>window.owned=1</script>`

// turning reads from right to left from here on, if it is let.
const turning = "paid\u202Eyaw yna "

// hostile has names, payloads and failures of somebody who wishes the reader ill.
var hostile = durable.Define("hostile", func(ctx *durable.Context, in json.RawMessage) (json.RawMessage, error) {
	if _, err := durable.Step(ctx, markup, func(context.Context) (json.RawMessage, error) { return in, nil }); err != nil {
		return nil, err
	}
	if _, err := durable.Step(ctx, "bytes", func(context.Context) (string, error) { return "\xff\xfe" + turning + "\x00", nil }); err != nil {
		return nil, err
	}
	if _, err := durable.Step(ctx, strings.Repeat("long", 60), func(context.Context) (string, error) { return strings.Repeat("x", 1<<20), nil }); err != nil {
		return nil, err
	}
	return nil, &durable.Failure{Type: markup, Message: markup + turning + strings.Repeat("y", 300_000), Data: in}
})

// TestHostile shows what somebody who wishes the reader ill may have put into executions:
// nothing of it runs, reorders what stands beside it, or fills the page.
func TestHostile(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "hostile", `{"<b>k</b>":"`+turning+markupJSON+`","__proto__":{"polluted":1},"n":12345678901234567890.10}`, "x-1")
	s.start(t, "hostile", strings.Repeat("[", 9000)+strings.Repeat("]", 9000), "x-deep")
	for _, id := range []string{"x-1", "x-deep"} {
		require.Equal(t, durable.ExecutionFailed, s.ends(t, id).Status)
	}
	p := open(t, s.url, 1280, 900)
	harmless := func(t *testing.T) {
		t.Helper()
		require.Nil(t, p.eval(`window.owned ?? ({}).polluted ?? null`))
		require.Nil(t, p.overflow())
		require.Less(t, p.eval(`document.documentElement.scrollHeight`), 3000.0, "one text fills the page")
		require.Nil(t, p.eval(`[...document.querySelectorAll('body *')].find(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.includes('\u202e')))?.outerHTML.slice(0, 200) ?? null`), "a text that turns others")
	}
	for address, ready := range map[string]string{
		"":                               `document.querySelectorAll('tbody tr').length === 2`,
		"?execution=x-1":                 `document.querySelector('.panel pre')`,
		"?execution=x-1&op=1":            `document.querySelector('.panel pre')`,
		"?execution=x-1&op=2":            `document.querySelector('.panel pre')`,
		"?execution=x-1&op=3":            `document.querySelector('.panel pre')`,
		"?execution=x-1&view=history":    `document.querySelectorAll('.history .rows > *').length > 3`,
		"?execution=x-deep":              `[...document.querySelectorAll('.panel pre')].some(e => e.textContent.startsWith('[['))`,
		"?execution=x-deep&op=1":         `[...document.querySelectorAll('.panel pre')].some(e => e.textContent.startsWith('[['))`,
		"?execution=x-1&op=1&op=%3Cb%3E": `document.querySelector('.panel pre')`,
	} {
		t.Run(address, func(t *testing.T) {
			p.T = t
			p.visit(s.url + address)
			p.until(ready)
			harmless(t)
		})
	}
	p.T = t
	p.visit(s.url + "?execution=x-1&op=1")
	p.sees(".panel pre", `"paid\u202eyaw yna </pre><img src=x onerror=`)
	p.sees(".panel pre", `12345678901234567890.10`)

	for _, address := range []string{`?execution=%3Cimg%20src%3Dx%20onerror%3Dwindow.owned%3D1%3E`, "?execution=..%2F..%2Fstats", "?status=%3Cb%3E&function=%22%3E&prefix=%3Cscript%3E"} {
		p := blank(t, 1280, 900) // it complains of the answers
		p.visit(s.url + address)
		p.until(`document.querySelector('.problem')`)
		require.Nil(t, p.eval(`window.owned ?? null`))
	}
}
