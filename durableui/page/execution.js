import { at, follow, get, paced } from './api.js'
import { announce, button, copyButton, fill, h, icon, set, setText } from './dom.js'
import { badge, nameOf, seenStatus, statusWord, waitsFor } from './status.js'
import { absolute, duration, now, parse, relative, tick, when } from './time.js'
import { family } from './family.js'
import { historyTable } from './history.js'
import { Model } from './model.js'
import { failureText } from './payload.js'
import { panel } from './panel.js'
import { waterfall } from './waterfall.js'
import * as actions from './actions.js'

const views = { '': 'Timeline', history: 'History', tree: 'Executions' }

// executionPage shows one execution. The address says which, which view of it, and
// which operation is chosen ("op"; "-" is the execution itself).
export function executionPage(root, params, app) {
  const id = params.execution
  document.title = `${id} · durable`
  let ended = false
  let hush = () => {}
  let shown = '' // the status that was shown last
  const aborting = new AbortController()
  const { signal } = aborting
  const ctx = { app, model: null, revealed: false, close: () => choose(null), reveal, refresh: () => refresh() }

  const crumbs = h('nav', { class: 'crumbs', 'aria-label': 'You are here' }, h('a', { href: app.link({}) }, icon('back'), 'Executions'))
  const head = h('section', { class: 'head', 'aria-label': 'Execution' }, h('p', { class: 'quiet' }, 'Reading…'))
  const waits = h('section', { class: 'waits', 'aria-label': 'What it waits for', hidden: true })
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Views' })
  const left = h('div', { class: 'left' })
  const body = h('div', { class: 'body' }, left)
  fill(root, crumbs, head, waits, tabs, body)

  let flow = null // the waterfall
  let table = null
  let tree = null
  let side = null

  async function begin() {
    try {
      const [info, operations] = await Promise.all([
        get(at`executions/${id}`, { query: { payloads: false }, signal }),
        get(at`executions/${id}/operations`, { signal }),
      ])
      ctx.model = new Model(info)
      ctx.model.setOperations(operations.operations ?? [])
    } catch (err) {
      if (signal.aborted) return
      fill(head, h('h1', null, id), h('p', { class: 'problem', role: 'alert' }, err.status === 404 ? 'There is no such execution. It was never started here, was deleted, or ended so long ago that it was removed.' : err.message),
        button({ text: 'Try again', onclick: begin }))
      return
    }
    flow = waterfall(ctx.model, op => choose(op))
    table = historyTable(ctx, op => app.go({ ...params, view: '', op }))
    tree = family(ctx)
    side = panel(ctx)
    body.append(side.node)
    draw()
    show()
    performance.mark('durable-waterfall')
    try { await readHistory() } catch (err) { if (!signal.aborted) announce(err.message) }
    if (signal.aborted) return
    ctx.model.segment()
    drawViews()
    if (ctx.model.info.status === 'RUNNING') listen()
  }

  // readHistory reads what is new in the history, page by page.
  async function readHistory() {
    for (let next = ctx.model.last; next !== undefined;) {
      const page = await get(at`executions/${id}/history`, { query: { after: next, limit: 5000, payloads: false }, signal })
      ctx.model.addEvents(page.events ?? [])
      next = page.next
    }
  }

  function listen() {
    hush()
    hush = follow(at`executions/${id}/events`, () => ({ after: ctx.model.last, payloads: false }), {
      onopen: async () => {
        try { await readHistory() } catch { /* the next time */ }
        refresh()
      },
      event: event => {
        ctx.model.addEvents([event])
        refresh()
      },
      problem: () => { // it says so to all who ask: not every two seconds
        hush()
        const again = setTimeout(listen, 15_000)
        hush = () => clearTimeout(again)
      },
      end: () => {
        hush()
        hush = () => {}
        refresh()
      },
    })
  }

  // What is not an event, such as coming into memory, is heard of in the news of all.
  const hushNews = follow('events', {}, { changed: news => { if (ctx.model && (news?.more || news?.ids?.includes(id))) refresh() } })

  const refresh = paced(async () => {
    if (!ctx.model) return
    try {
      const [info, operations] = await Promise.all([
        get(at`executions/${id}`, { query: { payloads: false }, signal }),
        get(at`executions/${id}/operations`, { signal }),
      ])
      ctx.model.setInfo(info)
      ctx.model.setOperations(operations.operations ?? [])
      if (info.status !== 'RUNNING') {
        await readHistory()
        hush()
      }
      ctx.model.segment()
      if (!ended) draw()
    } catch (err) {
      if (err.status === 404) fill(waits, h('p', { class: 'problem' }, 'This execution was deleted meanwhile.'))
    }
  }, 300)

  function draw() {
    drawHead()
    drawWaits()
    drawViews()
  }

  let headSaid = ''
  function drawHead() {
    const { info } = ctx.model
    const status = seenStatus(info)
    const said = JSON.stringify(info)
    if (said === headSaid) return
    headSaid = said
    if (shown && shown !== status) announce(`${info.function} is now: ${statusWord(status)}`)
    shown = status
    const from = parse(info.startedAt)
    const to = parse(info.endedAt)
    const deadline = parse(info.deadline)
    const wake = parse(info.wakeAt)
    const focused = head.contains(document.activeElement) ? document.activeElement.textContent : null
    fill(head,
      h('div', { class: 'title' }, h('h1', null, info.function), badge(status, 'big'), h('span', { class: 'grow' }), buttons(info)),
      h('p', { class: 'ids' }, h('span', { class: 'mono' }, id), copyButton('Execution ID', () => id)),
      h('dl', { class: 'facts' },
        fact('Started', when(from), h('small', null, absolute(from))),
        to !== null && fact('Ended', when(to), h('small', null, absolute(to))),
        fact(to === null ? 'Running for' : 'Took', tick(h('span', { class: 'number' }), () => duration(to === null ? Math.max(0, Math.floor((now() - from) / 1000) * 1000) : to - from))),
        deadline !== null && fact('Deadline', info.status === 'RUNNING' ? when(deadline) : absolute(deadline, false), info.status === 'RUNNING' && h('small', null, absolute(deadline, false))),
        wake !== null && info.status === 'RUNNING' && fact('Wakes', tick(h('strong', { class: 'number' }), () => wake > now() ? relative(wake) : 'due now'), h('small', null, absolute(wake))),
        info.status === 'RUNNING' && fact('Memory', info.resident ? 'in memory here' : 'suspended'),
        info.bodies?.length > 0 && fact('Bodies', info.bodies.length === 1 ? `runs ${info.bodies[0]}` : `${info.bodies.length} run`),
        info.parent && fact('Invoked by', h('a', { href: app.link({ execution: info.parent }), class: 'mono' }, info.parent)),
        info.restartOf && fact('Began as', h('a', { href: app.link({ execution: info.restartOf }), class: 'mono' }, info.restartOf))),
      info.held && h('div', { class: 'banner held', role: 'status' }, icon('HELD'), h('div', null,
        h('p', null, h('strong', null, 'Held. '), failureText(info.held)),
        h('p', { class: 'faint' }, 'Nothing is lost. It goes on when a build runs that fits what is recorded, or when you resume it.'))),
      info.stalledSince && h('div', { class: 'banner held', role: 'status' }, icon('HELD'), h('p', null, 'Its code has been busy or blocked outside of operations ', when(parse(info.stalledSince)), '.')),
      info.failure && h('div', { class: 'banner failed', role: 'status' }, icon(info.status), h('p', null, failureText(info.failure))))
    if (focused) [...head.querySelectorAll('button, a, summary')].find(b => b.textContent === focused)?.focus()
  }

  const fact = (name, ...value) => h('div', null, h('dt', null, name), h('dd', null, value))

  function buttons(info) {
    if (app.about.readOnly) return null
    const act = (text, action, kind = '') => button({ text, kind, onclick: () => { closeMenus(); action(ctx) } })
    const running = info.status === 'RUNNING'
    const menu = [
      !running && act('Start again with this input…', actions.startAgain),
      !running && act('Delete…', actions.deleteExecution, 'danger-text'),
      running && act('Stop at once…', actions.stop, 'danger-text'),
    ].filter(Boolean)
    return h('div', { class: 'buttons' },
      running && info.held && act('Resume…', actions.resume, 'primary'),
      ['FAILED', 'TIMED_OUT', 'STOPPED'].includes(info.status) && act('Retry…', actions.retry, 'primary'),
      !running && act('Restart…', ctx => actions.restart(ctx, null)),
      running && act('Cancel…', actions.cancel),
      h('details', { class: 'menu' }, h('summary', { 'aria-label': 'More actions', title: 'More actions', class: 'button' }, icon('more')), h('div', null, menu)))
  }

  // drawWaits names what an execution waits for, with what people can do about it.
  let waitsSaid = ''
  function drawWaits() {
    const { info } = ctx.model
    const open = info.status === 'RUNNING' && !info.held ? ctx.model.operations.filter(waitsFor) : []
    const said = JSON.stringify(open)
    if (said === waitsSaid) return
    waitsSaid = said
    waits.hidden = open.length === 0
    const focused = waits.contains(document.activeElement) ? document.activeElement.dataset.op : null
    fill(waits, h('h2', null, 'Waits for'), h('ul', null, open.slice(0, 6).map(op => {
      const wake = parse(op.wakeAt)
      return h('li', null, h('a', { href: app.link({ ...params, view: '', op: op.id }) }, nameOf(op)), h('span', { class: 'faint' }, waitsFor(op)),
        wake !== null && tick(h('time', { class: 'number', title: absolute(wake) }), () => wake > now() ? `${op.type === 'CALLBACK' ? 'times out ' : ''}${relative(wake)}` : 'due now'),
        op.type === 'CALLBACK' && !app.about.readOnly && button({ text: 'Complete…', label: `Complete ${nameOf(op)}`, kind: 'small', 'data-op': op.id, onclick: () => actions.completeCallback(ctx, op) }))
    }), open.length > 6 && h('li', { class: 'quiet' }, `and ${open.length - 6} more`)))
    if (focused) waits.querySelector(`[data-op="${focused}"]`)?.focus()
  }

  function drawViews() {
    if (!ctx.model) return
    drawTabs()
    const view = params.view ?? ''
    if (view === '') flow.update()
    if (view === 'history') table.update()
    if (view === 'tree') tree.update()
    if (selection() !== null) side.show(selection())
  }

  function drawTabs() {
    const counts = { '': ctx.model?.operations.length, history: ctx.model?.last || null }
    const focused = tabs.contains(document.activeElement) ? document.activeElement.dataset.view : null
    fill(tabs, Object.entries(views).map(([view, text]) => h('a', { href: app.link({ ...params, view }), 'data-view': view, 'aria-current': (params.view ?? '') === view ? 'page' : null },
      text, counts[view] ? h('b', null, counts[view].toLocaleString('en')) : null)))
    if (focused !== null) tabs.querySelector(`[data-view="${focused}"]`)?.focus()
  }

  // selection is the ID of the chosen operation, "" for the execution, null for none.
  // A wide page shows the execution's details if nothing else was chosen.
  function selection() {
    if (params.op === undefined) return matchMedia('(min-width: 1000px)').matches ? '' : null
    return params.op === '-' || ctx.model && !ctx.model.nodes.has(params.op) ? '' : params.op
  }

  function choose(op) {
    const to = { ...params, op: op === null ? undefined : op === '' ? '-' : op }
    if (app.link(to) !== app.link(params)) app.go(to, { replace: true })
    if (op === null) flow?.grid.focus()
  }

  // show brings the page up to what the address says.
  function show() {
    if (!ctx.model) return
    const view = params.view ?? ''
    const nodes = { '': [flow.tools, flow.grid], history: [table.node], tree: [tree.node] }[view] ?? []
    if (left.firstChild !== nodes[0]) fill(left, nodes)
    const chosen = selection()
    side.node.hidden = chosen === null || view === 'tree'
    set(body, { class: `body${side.node.hidden ? ' alone' : ''}${params.op !== undefined ? ' chosen' : ''}` })
    drawViews()
    if (view === 'history') table.show()
    if (view === 'tree') tree.show()
    if (view === '' && chosen !== null) flow.choose(chosen, true)
    for (const a of waits.querySelectorAll('a')) a.href = app.link({ ...params, view: '', op: new URLSearchParams(new URL(a.href).search).get('op') })
  }

  function reveal() {
    ctx.revealed = true
    side.show(selection() ?? '', { force: true })
    table.update()
    announce('Payloads are shown on this page')
  }

  function closeMenus() { for (const menu of head.querySelectorAll('details[open]')) menu.open = false }
  const outside = event => { if (!event.target.closest?.('details.menu')) closeMenus() }
  document.addEventListener('click', outside)

  begin()
  setText(head.firstChild, 'Reading…')

  return {
    update(latest) {
      params = latest
      show()
    },
    key(event, typing) {
      if (typing) {
        event.target.blur()
        return true
      }
      if (event.key === 'Escape') {
        if (head.querySelector('details[open]')) closeMenus()
        else if (side?.node.contains(document.activeElement)) flow.grid.focus()
        else if (params.op !== undefined) choose(null)
        else app.go({})
        return true
      }
      const view = Object.keys(views)[Number(event.key) - 1]
      if (view !== undefined) {
        app.go({ ...params, view })
        return true
      }
      if (!ctx.model || event.target.closest?.('a, button, summary, pre') && !['j', 'k'].includes(event.key)) return false
      if (side.node.contains(document.activeElement) && event.key.startsWith('Arrow')) return false // it scrolls
      const current = { '': flow, history: table, tree }[params.view ?? '']
      if (event.key === 'Enter' && current === flow) {
        if (selection() === null || params.op === undefined) choose(selection() ?? '')
        side.node.focus()
        return true
      }
      return current?.key(event) ?? false
    },
    end() {
      ended = true
      aborting.abort()
      refresh.end()
      hush()
      hushNews()
      document.removeEventListener('click', outside)
      for (const part of [flow, table, tree, side]) part?.end()
    },
  }
}
