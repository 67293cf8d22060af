import { at, follow, get, paced } from './api.js'
import { announce, button, copyButton, fill, h, icon, set, setText } from './dom.js'
import { failureText } from './payload.js'
import { badge, nameOf, seenStatus, statusWord, statuses, waitsFor } from './status.js'
import { absolute, duration, now, parse, relative, tick } from './time.js'
import { startDialog } from './actions.js'

const pageSize = 50
const spans = { '15m': ['Last 15 minutes', 900], '1h': ['Last hour', 3600], '24h': ['Last 24 hours', 86_400], '7d': ['Last 7 days', 604_800] }

// listPage shows the executions that the address selects: status, function, prefix,
// since (one of spans) or after and before, and the cursor of a page.
export function listPage(root, params, app) {
  document.title = 'Executions · durable'
  let ended = false
  let asked = null // aborts the request under way
  let rows = new Map() // by ID: what is shown
  let infos = [] // as shown, in order
  let next = ''
  let unseen = [] // of the last answer: newer than what is shown
  let changed = new Set() // IDs that something happened to since the last answer

  const search = h('input', {
    id: 'search', type: 'search', placeholder: 'Execution ID begins with…', 'aria-label': 'Execution ID begins with', autocomplete: 'off', spellcheck: 'false',
    oninput: () => { clearTimeout(typing); typing = setTimeout(() => filter({ prefix: search.value.trim() }, true), 200) },
    onkeydown: event => {
      if (event.key === 'Enter') { clearTimeout(typing); filter({ prefix: search.value.trim() }, true); open(infos.find(i => i.id === search.value.trim())) }
      if (event.key === 'ArrowDown') { event.preventDefault(); move(0, true) }
    },
  })
  let typing = 0
  const fn = h('select', { 'aria-label': 'Function', onchange: () => filter({ function: fn.value }) })
  const time = h('select', { 'aria-label': 'Time of start', onchange: () => chooseTime(time.value) },
    h('option', { value: '' }, 'Any time'), Object.entries(spans).map(([value, [text]]) => h('option', { value }, text)), h('option', { value: 'between' }, 'Between…'))
  const after = h('input', { type: 'datetime-local', 'aria-label': 'Started after', onchange: () => filter({ after: iso(after.value) }) })
  const before = h('input', { type: 'datetime-local', 'aria-label': 'Started before', onchange: () => filter({ before: iso(before.value) }) })
  const between = h('span', { class: 'between', hidden: true }, after, h('span', null, '–'), before)
  const clear = h('a', { href: app.link({}), class: 'quiet', hidden: true }, 'Clear filters')
  const counts = h('nav', { class: 'counts', 'aria-label': 'Status' })
  const fresh = button({ text: '', kind: 'fresh', hidden: true, onclick: () => { scrollTo({ top: 0 }); settle(true) } })
  const body = h('tbody')
  const table = h('table', { class: 'list', 'aria-label': 'Executions' },
    h('thead', null, h('tr', null, ['Status', 'Execution', 'Function', 'Started', 'Duration', 'Details'].map(t => h('th', { scope: 'col' }, t)))), body)
  const state = h('div', { class: 'state' })
  const newest = h('a', { class: 'button small' }, 'Newest')
  const older = h('a', { class: 'button small', rel: 'next' }, 'Older')
  const pages = h('nav', { class: 'pages', 'aria-label': 'Pages' }, newest, older)
  fill(root, h('h1', { class: 'visually-hidden' }, 'Executions'), counts,
    h('search', { class: 'filters' }, h('div', { class: 'search' }, icon('search'), search, h('kbd', { 'aria-hidden': 'true' }, '/')), fn, time, between, clear),
    h('div', { class: 'fresh-place' }, fresh), table, state, pages)

  function filter(change, replace = false) {
    const to = { ...params, ...change, cursor: '' }
    if (app.link(to) !== app.link(params)) app.go(to, { replace })
  }

  function chooseTime(value) {
    if (value === 'between') {
      between.hidden = false
      after.focus()
      return
    }
    filter({ since: value, after: '', before: '' })
  }

  // query is what the API is asked, from the address.
  function query() {
    const span = spans[params.since]
    return {
      function: params.function, prefix: params.prefix,
      startedAfter: span ? new Date(now() - span[1] * 1000).toISOString() : params.after, startedBefore: params.before,
    }
  }

  // show brings the controls up to what the address says.
  function show() {
    if (document.activeElement !== search) search.value = params.prefix ?? ''
    const names = new Set(app.functions?.map(f => f.name))
    if (params.function) names.add(params.function)
    fill(fn, h('option', { value: '' }, 'All functions'), [...names].sort().map(name => h('option', { value: name }, name)))
    fn.value = params.function ?? ''
    const ranged = params.after || params.before
    time.value = ranged ? 'between' : spans[params.since] ? params.since : ''
    between.hidden = !ranged
    after.value = localInput(params.after)
    before.value = localInput(params.before)
    clear.hidden = !['status', 'function', 'prefix', 'since', 'after', 'before'].some(p => params[p])
    newest.hidden = !params.cursor
    newest.href = app.link({ ...params, cursor: '' })
  }

  let known = null // the counts
  function showCounts() {
    const total = known && Object.values(known).reduce((a, b) => a + b, 0)
    const one = (status, text, n) => h('a', {
      href: app.link({ ...params, status, cursor: '' }), 'data-status': status || 'ALL', 'aria-current': (params.status ?? '') === status ? 'page' : null,
    }, status && icon(status), h('span', null, text), n !== null && h('b', null, (n ?? 0).toLocaleString('en')))
    const focused = counts.contains(document.activeElement) && document.activeElement.dataset.status
    fill(counts, one('', 'All', total), statuses.map(s => one(s, statusWord(s), known && known[s])))
    if (focused) counts.querySelector(`[data-status="${focused}"]`)?.focus()
  }

  // load asks for the page anew, and shows what comes whatever was shown.
  async function load() {
    asked?.abort()
    asked = new AbortController()
    const { signal } = asked
    show()
    showCounts()
    document.body.classList.add('loading')
    try {
      const answer = await get('executions', { query: { ...query(), status: params.status, cursor: params.cursor, limit: pageSize }, signal })
      if (signal.aborted || ended) return
      infos = answer.executions ?? []
      next = answer.next ?? ''
      unseen = []
      settle(true)
      performance.mark('durable-rows')
    } catch (err) {
      if (signal.aborted || ended) return
      infos = []
      next = ''
      draw()
      fill(state, h('p', { class: 'problem', role: 'alert' }, err.message), button({ text: 'Try again', onclick: load }))
      return
    } finally {
      if (!signal.aborted) document.body.classList.remove('loading')
    }
    count()
  }

  const count = paced(async () => {
    try {
      known = await get('counts', { query: query() })
      if (!ended) showCounts()
    } catch { /* the list says what is wrong */ }
  }, 1000)

  // refresh asks again for what is shown, since something happened. Rows change in
  // place; new ones are put in only if nobody reads.
  const refresh = paced(async () => {
    const mine = asked
    const touched = changed
    changed = new Set()
    try {
      const answer = await get('executions', { query: { ...query(), status: params.status, cursor: params.cursor, limit: pageSize }, signal: mine.signal })
      const latest = new Map((answer.executions ?? []).map(i => [i.id, i]))
      const gone = infos.filter(i => !latest.has(i.id))
      // What is shown and not in the answer has another status now, or was pushed out.
      for (const info of gone.filter(i => touched.has(i.id)).slice(0, 20)) {
        try { latest.set(info.id, await get(at`executions/${info.id}`, { signal: mine.signal })) } catch { /* deleted */ }
      }
      if (mine !== asked || ended) return
      infos = infos.map(i => latest.get(i.id) ?? i)
      const shown = new Set(infos.map(i => i.id))
      unseen = params.cursor ? [] : (answer.executions ?? []).filter(i => !shown.has(i.id))
      next = answer.next ?? next
      settle(false)
    } catch { /* what is shown stays; the connection says that it is lost */ }
  }, 500)

  // settle draws, with the new rows on top if they may come in.
  function settle(force) {
    const reads = scrollY > 60 || body.contains(document.activeElement) || body.matches(':hover')
    if (unseen.length && (force || !reads)) {
      infos = [...unseen, ...infos].slice(0, Math.max(pageSize, infos.length))
      unseen = []
    }
    setText(fresh.lastChild, `${unseen.length >= pageSize ? `${pageSize} or more` : unseen.length} new`)
    if (fresh.hidden === unseen.length > 0) {
      fresh.hidden = unseen.length === 0
      if (unseen.length) announce('There are new executions.')
    }
    draw()
  }

  function draw() {
    const kept = new Map()
    let place = body.firstElementChild
    for (const info of infos) {
      let row = rows.get(info.id)
      if (!row) row = newRow(info)
      row.show(info)
      kept.set(info.id, row)
      if (row.node === place) place = place.nextElementSibling
      else body.insertBefore(row.node, place)
    }
    for (const [id, row] of rows) if (!kept.has(id)) row.node.remove()
    rows = kept
    table.hidden = infos.length === 0
    older.hidden = !next
    older.href = app.link({ ...params, cursor: next })
    pages.hidden = !next && !params.cursor
    empty()
    look()
  }

  function empty() {
    if (infos.length) {
      fill(state)
      return
    }
    if (!clear.hidden || params.cursor) {
      fill(state, h('h2', null, 'Nothing here'), h('p', null, params.cursor ? 'There are no older executions.' : 'No execution matches these filters.'),
        h('p', null, h('a', { href: app.link({}) }, 'Show all executions')))
      return
    }
    fill(state, h('h2', null, 'No executions yet'),
      h('p', null, 'An execution is one run of a function. Each thing it does is recorded, and appears here as it happens.'),
      h('pre', { 'aria-label': 'How to start an execution in Go' }, 'x, err := greet.Start(ctx, engine, "World")'),
      app.functions?.length === 0
        ? h('p', null, 'This engine knows no function yet: list them in Options.Functions.')
        : app.about.readOnly ? null : button({ text: 'Start one here', icon: 'plus', kind: 'primary', onclick: () => startDialog(app) }))
  }

  function newRow(info) {
    const link = h('a', { href: app.link({ execution: info.id }), class: 'id', title: info.id }, info.id)
    const cell = { status: h('td'), function: h('td', { class: 'function' }, info.function), started: h('td'), took: h('td', { class: 'number' }), doing: h('td', { class: 'doing' }) }
    const started = parse(info.startedAt)
    const at = h('time', { datetime: info.startedAt })
    tick(at, () => relative(started))
    fill(cell.started, at, h('small', null, absolute(started, false)))
    const node = h('tr', {
      onclick: event => {
        if (!event.target.closest('a, button') && !String(getSelection())) open(info)
      },
    }, cell.status, h('td', { class: 'name' }, link, copyButton('ID', () => info.id)), cell.function, cell.started, cell.took, cell.doing)
    let shown = ''
    const row = {
      node, link, info,
      show(latest) {
        row.info = latest
        const said = JSON.stringify(latest) + (row.open ?? '')
        if (said === shown) return
        if (shown && node.dataset.status !== seenStatus(latest)) flash(node)
        shown = said
        node.dataset.status = seenStatus(latest)
        fill(cell.status, badge(seenStatus(latest)))
        const end = parse(latest.endedAt)
        if (end !== null) cell.took.textContent = duration(end - started)
        tick(cell.took, () => duration(end === null ? Math.max(0, Math.floor((now() - started) / 1000) * 1000) : end - started))
        doing(cell.doing, latest, row.open)
      },
    }
    return row
  }

  // look asks what the suspended executions in sight wait for, two at a time.
  const looked = new Map() // by ID: of which wake time the answer is
  let looking = 0
  function look() {
    for (const [id, row] of rows) {
      if (looking >= 2) return
      const i = row.info
      if (i.status !== 'RUNNING' || i.held) continue
      const key = `${i.wakeAt} ${i.resident}`
      if (looked.get(id) === key || document.hidden) continue
      const place = row.node.getBoundingClientRect()
      if (place.bottom < 0 || place.top > innerHeight + 400) continue
      looked.set(id, key)
      looking++
      const mine = asked
      get(at`executions/${id}/operations`, { query: { open: true }, signal: mine.signal })
        .then(({ operations = [] }) => {
          row.open = operations.filter(waitsFor).slice(0, 3).map(op => `${nameOf(op)} (${waitsFor(op)})`).join(', ')
          row.show(row.info)
        })
        .catch(() => {})
        .finally(() => {
          looking--
          if (!ended && mine === asked) look()
        })
    }
  }
  const scrolled = () => look()
  addEventListener('scroll', scrolled, { passive: true })

  function open(info) { if (info) app.go({ execution: info.id }) }

  // move sets the focus to another row, from the one that has it.
  function move(by, fromSearch = false) {
    const ids = infos.map(i => i.id)
    if (!ids.length) return
    const at = ids.findIndex(id => rows.get(id).node.contains(document.activeElement))
    const to = at < 0 || fromSearch ? (by < 0 ? ids.length - 1 : 0) : Math.min(ids.length - 1, Math.max(0, at + by))
    rows.get(ids[to]).link.focus()
    rows.get(ids[to]).node.scrollIntoView({ block: 'nearest' })
  }

  const hush = follow('events', {}, {
    onopen: () => { refresh(); count() },
    changed: news => {
      for (const id of news?.ids ?? []) {
        changed.add(id)
        looked.delete(id)
      }
      refresh()
      count()
    },
  })
  load()

  return {
    update(latest) {
      const same = app.link(latest) === app.link(params)
      params = latest
      if (!same) {
        scrollTo(0, 0)
        load()
      } else {
        show()
        if (!infos.length && !document.body.classList.contains('loading') && !state.querySelector('.problem')) empty()
      }
    },
    key(event, typing) {
      switch (event.key) {
        case '/': search.focus(); search.select(); return true
        case 'Escape':
          if (typing) event.target.blur()
          else if (body.contains(document.activeElement)) document.activeElement.blur()
          else if (!clear.hidden) app.go({})
          return true
        case 'j': case 'ArrowDown': move(1); return true
        case 'k': case 'ArrowUp': move(-1); return true
        case '[': if (params.cursor) history.back(); return true
        case ']': if (next) app.go({ ...params, cursor: next }); return true
      }
      return false
    },
    end() {
      ended = true
      clearTimeout(typing)
      asked?.abort()
      refresh.end()
      count.end()
      hush()
      removeEventListener('scroll', scrolled)
    },
  }
}

// doing says what a running execution waits for, or how an ended one failed.
function doing(cell, info, open) {
  const wake = parse(info.wakeAt)
  if (info.unreadable) fill(cell, h('span', { class: 'failed' }, 'can’t be read: damaged, or its key is missing'))
  else if (info.held) fill(cell, h('span', { class: 'held' }, failureText(info.held)))
  else if (info.stalledSince) fill(cell, h('span', { class: 'held' }, 'busy without progress, ', tick(h('span'), () => relative(parse(info.stalledSince)))))
  else if (info.status !== 'RUNNING') fill(cell, info.failure ? h('span', { class: 'failed' }, failureText(info.failure)) : info.parent ? h('span', { class: 'faint' }, `invoked by ${info.parent}`) : null)
  else if (wake !== null) {
    const due = tick(h('time', { datetime: info.wakeAt, title: absolute(wake) }), () => wake > now() ? relative(wake) : 'due now')
    fill(cell, open ? `${open}, ` : 'wakes ', due)
  } else if (info.resident) fill(cell, info.bodies?.length ? `${info.bodies.length === 1 ? 'one body runs' : `${info.bodies.length} bodies run`}` : open || 'in memory')
  else fill(cell, open || 'waits for an outcome from outside')
  set(cell, { title: cell.textContent })
}

function flash(node) {
  node.classList.remove('flash')
  requestAnimationFrame(() => node.classList.add('flash'))
}

const iso = local => local ? new Date(local).toISOString() : ''

function localInput(text) {
  const t = parse(text)
  return t === null ? '' : absolute(t, false).slice(0, 16).replace(' ', 'T')
}
