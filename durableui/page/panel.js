import { at, get } from './api.js'
import { button, copyButton, fill, h, icon, notice } from './dom.js'
import { failure, hidden, payload, shortened } from './payload.js'
import { badge, ended, nameOf, seenStatus, typeIcon, typeWord, waitsFor } from './status.js'
import { absolute, duration, now, parse, relative, tick, when } from './time.js'
import * as actions from './actions.js'

// panel shows the chosen operation, or the execution: what went in and came out, what
// failed, its attempts, and what can be done about it. ctx is the page's: model, app,
// revealed (payloads were asked for), close(), reveal().
export function panel(ctx) {
  const node = h('aside', { class: 'panel', 'aria-label': 'Details', tabindex: '-1' })
  let shownID = null
  let shownState = ''
  let asked = null
  let open = new Set() // numbers of attempts that are unfolded

  // show shows an operation, again if it has changed meanwhile.
  async function show(id, { force = false } = {}) {
    const item = ctx.model.nodes.get(id)
    if (!item) return
    const state = JSON.stringify([item.op, id === '' || waitsFor(item.op ?? {}) ? ctx.model.info : ctx.model.info.status, ctx.model.attempts.get(id)?.length, ctx.model.heartbeats.has(id), ctx.revealed])
    if (!force && id === shownID && state === shownState) return
    if (id !== shownID) open = new Set()
    const same = id === shownID
    shownID = id
    shownState = state
    asked?.abort()
    asked = new AbortController()
    const { signal } = asked
    const head = item.op ? operationHead(item) : executionHead()
    if (!same) {
      fill(node, head, h('p', { class: 'quiet loading-text' }, 'Reading…'))
      node.scrollTop = 0
    }
    try {
      const body = item.op ? await operationBody(item, signal) : await executionBody(signal)
      if (signal.aborted) return
      const top = node.scrollTop
      fill(node, head, body)
      node.scrollTop = top
    } catch (err) {
      if (signal.aborted) return
      fill(node, head, h('p', { class: 'problem', role: 'alert' }, err.message), button({ text: 'Try again', onclick: () => show(id, { force: true }) }))
    }
  }

  const payloads = () => ctx.revealed ? { payloads: true } : {}
  const concealed = () => ctx.app.about.hidePayloads && !ctx.revealed

  function header(name, word, iconName, id, status, what) {
    return h('header', null,
      h('div', { class: 'panel-title' }, h('span', { class: 'kind' }, icon(iconName)), h('h2', null, name), button({ label: 'Close the details', icon: 'close', kind: 'plain close', onclick: ctx.close })),
      h('p', { class: 'panel-sub' }, badge(status), h('span', null, word), id && h('span', { class: 'mono' }, id), id && copyButton(what, () => id)))
  }

  const fact = (name, value) => value !== null && value !== undefined && value !== false && h('div', null, h('dt', null, name), h('dd', null, value))
  const point = t => t !== null && [absolute(t), ' ', h('span', { class: 'faint' }, when(t))]

  function executionHead() {
    return header(ctx.model.info.function, 'Execution', 'EXECUTION', ctx.model.info.id, seenStatus(ctx.model.info), 'Execution ID')
  }

  async function executionBody(signal) {
    const info = await get(at`executions/${ctx.model.info.id}`, { query: payloads(), signal, exact: true })
    const hide = concealed()
    return [
      info.unreadable && h('p', { class: 'problem' }, 'Its values can’t be read: they are damaged, or their key is missing. The log of the service says more.'),
      info.failure && failure(info.failure),
      hide ? hidden('Input', ctx.reveal) : payload('Input', info.input ?? null),
      info.status === 'SUCCEEDED' ? hide ? hidden('Result', ctx.reveal) : payload('Result', info.result ?? null)
        : info.status === 'RUNNING' && h('section', { class: 'payload' }, h('h3', null, 'Result'), h('p', { class: 'quiet' }, 'It has not ended.')),
    ]
  }

  function operationHead(item) {
    const { op } = item
    const from = parse(op.startedAt)
    const to = parse(op.endedAt)
    const wake = parse(op.wakeAt)
    const invoked = ctx.model.invoked.get(op.id)
    const runs = ctx.model.info.bodies?.includes(op.id)
    const running = ctx.model.info.status === 'RUNNING'
    const wait = running && waitsFor(op)
    return [
      header(nameOf(op), typeWord(op), typeIcon(op), op.id, op.status === 'STARTED' && wait ? 'WAITING' : op.status, 'Operation ID'),
      h('dl', { class: 'facts' },
        fact('Started', point(from)), fact('Ended', point(to)),
        fact('Took', from !== null && to !== null && duration(to - from)),
        wait && fact('Waits for', wait),
        wake !== null && running && fact(op.type === 'WAIT' || op.status === 'PENDING' ? 'Wakes' : 'Times out', [tick(h('strong'), () => wake > now() ? relative(wake) : 'due now'), ' ', h('span', { class: 'faint' }, absolute(wake))]),
        runs && fact('Body', 'runs in this process now'),
        op.attempt > 1 && fact('Attempts', String(op.attempt)),
        invoked && fact('Execution', h('a', { href: ctx.app.link({ execution: invoked }), class: 'mono' }, invoked))),
      actionsOf(item),
    ]
  }

  function actionsOf(item) {
    if (ctx.app.about.readOnly) return null
    const { op } = item
    const { info } = ctx.model
    const list = []
    if (op.type === 'CALLBACK' && !ended(op) && info.status === 'RUNNING') {
      list.push(button({ text: 'Complete…', kind: 'primary', onclick: () => actions.completeCallback(ctx, op) }), button({ text: 'Fail…', onclick: () => actions.failCallback(ctx, op) }))
      if (ctx.model.heartbeats.has(op.id)) list.push(button({ text: 'Heartbeat', title: 'Says that it is still worked on: its heartbeat timeout begins anew', onclick: () => actions.heartbeat(ctx, op) }))
    }
    if (info.status !== 'RUNNING') list.push(button({ text: 'Restart from here…', onclick: () => actions.restart(ctx, op) }))
    return list.length > 0 && h('div', { class: 'buttons' }, list)
  }

  async function operationBody(item, signal) {
    const id = ctx.model.info.id
    const [op, input] = await Promise.all([
      get(at`executions/${id}/operations/${item.id}`, { query: payloads(), signal, exact: true }),
      inputOf(item, signal),
    ])
    const hide = concealed()
    return [
      op.failure && failure(op.failure),
      input !== undefined && (hide ? hidden('Input', ctx.reveal) : payload('Input', input ?? null)),
      op.status === 'SUCCEEDED' && op.type !== 'WAIT' && (hide ? hidden('Result', ctx.reveal) : op.result === undefined
        ? h('section', { class: 'payload' }, h('h3', null, 'Result'), h('p', { class: 'quiet' }, op.type === 'CONTEXT' ? 'Not stored: it is made of the operations inside again.' : 'None.'))
        : payload('Result', op.result)),
      attempts(item),
    ]
  }

  // inputOf is what an invoked execution was given; undefined for all else.
  async function inputOf(item, signal) {
    return item.op.type === 'CHAINED_INVOKE' ? (await events(item, { limit: 1 }, signal))[0]?.input : undefined
  }

  // events are those of an operation, with their payloads.
  async function events(item, query, signal) {
    return (await get(at`executions/${ctx.model.info.id}/history`, { query: { operation: item.id, ...query, ...payloads() }, signal, exact: true })).events ?? []
  }

  function attempts(item) {
    const list = ctx.model.attempts.get(item.id) ?? []
    if (list.length < 2 && !list[0]?.failed) return null
    const shown = list.length > 60 ? [...list.slice(0, 20), null, ...list.slice(-40)] : list
    return h('section', null, h('h3', null, 'Attempts', h('span', { class: 'faint' }, String(list.length))),
      h('ol', { class: 'attempts' }, shown.map(a => {
        if (a === null) return h('li', { class: 'quiet' }, `${list.length - 60} more`)
        const status = a.to === null ? 'RUNNING' : a.failed ? 'FAILED' : 'SUCCEEDED'
        const details = h('div', { class: 'attempt-details' })
        const unfold = async () => {
          open.add(a.number)
          try {
            const [full] = await events(item, { after: a.event - 1, limit: 1 })
            if (full) fill(details, full.failure && failure(full.failure), full.result !== undefined && !concealed() && payload('State', full.result))
          } catch (err) { notice(err.message, 'error') }
        }
        const more = a.to !== null && (a.failed || a.delay > 0)
        const line = [icon(status), h('span', null, `${a.number}`), h('span', { class: 'faint' }, absolute(a.from).slice(11)), h('span', null, a.to === null ? 'runs' : duration(a.to - a.from)),
          a.delay > 0 && h('span', { class: 'faint' }, `then ${duration(a.delay)}`)]
        const text = a.failure && h('span', { class: 'failed' }, shortened(a.failure.message || a.failure.type))
        if (!more) return h('li', { 'data-status': status }, h('div', { class: 'line' }, line), text)
        if (open.has(a.number)) unfold()
        return h('li', { 'data-status': status }, h('details', { open: open.has(a.number), ontoggle: e => e.target.open ? details.childElementCount || unfold() : open.delete(a.number) },
          h('summary', null, h('span', { class: 'line' }, line, icon('caret')), text), details))
      })))
  }

  return { node, show, end: () => asked?.abort() }
}
