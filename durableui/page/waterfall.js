import { button, fill, h, icon, set, setText } from './dom.js'
import { nameOf, seenStatus, statusWord, typeIcon, typeWord, waitsFor } from './status.js'
import { busy, makeScale, ticks } from './scale.js'
import { absolute, duration, now, parse } from './time.js'
import { virtualRows } from './virtual.js'

const rowHeight = 30
const foldedBeyond = 600 // operations: then the items of maps and branches begin folded

// waterfall shows a model. chosen(id) is called when an operation is chosen; "" is the
// execution.
export function waterfall(model, chosen) {
  const collapsed = new Set()
  let seenOperations = 0
  let visible = []
  let index = new Map()
  let selected = ''
  let view = [0, 1] // what of the scale is in sight
  let fold = null
  let scale = null
  let merged = [] // the model's work, of one version
  let version = 0
  let width = 0

  const axis = h('div', { class: 'axis', 'aria-hidden': 'true' })
  const head = h('div', { class: 'w-row w-head', role: 'row' },
    h('span', { role: 'columnheader', class: 'w-name' }, 'Operation'), h('span', { role: 'columnheader', class: 'w-took' }, 'Took'),
    h('span', { role: 'columnheader', class: 'w-lane' }, h('span', { class: 'visually-hidden' }, 'Time'), axis))
  const grid = h('div', { class: 'waterfall', role: 'treegrid', tabindex: '0', id: 'waterfall', 'aria-label': 'Operations', 'aria-colcount': '3' }, head)
  const rows = virtualRows(grid, rowHeight, { key: i => visible[i].id, make: newRow, show: (node, i) => showRow(node, visible[i], i) })
  grid.append(rows.inner)

  const zoomOut = button({ label: 'Zoom out (−)', icon: 'minus', kind: 'plain small', onclick: () => zoom(2) })
  const zoomIn = button({ label: 'Zoom in (+)', icon: 'plus', kind: 'plain small', onclick: () => zoom(0.5) })
  const fit = button({ label: 'Show all of the time (0)', icon: 'fit', kind: 'plain small', onclick: () => setView(0, 1) })
  const folding = h('input', { type: 'checkbox', onchange: () => { fold = folding.checked; setView(0, 1) } })
  const foldLabel = h('label', { class: 'check' }, folding, 'Fold waits')
  const all = button({ text: 'Collapse all', kind: 'link', onclick: () => collapseAll() })
  const legend = h('span', { class: 'legend', 'aria-hidden': 'true' }, [['run', 'ran'], ['failed', 'failed'], ['wait', 'waited']].map(([kind, text]) => [h('i', { class: `bar ${kind}` }), text]))
  const tools = h('div', { class: 'tools' }, all, h('span', { class: 'grow' }), legend, foldLabel, h('span', { class: 'group' }, zoomOut, fit, zoomIn))

  // build makes the list of rows: the tree without what is inside of collapsed ones.
  function build() {
    const nodes = model.nodes
    if (nodes.size !== seenOperations) {
      if (seenOperations <= 1 && nodes.size > foldedBeyond) {
        for (const node of nodes.values()) if (node.depth > 1 && node.children.length) collapsed.add(node.id)
      }
      seenOperations = nodes.size
    }
    visible = []
    const add = node => {
      visible.push(node)
      if (!collapsed.has(node.id)) for (const child of node.children) add(child)
    }
    add(model.root)
    index = new Map(visible.map((node, i) => [node.id, i]))
    set(grid, { 'aria-rowcount': String(visible.length + 1) })
    setText(all.firstChild, collapsed.size ? 'Expand all' : 'Collapse all')
    rows.set(visible.length)
  }

  // measure brings the scale up to now.
  function measure() {
    const end = model.root.to ?? Math.max(now(), model.root.from + 1)
    if (version !== model.version) {
      merged = busy(model.worked)
      version = model.version
    }
    const worked = model.openSince !== null && model.root.to === null ? busy([...merged, [model.openSince, end]]) : merged
    scale = makeScale(model.root.from, end, worked, fold)
    foldLabel.hidden = !scale.canFold
    folding.checked = scale.folds
    width = axis.clientWidth
    drawAxis()
  }

  const x = t => (scale.place(t) - view[0]) / (view[1] - view[0]) * width

  function drawAxis() {
    const marks = []
    const from = scale.time(view[0])
    const to = scale.time(view[1])
    const inSight = scale.breaks.filter(b => b.u1 > view[0] && b.u0 < view[1])
    // Round times in each stretch that is not folded and wide enough for them.
    let at = from
    for (const stretch of [...inSight, { from: to, to }]) {
      const room = x(stretch.from) - x(at)
      if (room > 50) {
        for (const t of ticks(at - scale.start, stretch.from - scale.start, room / 90)) {
          const place = x(scale.start + t)
          if (place < x(at) - 1 || place > width - 30) continue
          if (marks.length && place - marks.at(-1).place < 64) continue
          marks.push({ place, node: tickMark(place, t === 0 ? '0' : duration(t)) })
        }
      }
      at = stretch.to
    }
    for (const b of inSight) marks.push({ place: x(b.from), node: foldMark(b) })
    fill(axis, marks.map(m => m.node))
  }

  function tickMark(place, text) {
    const node = h('span', { class: 'tick' }, text)
    node.style.left = `${place}px`
    return node
  }

  function foldMark(b) {
    const left = Math.max(0, x(b.from))
    const right = Math.min(width, x(b.to))
    const node = h('span', { class: 'fold', title: `${duration(b.to - b.from)} in which nothing ran` }, right - left > 54 ? duration(b.to - b.from) : right - left > 10 ? '⋯' : '')
    node.style.left = `${left}px`
    node.style.width = `${right - left}px`
    return node
  }

  function newRow() {
    const row = h('div', { class: 'w-row', role: 'row', onclick: () => { choose(row.shown.id); grid.focus({ preventScroll: true }) } })
    const caret = h('button', { type: 'button', class: 'caret', tabindex: '-1', onclick: event => { event.stopPropagation(); toggle(row.shown.id) } }, icon('caret'))
    const p = { caret, kind: h('span', { class: 'kind' }), name: h('span', { class: 'text' }), times: h('span', { class: 'times' }), status: h('span', { class: 'visually-hidden' }), id: h('span', { class: 'op-id' }) }
    p.nameCell = h('span', { role: 'gridcell', class: 'w-name' }, caret, p.kind, p.name, p.times, p.status, p.id)
    p.took = h('span', { role: 'gridcell', class: 'w-took' })
    p.lane = h('span', { role: 'gridcell', class: 'w-lane' })
    row.append(p.nameCell, p.took, p.lane)
    row.parts = p
    return row
  }

  function showRow(row, node, i) {
    const p = row.parts
    row.shown = node
    const drawing = node.op ? typeIcon(node.op) : 'EXECUTION'
    if (p.drawing !== drawing) fill(p.kind, icon(p.drawing = drawing))
    setText(p.id, node.id)
    const expandable = node.children.length > 0
    set(row, {
      id: rowID(node.id), 'aria-level': String(node.depth + 1), 'aria-rowindex': String(i + 2), 'aria-selected': String(node.id === selected),
      'aria-expanded': expandable ? String(!collapsed.has(node.id)) : null,
    })
    const status = node.op ? node.op.status : seenStatus(model.info)
    row.dataset.status = status
    p.nameCell.style.paddingInlineStart = `${4 + Math.min(node.depth, 12) * 14}px`
    p.caret.classList.toggle('none', !expandable)
    set(p.caret, { 'aria-label': expandable ? `${collapsed.has(node.id) ? 'Expand' : 'Collapse'} ${node.op ? nameOf(node.op) : 'execution'}` : null, 'aria-hidden': expandable ? null : 'true' })
    setText(p.name, node.op ? nameOf(node.op) : model.info.function)
    setText(p.times, node.op?.attempt > 1 ? `×${node.op.attempt}` : '')
    setText(p.status, `, ${node.op ? typeWord(node.op) : 'execution'}, ${statusWord(status)}`)
    setText(p.took, took(node))
    drawLane(p, node)
  }

  function took(node) {
    const end = node.to ?? model.root.to
    if (end !== null && node.to !== null) return duration(end - node.from)
    if (model.root.to !== null) return '–'
    const wake = node.op && parse(node.op.wakeAt)
    if (wake && waitsFor(node.op)) return wake > now() ? `in ${duration(Math.ceil((wake - now()) / 1000) * 1000)}` : 'due'
    const ms = now() - node.from
    return duration(ms < 1000 ? Math.max(0, Math.floor(ms / 100) * 100) : Math.floor(ms / 1000) * 1000)
  }

  // drawLane draws the bars of a row. What would be less than a pixel apart is one bar.
  function drawLane(p, node) {
    const end = model.root.to ?? scale.end
    const segments = node.op ? node.segments : [{ from: model.root.from, to: model.root.to, kind: model.info.status === 'RUNNING' ? 'whole' : `whole ${model.info.status}` }]
    const bars = []
    for (const s of segments) {
      const from = x(s.from)
      const to = x(Math.min(s.to ?? end, end))
      if (to < -2 || from > width + 2) continue
      const left = Math.max(from, -2)
      const right = Math.min(Math.max(to, from + 2), width + 2)
      const last = bars.at(-1)
      if (last && last.kind === s.kind && left - last.right < 1) {
        last.right = Math.max(last.right, right)
        continue
      }
      if (last && last.right > left && right <= last.right + 0.5 && s.kind !== 'failed') continue // hidden below its neighbour
      bars.push({ left, right, kind: s.kind, s })
    }
    const drawn = bars.map(b => `${b.kind} ${b.left.toFixed(1)} ${b.right.toFixed(1)}`).join()
    if (p.drawn === drawn) return
    p.drawn = drawn
    while (p.lane.childElementCount > bars.length) p.lane.lastElementChild.remove()
    bars.forEach((b, i) => {
      const bar = p.lane.children[i] ?? p.lane.appendChild(h('i'))
      bar.className = `bar ${b.kind}`
      bar.style.left = `${b.left.toFixed(1)}px`
      bar.style.width = `${Math.max(2, b.right - b.left).toFixed(1)}px`
      bar.title = titleOf(b.s)
    })
    set(p.lane, { 'aria-label': segments.length > 1 ? `${segments.filter(s => s.attempt).length} attempts` : null })
  }

  function titleOf(s) {
    const word = { run: 'ran', failed: 'failed', running: 'runs', wait: 'waited', waiting: 'waits', 'wait bad': 'waited in vain', cut: 'was cut off' }[s.kind]
    const length = duration((s.to ?? now()) - s.from)
    return `${s.attempt ? `Attempt ${s.attempt} ` : ''}${word ?? ''} ${length}, from ${absolute(s.from)}`.trim()
  }

  function choose(id, quiet) {
    if (!index.has(id)) {
      for (let node = model.nodes.get(id)?.parent; node; node = node.parent) collapsed.delete(node.id)
      build()
    }
    if (!index.has(id)) return
    selected = id
    set(grid, { 'aria-activedescendant': rowID(id) })
    rows.reveal(index.get(id))
    rows.draw()
    if (!quiet) chosen(id)
  }

  function toggle(id, to) {
    const close = to ?? !collapsed.has(id)
    if (close) collapsed.add(id)
    else collapsed.delete(id)
    build()
    if (!index.has(selected)) choose(id)
  }

  function collapseAll() {
    const any = collapsed.size > 0
    collapsed.clear()
    if (!any) for (const node of model.nodes.values()) if (node.depth > 0 && node.children.length) collapsed.add(node.id)
    build()
    if (!index.has(selected)) choose('')
  }

  function setView(from, to) {
    const size = Math.min(1, Math.max(to - from, 1e-7))
    const left = Math.min(Math.max(0, from), 1 - size)
    view = [left, left + size]
    if (scale) refresh()
  }

  // zoom scales what is in sight around a place of the lane, by default its middle.
  function zoom(by, around = 0.5) {
    const size = view[1] - view[0]
    const at = view[0] + size * around
    setView(at - size * by * around, at + size * by * (1 - around))
  }

  // zoomTo shows the time of an operation and a little around it.
  function zoomTo(id) {
    const node = model.nodes.get(id)
    if (!node || !scale) return
    const from = scale.place(node.from)
    const to = scale.place(node.to ?? scale.end)
    const margin = Math.max((to - from) * 0.1, 1e-6)
    setView(from - margin, to + margin)
  }

  grid.addEventListener('wheel', event => {
    const box = axis.getBoundingClientRect()
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault()
      zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)))
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      if (view[1] - view[0] >= 1) return
      event.preventDefault()
      const by = (event.deltaX || event.deltaY) / box.width * (view[1] - view[0])
      setView(view[0] + by, view[1] + by)
    }
  }, { passive: false })

  // The axis is dragged to look elsewhere, or over a stretch to look closer.
  axis.addEventListener('pointerdown', event => {
    if (event.button !== 0) return
    const box = axis.getBoundingClientRect()
    const [from, to] = view
    const start = event.clientX
    axis.setPointerCapture(event.pointerId)
    const drag = e => {
      const by = (start - e.clientX) / box.width * (to - from)
      setView(from + by, to + by)
    }
    axis.addEventListener('pointermove', drag)
    axis.addEventListener('pointerup', () => axis.removeEventListener('pointermove', drag), { once: true })
  })
  axis.addEventListener('dblclick', () => setView(0, 1))

  function refresh() {
    if (!grid.isConnected) return
    measure()
    rows.draw()
  }

  const resized = new ResizeObserver(refresh)
  resized.observe(axis)
  const timer = setInterval(() => { if (model.root.to === null && !document.hidden) refresh() }, 250)

  return {
    grid, tools, zoomTo,
    // update shows the model as it is now.
    update() {
      build()
      refresh()
    },
    choose,
    key(event) {
      const i = index.get(selected) ?? 0
      const node = visible[i]
      switch (event.key) {
        case 'j': case 'ArrowDown': choose(visible[Math.min(visible.length - 1, i + 1)].id); return true
        case 'k': case 'ArrowUp': choose(visible[Math.max(0, i - 1)].id); return true
        case 'PageDown': choose(visible[Math.min(visible.length - 1, i + Math.floor(grid.clientHeight / rowHeight) - 2)].id); return true
        case 'PageUp': choose(visible[Math.max(0, i - Math.floor(grid.clientHeight / rowHeight) + 2)].id); return true
        case 'Home': choose(visible[0].id); return true
        case 'End': choose(visible.at(-1).id); return true
        case 'h': case 'ArrowLeft':
          if (node.children.length && !collapsed.has(node.id)) toggle(node.id, true)
          else if (node.parent) choose(node.parent.id)
          return true
        case 'l': case 'ArrowRight':
          if (!node.children.length) return true
          if (collapsed.has(node.id)) toggle(node.id, false)
          else choose(node.children[0].id)
          return true
        case '+': case '=': zoom(0.5); return true
        case '-': zoom(2); return true
        case '0': setView(0, 1); return true
        case 'z': zoomTo(selected); return true
      }
      return false
    },
    end() {
      clearInterval(timer)
      resized.disconnect()
      rows.end()
    },
  }
}

const rowID = id => `op-${id || 'execution'}`

