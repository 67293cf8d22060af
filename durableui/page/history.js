import { address, at, get } from './api.js'
import { button, fill, h, notice, set } from './dom.js'
import { failure, failureText, payload } from './payload.js'
import { absolute, duration, parse } from './time.js'
import { virtualRows } from './virtual.js'

const rowHeight = 28

// What the compact form leaves out: starts whose end follows, and comings and goings.
const minor = new Set(['InvocationCompleted', 'ContextStarted', 'StepStarted', 'WaitStarted'])

// historyTable shows the events of a model. chosen(id) is called for an operation.
export function historyTable(ctx, chosen) {
  const { model } = ctx
  let full = false
  try { full = localStorage.getItem('durable.history') === 'full' } catch { /* storage may be switched off */ }
  let events = []
  let at0 = 0

  const compactButton = button({ text: 'Compact', onclick: () => setFull(false) })
  const fullButton = button({ text: 'Full', onclick: () => setFull(true) })
  const save = button({ text: 'Download JSON', icon: 'download', onclick: download })
  const recording = h('a', { class: 'button', download: true }, 'Export recording')
  const tools = h('div', { class: 'tools' }, h('span', { class: 'segmented', role: 'group', 'aria-label': 'Form' }, compactButton, fullButton), h('span', { class: 'grow' }), recording, save)
  const columns = ['#', 'Time', 'Event', 'Operation', 'Details']
  const head = h('div', { class: 'h-row w-head', role: 'row' }, columns.map(c => h('span', { role: 'columnheader' }, c)))
  const grid = h('div', { class: 'history', role: 'table', tabindex: '0', 'aria-label': 'History', 'aria-colcount': String(columns.length) }, head)
  const rows = virtualRows(grid, rowHeight, { key: i => events[i].eventId, make: () => h('div', { class: 'h-row', role: 'row', onclick: event => open(event.currentTarget.shown) }), show: showRow })
  grid.append(rows.inner)

  function showRow(row, i) {
    const e = events[i]
    set(row, { 'aria-rowindex': String(i + 2) })
    if (row.shown === e && row.full === full) return
    row.shown = e
    row.full = full
    const t = parse(e.time)
    const said = details(e)
    fill(row,
      h('span', { role: 'cell', class: 'number' }, h('button', { type: 'button', class: 'link faint', 'aria-label': `Event ${e.eventId}`, 'aria-haspopup': 'dialog', onclick: event => { event.stopPropagation(); open(e) } }, String(e.eventId))),
      h('span', { role: 'cell', class: 'number', title: absolute(t) }, full ? absolute(t).slice(5) : `+${duration(Math.max(0, t - at0))}`),
      h('span', { role: 'cell', class: e.failure ? 'failed' : '' }, e.type),
      h('span', { role: 'cell' }, e.operationId ? h('button', { type: 'button', class: 'link', onclick: event => { event.stopPropagation(); chosen(e.operationId) } }, e.name || e.subType, h('span', { class: 'op-id' }, e.operationId)) : ''),
      h('span', { role: 'cell', class: 'faint', title: said }, said))
  }

  function details(e) {
    return [
      full && e.subType && !e.type.startsWith(e.subType) && e.subType,
      e.attempt && (full || e.attempt > 1) && `attempt ${e.attempt}`,
      e.failure && failureText(e.failure),
      e.duration && `for ${duration(e.duration / 1e6)}`,
      e.nextAttemptDelay && `again in ${duration(e.nextAttemptDelay / 1e6)}`,
      e.timeout && `timeout ${duration(e.timeout / 1e6)}`,
      e.heartbeatTimeout && `heartbeat ${duration(e.heartbeatTimeout / 1e6)}`,
      e.function && e.function !== e.name && e.function,
      e.invokedId,
    ].filter(Boolean).join(' · ')
  }

  // open shows one event with its payloads in a dialog.
  async function open(e) {
    let whole
    try {
      whole = (await get(at`executions/${model.info.id}/history`, { query: { after: e.eventId - 1, limit: 1, payloads: ctx.revealed ? true : null }, exact: true })).events?.[0] ?? e
    } catch (err) {
      notice(err.message, 'error')
      return
    }
    const { input, result, failure: failed, ...rest } = whole
    const dialog = h('dialog', { class: 'wide', 'aria-label': `Event ${e.eventId}`, onclose: () => dialog.remove() },
      h('header', null, h('h2', null, `${e.type} `, h('span', { class: 'faint' }, `#${e.eventId}`)), button({ label: 'Close', icon: 'close', kind: 'plain', onclick: () => dialog.close() })),
      h('div', { class: 'dialog-body' }, failed && failure(failed), input !== undefined && payload('Input', input), result !== undefined && payload('Result', result), payload('Event', rest)))
    document.body.append(dialog)
    dialog.showModal()
  }

  async function download() {
    const events = []
    try {
      for (let after = 0; after !== undefined;) {
        const page = await get(at`executions/${model.info.id}/history`, { query: { after, limit: 5000, payloads: ctx.revealed ? true : null }, exact: true })
        events.push(...page.events)
        after = page.next
      }
    } catch (err) {
      notice(err.message, 'error')
      return
    }
    const url = URL.createObjectURL(new Blob([JSON.stringify({ execution: model.info.id, events }, null, 2)], { type: 'application/json' }))
    const a = h('a', { href: url, download: `${model.info.id}.history.json` })
    a.click()
    setTimeout(() => URL.revokeObjectURL(url), 1000)
  }

  function setFull(to) {
    full = to
    try { localStorage.setItem('durable.history', full ? 'full' : 'compact') } catch { /* storage may be switched off */ }
    update()
  }

  function update() {
    at0 = parse(model.info.startedAt)
    events = full ? model.events : model.events.filter(e => !minor.has(e.type))
    set(compactButton, { 'aria-pressed': String(!full) })
    set(fullButton, { 'aria-pressed': String(full) })
    set(grid, { 'aria-rowcount': String(events.length + 1) })
    recording.hidden = ctx.app.about.hidePayloads && !ctx.revealed
    recording.href = address(at`executions/${model.info.id}/recording`, { payloads: ctx.app.about.hidePayloads ? true : null })
    recording.download = `${model.info.id}.recording.json`
    rows.set(events.length)
  }

  return {
    node: h('div', { class: 'view' }, tools, grid),
    update,
    show() { rows.draw() },
    key(event) {
      const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 15, PageUp: -15 }[event.key]
      if (!by) return false
      grid.scrollTop += by * rowHeight
      return true
    },
    end: () => rows.end(),
  }
}
