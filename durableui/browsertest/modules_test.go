package browsertest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durablehttp"
)

// TestModules checks what the page calculates.
func TestModules(t *testing.T) {
	t.Parallel()
	s := serve(t, durablehttp.AdminOptions{})
	p := open(t, s.url, 800, 600)
	module := func(name, js string) any {
		t.Helper()
		return p.eval(`(async () => { const m = await import(document.querySelector('script[type=module]').src.replace('main.js', '` + name + `.js')); return (` + js + `) })()`)
	}

	t.Run("Durations", func(t *testing.T) {
		for ms, want := range map[string]string{
			"0": "0 s", "0.0002": "1 µs", "0.24": "240 µs", "0.9994": "999 µs", "0.9996": "1 ms", "1.25": "1.3 ms", "153.4": "153 ms", "999.4": "999 ms", "999.6": "1 s",
			"2413": "2.41 s", "10000": "10 s", "59940": "59.9 s", "59960": "1 min", "61000": "1 min 1 s", "3599900": "1 h", "3600000": "1 h", "7500000": "2 h 5 min", "90000000": "1 d 1 h", "172800000": "2 d", "-5000": "−5 s",
		} {
			require.Equal(t, want, module("time", `m.duration(`+ms+`)`), ms)
		}
	})
	t.Run("TimesToTheMicrosecond", func(t *testing.T) {
		require.InDelta(t, 0.245, module("time", `m.parse('2026-11-23T16:21:50.123456789Z') - m.parse('2026-11-23T16:21:50.123211Z')`), 0.001)
		require.Nil(t, module("time", `m.parse('')`))
		require.Equal(t, true, module("time", `m.parse('2026-11-23T16:21:50Z') === Date.UTC(2026, 10, 23, 16, 21, 50)`))
		require.Equal(t, true, module("time", `m.parse('2026-11-23T18:21:50.5+02:00') === Date.UTC(2026, 10, 23, 16, 21, 50, 500)`))
	})
	t.Run("NumbersKeepTheirDigits", func(t *testing.T) {
		for _, text := range []string{`12345678901234567890`, `1.0`, `1e400`, `[0.1,-0.0,"1.0",{"a":1.50}]`, `null`} {
			require.Equal(t, text, module("api", `JSON.stringify(m.parseExact(`+quote(text)+`))`))
		}
	})
	t.Run("ScaleIsMonotoneAndReversible", func(t *testing.T) {
		require.Equal(t, "", module("scale", `(() => {
			let seed = 1
			const random = () => (seed = seed * 48271 % 2147483647) / 2147483647
			for (let round = 0; round < 400; round++) {
				const start = 1.7e12 + random() * 1e6
				const span = 10 ** (random() * 9 - 1)
				const work = m.busy(Array.from({ length: Math.floor(random() * 30) }, () => {
					const from = start + random() * span
					return [from, Math.min(start + span, from + random() * span * 10 ** (-random() * 5))]
				}))
				for (const fold of [true, false, null]) {
					const s = m.makeScale(start, start + span, work, fold)
					if (s.place(start) > 1e-6 || Math.abs(s.place(start + span) - 1) > 1e-6) return 'round ' + round + ': the ends are at ' + s.place(start) + ' and ' + s.place(start + span)
					let last = -1
					for (let i = 0; i <= 100; i++) {
						const t = start + span * i / 100
						const u = s.place(t)
						if (u < last - 1e-9) return 'round ' + round + ': goes back at ' + i
						if (Math.abs(s.time(u) - t) > span * 1e-3 + 0.01) return 'round ' + round + ': ' + (s.time(u) - t) + ' off at ' + i
						last = u
					}
				}
			}
			return ''
		})()`))
	})
	t.Run("FoldsLongWaitsOnly", func(t *testing.T) {
		const day = 86_400_000
		js := fmt.Sprintf(`(() => { const s = m.makeScale(0, %d, [[0, 100], [180, 280], [%[1]d - 100, %[1]d]], null); return [s.breaks.length, s.place(100), s.place(180), s.place(280)] })()`, day)
		got := module("scale", js).([]any)
		require.EqualValues(t, 1, got[0])
		require.InDelta(t, got[1].(float64)*0.8, got[2].(float64)-got[1].(float64), 1e-6, "what is short keeps its length")
		require.Greater(t, got[3], 0.5)
		require.EqualValues(t, 0, module("scale", `m.makeScale(0, 1000, [[0, 400], [600, 1000]], null).breaks.length`))
	})
	t.Run("TicksAreRoundAndNotTooMany", func(t *testing.T) {
		require.Equal(t, []any{0.0, 500.0, 1000.0}, module("scale", `m.ticks(0, 1450, 4)`))
		require.Equal(t, []any{0.0, 3600000.0, 7200000.0}, module("scale", `m.ticks(0, 7500000, 3)`))
		require.Equal(t, true, module("scale", `[0.01, 1, 50, 3e3, 6e4, 5e5, 4e6, 1e8, 3e9].every(span => [1, 3, 8].every(most => { const n = m.ticks(0, span, most).length; return n >= 1 && n <= most + 2 }))`))
	})
}
