// Elements are made by these functions only. Nothing is ever parsed as HTML, so what
// executions hold can't become markup.

// h makes an element: listeners for attributes that begin with "on", properties for
// functions' sake none; children are nodes, texts, or lists of them; null is left out.
export function h(tag, attributes, ...children) {
  const node = document.createElement(tag)
  set(node, attributes)
  node.append(...content(children))
  return node
}

const content = children => children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false).map(c => typeof c === 'string' ? plain(c) : c)

// plain is a text whose marks that reverse what stands behind them are shown as what
// they are, in JSON's escapes: a name could make another be read.
const plain = text => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, mark => `\\u${mark.charCodeAt(0).toString(16)}`)

// set sets attributes: true is present, false, null and undefined are absent.
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (value === false || value === null || value === undefined) node.removeAttribute(name)
    else node.setAttribute(name, value === true ? '' : value)
  }
}

// fill replaces what a node holds.
export function fill(node, ...children) {
  node.replaceChildren(...content(children))
}

// setText writes a text only if it is another one: what does not change is not
// painted, and selections in it stay.
export function setText(node, text) {
  const shown = plain(text)
  if (node.textContent !== shown) node.textContent = shown
}

const svg = 'http://www.w3.org/2000/svg'

// Paths in a square of 16; stroked unless they begin with "!".
const icons = {
  RUNNING: ['M8 2a6 6 0 1 1-6 6', '!M8 5.6a2.4 2.4 0 1 1 0 4.8a2.4 2.4 0 1 1 0-4.8'],
  WAITING: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', 'M6.4 6v4M9.6 6v4'],
  SUCCEEDED: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', 'M5.4 8.2l1.8 1.8 3.4-3.8'],
  FAILED: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', 'M6 6l4 4M10 6l-4 4'],
  TIMED_OUT: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', 'M8 5v3.2l2.2 1.3'],
  STOPPED: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', '!M6 6h4v4H6z'],
  CANCELLED: ['M8 2a6 6 0 1 1 0 12A6 6 0 1 1 8 2', 'M4 12L12 4'],
  HELD: ['M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5z', 'M8 5v3.6M8 10.8v.2'],
  STEP: ['M3 3.5h10v9H3z', 'M6 8h4'],
  WAIT: ['M4.5 2.5h7M4.5 13.5h7M5 2.5c0 3 6 3.5 6 5.5s-6 2.5-6 5.5M11 2.5c0 3-6 3.5-6 5.5s6 2.5 6 5.5'],
  CALLBACK: ['M13 4v4.5H4', 'M7 5.5l-3 3 3 3'],
  CHAINED_INVOKE: ['M7 3H3v10h10V9', 'M9.5 3H13v3.5M13 3L7.5 8.5'],
  CONTEXT: ['M6 3c-2 0-2 1-2 2.5S4 8 2.5 8C4 8 4 9 4 10.5S4 13 6 13M10 3c2 0 2 1 2 2.5S12 8 13.5 8C12 8 12 9 12 10.5S12 13 10 13'],
  Parallel: ['M2.5 8H5M5 3.5v9M5 3.5h8M5 8h8M5 12.5h8'],
  Map: ['M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM9 9h4v4H9z'],
  WaitForCondition: ['M13 8a5 5 0 1 1-1.5-3.5M13 2.5v2.5h-2.5'],
  EXECUTION: ['M3 3.5h6M6 8h7M4.5 12.5h5'],
  search: ['M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9', 'M10.5 10.5L14 14'],
  copy: ['M5.5 5.5h8v8h-8z', 'M10.5 5.5v-3h-8v8h3'],
  close: ['M4 4l8 8M12 4l-8 8'],
  caret: ['M6 4l4 4-4 4'],
  back: ['M10 3.5L5.5 8l4.5 4.5'],
  plus: ['M8 3v10M3 8h10'],
  minus: ['M3 8h10'],
  fit: ['M2.5 4v8M13.5 4v8M5 8h6M6.5 6L4.5 8l2 2M9.5 6l2 2-2 2'],
  download: ['M8 2.5v8M5 7.5l3 3 3-3M3 13.5h10'],
  auto: ['M2.5 3.5h11v7.5h-11z', 'M6 13.5h4'],
  light: ['M8 5.5a2.5 2.5 0 1 1 0 5a2.5 2.5 0 1 1 0-5', 'M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.400 3.400l1 1M11.600 11.600l1 1M3.400 12.600l1-1M11.600 4.400l1-1'],
  dark: ['M13 9.5A5.5 5.5 0 1 1 6.5 3a4.5 4.5 0 0 0 6.5 6.5z'],
  more: ['!M3 7h2v2H3zM7 7h2v2H7zM11 7h2v2h-2z'],
}

// icon draws one of the icons above. It is decoration: the words stand beside it.
export function icon(name) {
  const node = document.createElementNS(svg, 'svg')
  node.setAttribute('viewBox', '0 0 16 16')
  node.setAttribute('class', 'icon')
  node.setAttribute('aria-hidden', 'true')
  for (const d of icons[name] ?? []) {
    const path = document.createElementNS(svg, 'path')
    path.setAttribute('d', d.replace('!', ''))
    path.setAttribute('class', d.startsWith('!') ? 'filled' : 'stroked')
    node.append(path)
  }
  return node
}

// button makes a button with an icon, a text or both. Without a text, label names it.
export function button({ text, label, icon: name, kind, ...attributes }) {
  return h('button', { type: 'button', class: kind, 'aria-label': label, title: label, ...attributes }, name && icon(name), text && h('span', null, text))
}

// announce says something to screen readers once the text before it has been read.
export function announce(text) {
  const said = document.getElementById('said')
  said.textContent = ''
  requestAnimationFrame(() => { said.textContent = text })
}

// notice shows a message for some seconds, or until it is closed.
export function notice(text, kind = 'info') {
  const close = () => node.remove()
  const node = h('div', { class: `notice ${kind}`, role: kind === 'error' ? 'alert' : 'status' }, h('span', null, text), button({ label: 'Close', icon: 'close', kind: 'plain', onclick: close }))
  document.getElementById('notices').append(node)
  setTimeout(close, kind === 'error' ? 15_000 : 6_000)
}

// copyButton copies what text() returns.
export function copyButton(what, text) {
  return button({
    label: `Copy ${what}`, icon: 'copy', kind: 'plain small',
    onclick: async event => {
      event.stopPropagation()
      try {
        await navigator.clipboard.writeText(text())
        announce(`${what} copied`)
        const b = event.target.closest('button')
        b?.classList.add('done')
        setTimeout(() => b?.classList.remove('done'), 1000)
      } catch {
        notice('The browser does not let this page write to the clipboard. It does so over HTTPS and on localhost.', 'error')
      }
    },
  })
}
