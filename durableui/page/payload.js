import { button, copyButton, fill, h } from './dom.js'

const foldedLines = 24
const foldedChars = 6000
const paintedChars = 400_000 // beyond this, colours would only make the browser slow

// payload shows a JSON value under a heading: indented, foldable when long, with its
// size and a button that copies it.
export function payload(what, value) {
  return section(what, indented(value), painted)
}

const deepest = 100 // beyond this, there would be more indentation than value

function indented(value) {
  const flat = JSON.stringify(value) ?? 'null'
  let depth = 0
  for (const [mark] of flat.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    if (mark === '[' || mark === '{') depth++
    else if (mark === ']' || mark === '}') depth--
    if (depth > deepest) return flat
  }
  return JSON.stringify(value, null, 2) ?? 'null'
}

// plain shows a text, such as a stack, in the same way.
export function plain(what, text) { return section(what, text, t => [t]) }

function section(what, text, paint) {
  const lines = text.split('\n')
  const long = lines.length > foldedLines + 4 || text.length > foldedChars
  const head = lines.slice(0, foldedLines).join('\n').slice(0, foldedChars)
  const pre = h('pre', { tabindex: '0', 'aria-label': what })
  const more = long ? h('button', { type: 'button', class: 'link', 'aria-expanded': 'false' }) : null
  const show = all => {
    const shown = all ? text : head
    fill(pre, shown.length > paintedChars ? [shown] : paint(shown), all || !long ? null : h('span', { class: 'faint' }, ' …'))
    if (!more) return
    more.textContent = all ? 'Show less' : `Show all: ${lines.length === 1 ? '' : `${lines.length} lines, `}${size(text)}`
    more.setAttribute('aria-expanded', String(all))
  }
  more?.addEventListener('click', () => show(more.getAttribute('aria-expanded') !== 'true'))
  show(!long)
  return h('section', { class: 'payload' }, h('h3', null, what, h('span', { class: 'faint' }, size(text)), copyButton(what, () => text)), pre, more)
}

// size of a text, as it would be stored.
export function size(text) {
  const bytes = new Blob([text]).size
  if (bytes < 1000) return `${bytes} B`
  return bytes < 1_000_000 ? `${Math.round(bytes / 100) / 10} kB` : `${Math.round(bytes / 100_000) / 10} MB`
}

const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d[\d.eE+-]*/g

// painted is indented JSON as nodes, each kind of token in its colour.
function painted(text) {
  const nodes = []
  let at = 0
  for (const m of text.matchAll(token)) {
    if (m.index > at) nodes.push(text.slice(at, m.index))
    const kind = m[2] !== undefined ? 'key' : m[1] !== undefined ? 'string' : m[3] !== undefined ? 'word' : 'number'
    nodes.push(h('span', { class: `j-${kind}` }, m[1] ?? m[0]))
    if (m[2]) nodes.push(m[2])
    at = m.index + m[0].length
  }
  nodes.push(text.slice(at))
  return nodes
}

// failureText is a recorded error in one line, as much of it as somebody reads there. A
// plain Go error has no type worth naming, and some messages begin with it.
export function failureText({ type = '', message = '' }) {
  const named = message && (type === 'error' || message.toLowerCase().startsWith(type.toLowerCase()))
  return shortened(named ? message : [type, message].filter(Boolean).join(': '))
}

const line = 600

export const shortened = text => text.length > line ? `${text.slice(0, line)}…` : text

// failure shows a recorded error: type, message, data, and the stack folded.
export function failure(f, what = 'Error') {
  const stack = f.stack && h('details', null, h('summary', null, 'Stack'), plain('Stack', f.stack))
  return h('section', { class: 'failure' },
    h('h3', null, what, copyButton(what, () => [`${f.type}: ${f.message}`, f.stack].filter(Boolean).join('\n\n'))),
    h('p', { class: 'failure-text' }, h('strong', null, shortened(f.type)), f.message ? `: ${shortened(f.message)}` : ''),
    [f.type, f.message].some(t => t !== shortened(t)) && plain('The whole error', `${f.type}: ${f.message}`),
    f.data !== undefined && f.data !== null && payload('Data', f.data), stack)
}

// hidden stands for what is not shown until somebody asks for it.
export function hidden(what, reveal) {
  return h('section', { class: 'payload' }, h('h3', null, what),
    h('p', { class: 'quiet' }, 'Hidden here. ', button({ text: `Show ${what.toLowerCase()}`, kind: 'link', onclick: reveal })))
}
