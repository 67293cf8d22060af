import { ended } from './status.js'
import { parse } from './time.js'

// Model is an execution as the waterfall shows it: operations as a tree, and what of
// their time was work, and what waiting. It is made of the operations; the history
// adds the attempts.
export class Model {
  constructor(info) {
    this.info = info
    this.nodes = new Map() // by operation ID; "" is the execution
    this.attempts = new Map() // by operation ID: what the history told
    this.events = []
    this.heartbeats = new Set() // IDs of callbacks that must give signs of life
    this.invoked = new Map() // by operation ID: the ID of the execution that it invoked
    this.setOperations([])
  }

  get last() { return this.events.at(-1)?.eventId ?? 0 }

  setInfo(info) {
    this.info = info
    this.build()
  }

  setOperations(operations) {
    this.operations = operations
    this.build()
  }

  // addEvents takes over events; those that are known are left out.
  addEvents(events) {
    for (const event of events) {
      if (event.eventId <= this.last) continue
      this.events.push(event)
      if (event.heartbeatTimeout) this.heartbeats.add(event.operationId)
      if (event.invokedId) this.invoked.set(event.operationId, event.invokedId)
      if (!event.type.startsWith('Step')) continue
      let list = this.attempts.get(event.operationId)
      if (!list) this.attempts.set(event.operationId, list = [])
      if (event.type === 'StepStarted') {
        list.push({ number: event.attempt ?? list.length + 1, from: parse(event.time), to: null })
        continue
      }
      let attempt = list.at(-1)
      if (!attempt || attempt.to !== null) list.push(attempt = { number: event.attempt ?? list.length + 1, from: parse(event.time), to: null })
      attempt.to = parse(event.time)
      attempt.failed = event.type === 'StepFailed'
      attempt.failure = event.failure
      attempt.delay = event.nextAttemptDelay ? event.nextAttemptDelay / 1e6 : 0
      attempt.event = event.eventId
    }
  }

  build() {
    const nodes = new Map()
    const root = { id: '', op: null, depth: 0, children: [], from: parse(this.info.startedAt), to: parse(this.info.endedAt) }
    nodes.set('', root)
    for (const op of this.operations) nodes.set(op.id, { id: op.id, op, depth: 0, children: [], from: parse(op.startedAt), to: parse(op.endedAt) })
    for (const node of nodes.values()) {
      if (!node.op) continue
      const parent = nodes.get(node.op.parentId ?? '') ?? root
      parent.children.push(node)
      node.parent = parent
      node.from ??= parent.from ?? root.from
    }
    const deepen = node => {
      for (const child of node.children) {
        child.depth = node.depth + 1
        deepen(child)
      }
    }
    deepen(root)
    this.nodes = nodes
    this.root = root
    this.segment()
  }

  // segment works out the bars of each operation: {from, to, kind}; to is null for
  // what goes on. Kinds: run, failed, running, wait, waiting, context, cut.
  segment() {
    const stop = this.root.to
    const resident = this.info.resident
    this.openSince = null
    const worked = []
    for (const node of this.nodes.values()) {
      const segments = node.op ? this.segmentsOf(node, stop, resident) : []
      node.segments = segments
      for (const s of segments) {
        if (s.kind === 'run' || s.kind === 'failed' || s.kind === 'cut') worked.push([s.from, s.to])
        if (s.kind === 'running') this.openSince = Math.min(this.openSince ?? s.from, s.from)
      }
    }
    this.worked = worked
    this.version = (this.version ?? 0) + 1
  }

  segmentsOf(node, stop, resident) {
    const { op, from } = node
    const to = node.to ?? stop
    const bad = op.status === 'FAILED' || op.status === 'TIMED_OUT'
    const open = !ended(op) && stop === null
    switch (op.type) {
      case 'CONTEXT': return [{ from, to, kind: bad ? 'context bad' : 'context' }]
      case 'STEP': break
      default: return [{ from, to, kind: open ? 'waiting' : bad ? 'wait bad' : 'wait' }]
    }
    const attempts = this.attempts.get(op.id)
    if (!attempts?.length) {
      if (open) return [{ from, to: null, kind: op.status === 'STARTED' && resident ? 'running' : 'waiting' }]
      return [{ from, to, kind: !ended(op) || op.status === 'CANCELLED' ? 'cut' : bad ? 'failed' : 'run' }]
    }
    const segments = []
    attempts.forEach((a, i) => {
      const next = attempts[i + 1]
      const until = a.to ?? next?.from ?? (open ? null : to)
      const kind = a.to !== null ? a.failed ? 'failed' : 'run' : next || !open ? 'cut' : resident ? 'running' : 'waiting'
      segments.push({ from: a.from, to: until, kind, attempt: a.number })
      if (until === null) return
      if (next) segments.push({ from: until, to: next.from, kind: 'wait' })
      else if (!ended(op)) segments.push({ from: until, to: open ? null : to, kind: open ? 'waiting' : 'wait' })
      else if (to > until + 1) segments.push({ from: until, to, kind: bad ? 'wait bad' : 'wait' }) // it timed out, or was cancelled, while it waited
    })
    return segments
  }
}
