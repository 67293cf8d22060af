import { h, icon } from './dom.js'

// Statuses of executions, in the order in which they are shown.
export const statuses = ['RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'STOPPED']

const words = {
  RUNNING: 'Running', WAITING: 'Waiting', HELD: 'Held', SUCCEEDED: 'Succeeded', FAILED: 'Failed', TIMED_OUT: 'Timed out', STOPPED: 'Stopped',
  CANCELLED: 'Cancelled', STARTED: 'Running', PENDING: 'Waiting', READY: 'Ready',
  '': 'Unknown',
}

export const statusWord = status => words[status] ?? status

// seenStatus is the status of an execution as it is shown: RUNNING says little.
export function seenStatus(info) {
  if (info.status !== 'RUNNING') return info.status
  if (info.held) return 'HELD'
  return info.resident && !info.wakeAt ? 'RUNNING' : 'WAITING'
}

// badge shows a status by shape, word and colour.
export function badge(status, kind = '') {
  return h('span', { class: `badge ${kind}`, 'data-status': status }, icon(status), h('span', null, statusWord(status)))
}

// ended tells whether an operation has an outcome.
export const ended = op => !['STARTED', 'PENDING', 'READY'].includes(op.status)

const types = {
  STEP: 'Step', WAIT: 'Wait', CALLBACK: 'Callback', CHAINED_INVOKE: 'Invoke', CONTEXT: 'Context',
  RunInChildContext: 'Child context', WaitForCallback: 'Wait for callback', WaitForCondition: 'Wait for condition',
  Map: 'Map', MapIteration: 'Map item', Parallel: 'Parallel', ParallelBranch: 'Branch', ChainedInvoke: 'Invoke', UUID: 'New UUID',
}

// typeWord names what an operation is.
export const typeWord = op => types[op.subType] ?? (op.subType || types[op.type] || op.type)

// typeIcon is the name of an operation's icon.
export function typeIcon(op) {
  if (op.subType === 'WaitForCondition') return op.subType
  if (op.subType?.startsWith('Map')) return 'Map'
  if (op.subType?.startsWith('Parallel')) return 'Parallel'
  return op.type
}

// nameOf is an operation's name, or what stands for it.
export function nameOf(op) {
  if (op.name) return op.name
  const position = op.id.slice(op.id.lastIndexOf('-') + 1)
  return op.subType === 'MapIteration' ? `item ${position}` : typeWord(op).toLowerCase()
}

// waitsFor says in words what an operation without an outcome waits for; "" if
// nothing but its own body.
export function waitsFor(op) {
  if (ended(op)) return ''
  switch (op.type) {
    case 'WAIT': return 'timer'
    case 'CALLBACK': return 'callback'
    case 'CHAINED_INVOKE': return 'invoked execution'
    case 'STEP': return op.status === 'STARTED' ? '' : op.subType === 'WaitForCondition' ? 'next check' : 'next attempt'
  }
  return ''
}
