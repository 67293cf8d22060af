package browsertest

import (
	"encoding/json"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

// row is the row of an operation in the waterfall.
func row(id string) string { return `document.getElementById('op-` + id + `')` }

func TestWaterfall(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.awaitsApproval(t, "order-1")
	p := open(t, s.url, 1440, 1100)
	p.click("order-1")
	p.sees("h1", "order")

	t.Run("ShowsOperations", func(t *testing.T) {
		p.T = t
		for _, name := range []string{"validate", "cool-off", "pick", "shade", "checks", "fraud", "score", "stock-ready", "greeting", "packing", "pack", "approval"} {
			p.sees(".waterfall .text", name)
		}
		require.Equal(t, "4", p.eval(row("4-2-1")+`.getAttribute("aria-level")`)) // below the execution, checks and fraud
	})
	t.Run("DrawsAttemptsApart", func(t *testing.T) {
		p.T = t
		p.until(row("4-2-1") + `.querySelectorAll('.bar.failed').length === 2`)
		require.EqualValues(t, 2, p.eval(row("4-2-1")+`.querySelectorAll('.bar.wait').length`))
		require.EqualValues(t, 1, p.eval(row("4-2-1")+`.querySelectorAll('.bar.run').length`))
		require.EqualValues(t, 3, p.eval(row("5")+`.querySelectorAll('.bar.run').length`))
		require.EqualValues(t, 1, p.eval(row("2")+`.querySelectorAll('.bar.wait').length`))
	})
	t.Run("BarsStandInTime", func(t *testing.T) {
		p.T = t
		require.Equal(t, true, p.eval(`(() => {
			const box = id => document.querySelector('#op-' + id + ' .bar').getBoundingClientRect()
			const inOrder = ['1', '2', '3', '4', '5', '6', '7', '8'].every((id, i, all) => !i || box(all[i - 1]).right <= box(id).left + 2.5)
			const inside = ['3-1', '3-2', '3-3'].every(id => box(id).left >= box('3').left - 1 && box(id).right <= box('3').right + 1)
			return inOrder && inside
		})()`))
	})
	t.Run("CountsDown", func(t *testing.T) {
		p.T = t
		p.sees("#op-8-1 .w-took", "in 1 d 23 h")
		p.until(row("8-1") + `.querySelector('.bar.waiting')`)
		p.sees(".waits", "times out in 1 d 23 h")
	})
	t.Run("ChoosesAndShowsDetails", func(t *testing.T) {
		p.T = t
		p.click("score")
		p.until(`location.search.includes('op=4-2-1')`)
		p.sees(".panel h2", "score")
		p.sees(".panel .attempts", "503 Service Unavailable")
		p.sees(".panel pre", `"low"`)
		p.click("greeting")
		p.sees(".panel pre", `"lamp"`) // the input of the invoked execution
		p.sees(".panel pre", "Hello, lamp!")
		p.sees(".panel .facts a", "inv-")
	})
	t.Run("CollapsesAndZooms", func(t *testing.T) {
		p.T = t
		p.click("Collapse pick")
		p.until(`!` + row("3-1") + ` && ` + row("3") + `.getAttribute('aria-expanded') === 'false'`)
		p.click("Expand pick")
		p.until(row("3-1-1"))
		// Waits are folded from now on: an axis that grows, or folds when it has grown
		// enough, would change widths meanwhile.
		p.eval(`(() => { const fold = document.querySelector('.tools .check input'); fold.checked = false; fold.click() })()`)
		p.until(`document.querySelector('.waterfall .fold')`)
		p.eval(`new Promise(done => { // until the rows are drawn on that axis
			let last = 0, same = 0
			const look = () => {
				const width = ` + row("1") + `.querySelector('.bar').getBoundingClientRect().width
				same = width === last ? same + 1 : 0
				last = width
				if (same === 20) done(true)
				else setTimeout(look, 100)
			}
			look()
		})`)
		width := p.eval(row("1") + `.querySelector('.bar').getBoundingClientRect().width`).(float64)
		p.click("Zoom in (+)")
		p.until(`!` + row("1") + `.querySelector('.bar') || ` + row("1") + `.querySelector('.bar').getBoundingClientRect().width > ` + quoteNumber(width*1.5))
		p.click("Show all of the time (0)")
		p.until(row("1") + `.querySelector('.bar')?.getBoundingClientRect().width < ` + quoteNumber(width*1.5))
	})
	t.Run("KeysWalk", func(t *testing.T) {
		p.T = t
		p.eval(`document.querySelector('.waterfall').focus()`)
		p.keys(kb.Home, "j", kb.ArrowDown, "j")
		p.until(`document.querySelector('.waterfall').getAttribute('aria-activedescendant') === 'op-3'`)
		p.keys(kb.ArrowLeft)
		p.until(`!` + row("3-1"))
		p.keys(kb.ArrowRight, "l", "j", "j")
		p.until(row("3-2") + `?.getAttribute('aria-selected') === 'true'`)
		p.keys("h", "h", "h") // folded, to the parent, that folded
		p.until(row("3") + `.getAttribute('aria-selected') === 'true' && !` + row("3-2"))
		p.keys("l", kb.Enter)
		p.until(`document.activeElement.classList.contains('panel')`)
		p.keys(kb.Escape)
		p.until(`document.activeElement.id === 'waterfall'`)
		p.keys("2")
		p.sees(".history", "StepSucceeded")
		p.keys("3")
		p.sees(".family", "inv-")
		p.keys("1")
		p.until(`document.querySelector('.waterfall')`)
	})
	t.Run("History", func(t *testing.T) {
		p.T = t
		p.keys("2")
		p.sees(".history", "again in 100 ms")
		p.until(`![...document.querySelectorAll('.history [role=cell]')].some(c => c.textContent === 'StepStarted')`)
		p.click("Full")
		p.sees(".history [role=cell]", "StepStarted")
		p.eval(`document.querySelector('[aria-label="Event 3"]').click()`)
		p.sees("dialog", "StepSucceeded")
		p.sees("dialog pre", "[\n  1,\n  2,\n  3\n]")
		p.keys(kb.Escape)
		p.eval(`(() => { // a download can't be seen from here: what would be saved can
			window.saved = null
			const make = URL.createObjectURL
			URL.createObjectURL = blob => { blob.text().then(text => { window.saved = JSON.parse(text) }); return make.call(URL, blob) }
		})()`)
		p.click("Download JSON")
		p.until(`window.saved?.execution === 'order-1' && window.saved.events.length > 40 && window.saved.events.every((e, i) => e.eventId === i + 1)`)
		require.Equal(t, true, p.eval(`window.saved.events.every(e => !('callbackId' in e))`))
		p.click("Compact")
		p.keys("1")
	})
	t.Run("LivesUntilItEnds", func(t *testing.T) {
		p.T = t
		s.approve(t, "order-1")
		p.sees(".title", "Succeeded")
		p.until(`document.getElementById('said').textContent.includes('Succeeded')`)
		p.until(row("9") + `?.querySelector('.bar.run')`)
		p.until(`document.querySelector('.waits').hidden`)
		p.click("order")
		p.sees(".panel pre", `"approvedBy": "ann"`)
		p.sees(".panel pre", `"charged": 12345678901234568`) // each digit as it was recorded
	})
	t.Run("SpeaksToScreenReaders", func(t *testing.T) {
		p.T = t
		for _, view := range []string{"1", "2", "3"} {
			p.keys(view)
			p.until(`document.querySelector('.tabs [aria-current]').dataset.view === ` + quote(map[string]string{"1": "", "2": "history", "3": "tree"}[view]))
			bad, seen := p.nameless()
			require.Empty(t, bad)
			require.Greater(t, seen, 10)
		}
	})
	t.Run("ContrastIsEnough", func(t *testing.T) {
		p.T = t
		p.keys("1")
		for _, scheme := range []string{"dark", "light"} {
			p.colors(scheme)
			for _, view := range []string{"?execution=order-1&op=4-2-1", "?execution=order-1&view=history", "?execution=order-1&view=tree", "./"} {
				p.eval(`history.pushState(null, '', ` + quote(view) + `); dispatchEvent(new PopStateEvent('popstate'))`)
				p.until(`document.querySelector('.attempts, .history .rows > *, .family .here, tbody tr')`)
				faint, seen := p.faint()
				require.Empty(t, faint, "%s %s", scheme, view)
				require.Greater(t, seen, 10)
			}
		}
	})
}

func TestActions(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})

	t.Run("CompleteACallback", func(t *testing.T) {
		t.Parallel()
		s.awaitsApproval(t, "complete-1")
		p := open(t, s.url+"?execution=complete-1&op=8-1", 1280, 900)
		p.click("Complete approval")
		p.sees("dialog", "A callback takes one outcome")
		p.enter("Payload (JSON)", `{"by": `)
		p.sees(".field-problem", "Not JSON")
		p.keys(kb.Escape)
		p.until(`!document.querySelector('dialog')`)
		p.click("Complete approval")
		p.enter("Payload (JSON)", `"bob"`)
		p.click("Complete")
		p.sees(".title", "Succeeded")
		require.Contains(t, string(s.ends(t, "complete-1").Result), `"approvedBy":"bob"`)
	})
	t.Run("FailACallback", func(t *testing.T) {
		t.Parallel()
		s.awaitsApproval(t, "fail-1")
		p := open(t, s.url+"?execution=fail-1&op=8-1", 1280, 900)
		p.click("Fail…")
		p.enter("Type", "Rejected")
		p.enter("Message", "too expensive")
		p.enter("Data (JSON)", `{"limit":100}`)
		p.click("Fail")
		p.sees(".title", "Failed")
		p.sees(".banner.failed", "too expensive")
		p.sees(".panel .failure pre", `"limit": 100`)
	})
	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		s.awaitsApproval(t, "cancel-1")
		p := open(t, s.url+"?execution=cancel-1", 1280, 900)
		p.click("Cancel…")
		p.sees("dialog h2", "Cancel this execution?")
		p.click("Close")
		p.until(`!document.querySelector('dialog')`)
		info, err := s.Describe(t.Context(), "cancel-1")
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionRunning, info.Status, "cancelled without confirmation")
		p.click("Cancel…")
		p.enter("Reason", "ordered twice")
		p.keys(kb.Enter)
		p.sees(".title", "Failed")
		require.Equal(t, "Canceled", s.ends(t, "cancel-1").Failure.Type)
		p.sees(".banner.failed", "ordered twice")
	})
	t.Run("StopAndDelete", func(t *testing.T) {
		t.Parallel()
		s.awaitsApproval(t, "stop-1")
		p := open(t, s.url+"?execution=stop-1", 1280, 900)
		p.click("More actions")
		p.click("Stop at once…")
		p.click("Stop at once")
		p.sees(".title", "Stopped")
		require.Equal(t, durable.ExecutionStopped, s.ends(t, "stop-1").Status)
		p.click("More actions")
		p.click("Delete…")
		p.click("Delete")
		p.until(`location.search === ''`)
		_, err := s.Describe(t.Context(), "stop-1")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
	})
	t.Run("Start", func(t *testing.T) {
		t.Parallel()
		p := open(t, s.url, 1280, 900)
		p.until(`document.getElementById('start')`)
		p.until(`document.querySelector('select option[value=order]')`)
		p.keys("n")
		p.choose("Function", "order")
		p.until(`JSON.parse(document.querySelector('dialog textarea').value).card === ''`) // the sample
		p.choose("Function", "greet")
		p.enter("Input (JSON)", `"Console"`)
		p.enter("ID", "bad id")
		p.click("Start")
		p.sees(".field-problem", "At most 128 of")
		p.enter("ID", "started-1")
		p.enter("Timeout", "1h")
		p.click("Start")
		p.until(`location.search === '?execution=started-1'`)
		p.sees(".panel pre", `"Hello, Console!"`)
		p.click("More actions")
		p.click("Start again with this input…")
		p.until(`document.querySelector('dialog textarea').value === '"Console"'`)
		p.enter("Input (JSON)", `"Other"`)
		p.enter("ID", "started-1")
		p.click("Start")
		p.sees("dialog [role=alert]", "the ID is taken")
		p.forgive("409 (Conflict)")
	})
	t.Run("Resume", func(t *testing.T) {
		t.Parallel()
		s := serve(t, durablehttp.AdminOptions{})
		s.start(t, "payout", `{}`, "payout-1")
		p := open(t, s.url+"?execution=payout-1", 1280, 900)
		p.sees(".waits", "settled")
		p.until(`document.querySelector('.facts').textContent.includes('suspended')`)
		s.code.Store(1)
		s.complete(t, "payout-1", "settled")
		p.sees(".title", "Held")
		p.sees(".banner.held", "transfer-v2")
		s.code.Store(0)
		p.click("Resume…")
		p.click("Resume")
		p.sees(".title", "Succeeded")
	})
}

// TestRepair breaks something, finds out what, and repairs it.
func TestRepair(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.declines.Store(true)
	s.awaitsApproval(t, "order-1")
	s.approve(t, "order-1")
	s.ends(t, "order-1")
	p := open(t, s.url+"?status=FAILED", 1280, 900)
	p.click("order-1")
	p.sees(".banner.failed", "the bank declined the card")
	p.click("charge")
	p.sees(".panel .failure", "the bank declined the card")
	p.until(row("9") + `.querySelector('.bar.failed')`)

	t.Run("Retry", func(t *testing.T) {
		p.T = t
		s.declines.Store(false)
		p.click("Retry…")
		p.enter("ID", "order-1-again")
		p.click("Retry")
		p.until(`location.search === '?execution=order-1-again'`)
		p.sees(".title", "Succeeded")
		p.sees(".facts", "order-1")
		require.Equal(t, durable.ExecutionSucceeded, s.ends(t, "order-1-again").Status)
	})
	t.Run("RestartFromHere", func(t *testing.T) {
		p.T = t
		p.visit(s.url + "?execution=order-1")
		p.click("pick")
		p.click("Restart from here…")
		p.sees("dialog h2", "Restart from “pick” (3)?")
		p.enter("ID", "order-1-pick")
		p.click("Restart")
		p.until(`location.search === '?execution=order-1-pick'`)
		p.sees(".waits", "approval")
		info, err := s.Describe(t.Context(), "order-1-pick")
		require.NoError(t, err)
		require.Equal(t, "order-1", info.RestartOf)
	})
	t.Run("RestartFromTheBeginning", func(t *testing.T) {
		p.T = t
		p.visit(s.url + "?execution=order-1")
		p.click("Restart…")
		p.enter("ID", "order-1-anew")
		p.click("Restart")
		p.until(`location.search === '?execution=order-1-anew'`)
		p.sees(".waits", "approval")
	})
}

// TestRetryAsks retries what would do harm: the dialog says what, and asks.
func TestRetryAsks(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.declines.Store(true)
	for _, function := range []string{"trip", "agency"} {
		s.start(t, function, `{}`, function+"-1")
		s.ends(t, function+"-1")
	}
	s.declines.Store(false)
	p := open(t, s.url+"?execution=trip-1", 1280, 900)
	t.Run("ForgetsIfItMay", func(t *testing.T) {
		p.T = t
		p.click("Retry…")
		p.until(`!document.querySelector('dialog .forgotten').checkVisibility()`)
		p.enter("ID", "trip-2")
		p.click("Retry")
		p.sees("dialog .forgotten", "“give back” (3): SUCCEEDED")
		p.sees("dialog [role=alert]", "would be forgotten")
		p.forgive("409 (Conflict)")
		p.click("Retry")
		p.until(`!document.querySelector('dialog button[type=submit]').disabled`)
		p.click("Forget this")
		bad, _ := p.nameless()
		require.Empty(t, bad)
		require.Nil(t, p.overflow())
		p.click("Retry")
		p.until(`location.search === '?execution=trip-2'`)
		p.sees(".title", "Succeeded")
	})
	t.Run("NamesTheCaller", func(t *testing.T) {
		p.T = t
		children := ""
		for x := range s.Executions(t.Context(), durable.Query{Function: "trip", IDPrefix: "inv-"}) {
			children = x.ID
		}
		p.visit(s.url + "?execution=" + children)
		p.click("Retry…")
		p.click("Retry")
		p.sees("dialog [role=alert]", "This one was invoked")
		p.click("agency-1")
		p.until(`location.search === '?execution=agency-1' && !document.querySelector('dialog')`)
		p.click("Retry…")
		p.click("Retry")
		p.sees("dialog .forgotten", "“give back” (3 of "+children+"): SUCCEEDED")
		p.click("Close")
	})
	t.Run("NewKeys", func(t *testing.T) {
		p.T = t
		p.visit(s.url + "?execution=trip-1")
		p.click("pay")
		p.click("Restart from here…")
		p.click("New idempotency keys")
		p.enter("ID", "trip-3")
		p.click("Restart")
		p.until(`location.search === '?execution=trip-3'`)
		p.sees(".title", "Succeeded")
		_, err := s.RestartFrom(t.Context(), "trip-1", "1", durable.WithExecutionID("trip-3"), durable.WithNewIdempotencyKeys())
		require.NoError(t, err, "it is that one")
	})
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{ReadOnly: true})
	s.awaitsApproval(t, "order-1")
	p := open(t, s.url+"?execution=order-1&op=8-1", 1280, 900)
	p.sees("#top", "Read-only")
	p.sees(".panel h2", "approval")
	require.Empty(t, p.eval(`[...document.querySelectorAll('button, a')].map(b => b.textContent).filter(t => /…$|^Start/.test(t))`))
	p.keys("n")
	require.Equal(t, false, p.eval(`!!document.querySelector('dialog')`))
}

func TestHiddenPayloads(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{HidePayloads: true})
	s.start(t, "greet", `"secret name"`, "greet-1")
	s.ends(t, "greet-1")
	p := open(t, s.url+"?execution=greet-1", 1280, 900)
	p.sees(".panel", "Hidden here")
	require.Equal(t, false, p.eval(`document.body.textContent.includes('secret')`))
	p.click("Show input")
	p.sees(".panel pre", `"secret name"`)
	p.sees(".panel pre", `Hello, secret name!`)
}

// TestStartAgainHidden starts with the input that was, which was not shown.
func TestStartAgainHidden(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{HidePayloads: true})
	s.start(t, "greet", `"secret name"`, "greet-1")
	s.ends(t, "greet-1")
	p := open(t, s.url+"?execution=greet-1", 1280, 900)
	p.click("More actions")
	p.click("Start again with this input…")
	p.until(`document.querySelector('dialog textarea')`)
	require.Equal(t, `"secret name"`, p.eval(`document.querySelector('dialog textarea').value`))
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "parcel", `{}`, "parcel-1")
	s.awaitsApproval(t, "order-1")
	_, err := s.CallbackID(t.Context(), "parcel-1", "delivered")
	require.NoError(t, err)
	p := open(t, s.url+"?execution=parcel-1&op=1-1", 1280, 900)
	p.sees(".panel h2", "delivered")
	p.click("Heartbeat")
	p.sees("#notices", "The heartbeat was taken")

	p.visit(s.url + "?execution=order-1&op=8-1") // nobody waits for signs of life of that one
	p.sees(".panel .buttons", "Complete…")
	p.until(`document.querySelector('.tabs').textContent.match(/History\d/)`)
	require.NotContains(t, p.eval(`document.querySelector('.panel .buttons').textContent`), "Heartbeat")
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "greet", `"World"`, "greet-1")
	s.ends(t, "greet-1")
	recording, err := s.Recording(t.Context(), "greet-1")
	require.NoError(t, err)
	data, err := json.Marshal(recording)
	require.NoError(t, err)
	p := open(t, s.url, 1280, 900)
	p.until(`document.querySelector('select option[value=order]')`)
	p.keys("n")
	p.click("Import a recording…")
	p.sees("dialog h2", "Import a recording")
	p.click("Import")
	p.sees(".field-problem", "Choose a file")
	choose := func(text string) {
		p.eval(`(() => {
			const files = new DataTransfer()
			files.items.add(new File([` + quote(text) + `], 'greet-1.recording.json'))
			document.querySelector('dialog input[type=file]').files = files.files
		})()`)
	}
	choose(`{"version":1}`)
	p.click("Import")
	p.sees("dialog [role=alert]", "not a recording")
	p.forgive("400 (Bad Request)")
	choose(string(data))
	p.enter("ID", "greet-again")
	p.click("Import")
	p.until(`location.search === '?execution=greet-again'`)
	p.sees(".panel pre", "Hello, World!")
	require.Equal(t, durable.ExecutionSucceeded, s.ends(t, "greet-again").Status)
}

func TestFamily(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	s.awaitsApproval(t, "order-1")
	p := open(t, s.url+"?execution=order-1&view=tree", 1280, 900)
	p.sees(".family .here", "order-1")
	p.until(`document.querySelector('.family li li a')`) // what it invoked
	p.eval(`document.querySelector('.family li li a').click()`)
	p.sees("h1", "greet")
	p.sees(".facts", "order-1")
	p.keys("3")
	p.sees(".family > li > .relative", "order-1")
	p.sees(".family .here", "inv-")
}
