import { get, watchConnection } from './api.js'
import { button, fill, h, icon, notice, set } from './dom.js'
import { setClock } from './time.js'
import { executionPage } from './execution.js'
import { listPage } from './list.js'
import { keysDialog, startDialog } from './actions.js'

let asked = null // the request of app.knownFunctions

// app is what the pages know of the whole.
const app = {
  about: { readOnly: true, hidePayloads: false },
  functions: null, // not known yet

  // knownFunctions asks for them once; what failed is asked again.
  async knownFunctions() {
    asked ??= get('functions')
    try {
      app.functions = (await asked).functions ?? []
    } catch (err) {
      asked = null
      throw err
    }
    return app.functions
  },

  // go leads to another address of this page: parameters behind the question mark.
  go(params, { replace = false } = {}) {
    const address = link(params)
    if (replace) history.replaceState(null, '', address)
    else history.pushState(null, '', address)
    render()
  },
  link,
}

// link is the address of a page, relative, without parameters that have no value.
function link(params) {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, value)
  }
  const text = query.toString()
  return text ? `?${text}` : './'
}

const main = document.getElementById('main')
let page = null
let pageKey = null

// render shows what the address says. A page that is shown already only learns of
// its new parameters, so that a filter does not take the focus away.
function render() {
  const params = Object.fromEntries(new URLSearchParams(location.search))
  const key = params.execution ?? ''
  if (page && pageKey === key) {
    page.update(params)
    return
  }
  const first = page === null
  page?.end()
  pageKey = key
  page = key ? executionPage(main, params, app) : listPage(main, params, app)
  if (!first) {
    scrollTo(0, 0)
    main.focus({ preventScroll: true })
  }
}

function header() {
  const connection = h('span', { class: 'connection', 'data-state': 'none' }, h('i', { 'aria-hidden': 'true' }), h('span', null, 'Offline'))
  watchConnection(state => {
    connection.dataset.state = state
    connection.lastChild.textContent = { live: 'Live', lost: 'Reconnecting…', none: 'Paused' }[state]
  })
  const themes = ['auto', 'light', 'dark']
  const theme = button({
    label: 'Theme', icon: 'auto', kind: 'plain', id: 'theme',
    onclick: () => {
      const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]
      document.documentElement.dataset.theme = next
      try { localStorage.setItem('durable.theme', next) } catch { /* storage may be switched off */ }
      named()
    },
  })
  const named = () => {
    const chosen = document.documentElement.dataset.theme
    const text = `Theme: ${chosen === 'auto' ? 'as the system' : chosen}`
    set(theme, { 'aria-label': text, title: text })
    fill(theme, icon(chosen))
  }
  named()
  fill(document.getElementById('top'),
    h('a', { class: 'brand', href: link({}) }, h('span', { class: 'mark', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), 'durable'),
    app.about.readOnly && app.about.now && h('span', { class: 'tag' }, 'Read-only'),
    h('span', { class: 'grow' }), connection,
    !app.about.readOnly && button({ text: 'Start', label: 'Start an execution', icon: 'plus', kind: 'small', id: 'start', onclick: () => startDialog(app) }),
    theme,
    button({ text: '?', label: 'Keys', kind: 'plain', onclick: () => keysDialog() }))
}

document.addEventListener('click', event => {
  const a = event.target.closest?.('a[href]')
  if (!a || a.target || a.hasAttribute('download') || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
  const url = new URL(a.href)
  if (url.origin !== location.origin || url.pathname !== location.pathname || url.hash) return
  event.preventDefault()
  if (url.search !== location.search) history.pushState(null, '', a.href)
  render()
})
addEventListener('popstate', render)

// Keys of the page that is shown; those of elements that are typed into go first.
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]')) return
  const typing = event.target.matches?.('input, textarea, select, [contenteditable]')
  if (typing && event.key !== 'Escape') return
  if (page?.key(event, typing)) event.preventDefault()
  else if (!typing && event.key === '?') keysDialog()
  else if (!typing && event.key === 'n' && !app.about.readOnly) startDialog(app)
  else return
  event.preventDefault()
})

async function begin() {
  header()
  try {
    app.about = await get('about')
    setClock(app.about.now)
  } catch (err) {
    notice(err.message, 'error')
  }
  header()
  render()
  try {
    await app.knownFunctions()
    page?.update(Object.fromEntries(new URLSearchParams(location.search)))
  } catch { /* the pages say what is wrong */ }
}

begin()
