import { h, setText } from './dom.js'

// Times are numbers: milliseconds since 1970 with a fraction, since a step may take
// microseconds. Durations in the API are nanoseconds.

let offset = 0 // of the service's clock to the browser's

// setClock takes over what the service says the time is.
export function setClock(text) {
  const at = parse(text)
  if (at !== null) offset = at - Date.now()
}

// now is the time by the service's clock.
export function now() { return Date.now() + offset }

// parse reads a time of the API; null if there is none.
export function parse(text) {
  if (!text) return null
  const fraction = /\.(\d+)/.exec(text)
  const whole = Date.parse(fraction ? text.replace(fraction[0], '') : text)
  if (Number.isNaN(whole)) return null
  return fraction ? whole + Number(`0${fraction[0]}`) * 1000 : whole
}

const two = n => String(n).padStart(2, '0')

// absolute is a time in the browser's zone, to the millisecond: 2026-11-23 16:21:50.123.
export function absolute(t, fraction = true) {
  const d = new Date(Math.floor(t))
  const text = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
  return fraction ? `${text}.${String(d.getMilliseconds()).padStart(3, '0')}` : text
}

const units = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000], ['s', 1000]]

// duration is a length of time in words, in milliseconds: 240 µs, 153 ms, 2.41 s, 3 min 12 s.
export function duration(ms) {
  if (ms < 0) return `−${duration(-ms)}`
  if (ms === 0) return '0 s'
  if (ms < 0.9995) return `${Math.max(1, Math.round(ms * 1000))} µs`
  if (ms < 10) return `${trimmed(ms, 1)} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${trimmed(ms / 1000, ms < 10_000 ? 2 : 1)} s`
  const rounded = Math.round(ms / 1000) * 1000
  const i = units.findIndex(([, size]) => rounded >= size)
  const [unit, size] = units[i]
  const whole = Math.floor(rounded / size)
  const [smaller, smallerSize] = units[i + 1]
  const rest = Math.floor((rounded - whole * size) / smallerSize)
  return rest ? `${whole} ${unit} ${rest} ${smaller}` : `${whole} ${unit}`
}

const trimmed = (x, digits) => String(Number(x.toFixed(digits)))

// relative is a time as seen from now: "12 s ago", "in 3 min 5 s".
export function relative(t) {
  const ms = t - now()
  if (ms > 0) return `in ${duration(Math.ceil(ms / 1000) * 1000)}`
  if (ms > -2000) return 'just now'
  const i = units.findIndex(([, size]) => -ms >= size)
  const [unit, size] = units[i]
  return `${Math.floor(-ms / size)} ${unit} ago`
}

const ticking = new Map() // by node: what brings its text up to date

// tick keeps a node's text up to date as long as it is in the page.
export function tick(node, text) {
  ticking.set(node, text)
  node.textContent = text()
  return node
}

setInterval(() => {
  if (document.hidden) return
  for (const [node, text] of ticking) {
    if (node.isConnected) setText(node, text())
    else ticking.delete(node)
  }
}, 1000)

// when is a time as relative text that keeps up, with the absolute one as its title.
export function when(t) {
  return tick(h('time', { datetime: new Date(t).toISOString(), title: absolute(t) }), () => relative(t))
}
