package browsertest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durablehttp"
)

// TestCheckers plants what the checkers are to find.
func TestCheckers(t *testing.T) {
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "greet", `"x"`, "greet-1")
	s.ends(t, "greet-1")
	p := blank(t, 400, 800)
	p.visit(s.url)
	p.sees("tbody", "greet-1")
	require.Empty(t, p.complaints())

	for name, plant := range map[string]string{
		"InlineScript":  `document.body.append(Object.assign(document.createElement('button'), { id: 'bad' })); setTimeout(() => document.getElementById('bad').setAttribute('onclick', '1'))`,
		"InlineStyle":   `document.body.setAttribute('style', 'color: red')`,
		"ForeignImage":  `new Image().src = 'http://127.0.0.1:1/x.png'`,
		"HTMLFromText":  `setTimeout(() => { document.body.innerHTML += '<p>x</p>' })`,
		"LateException": `setTimeout(() => { throw new Error('planted') })`,
		"LostRejection": `Promise.reject(new Error('planted')); 1`,
		"ConsoleError":  `console.error('planted')`,
		"MissingAnswer": `fetch('api/executions/none').then(() => 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			p := blank(t, 400, 800)
			p.visit(s.url)
			p.sees("tbody", "greet-1")
			require.Empty(t, p.complaints())
			p.eval(plant)
			for range 200 { // the browser tells of some from another process
				if len(p.complaints()) > 0 {
					break
				}
			}
			require.NotEmpty(t, p.complaints())
		})
	}

	p.eval(`document.querySelector('main').append(document.createElement('button'))`)
	bad, _ := p.nameless()
	require.Len(t, bad, 1)

	require.Nil(t, p.overflow())
	p.eval(`(() => { const wide = document.createElement('div'); wide.style.width = '500px'; wide.style.height = '9px'; document.querySelector('main').append(wide) })()`)
	require.NotNil(t, p.overflow())

	faint, seen := p.faint()
	require.Empty(t, faint)
	require.NotZero(t, seen)
	p.eval(`(() => { const e = document.createElement('p'); e.textContent = 'faint'; e.style.color = 'light-dark(#999, #666)'; document.querySelector('main').append(e) })()`)
	faint, _ = p.faint()
	require.Len(t, faint, 1)
}
