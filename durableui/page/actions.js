import { at, get, post, remove } from './api.js'
import { announce, button, h, notice, set } from './dom.js'
import { nameOf } from './status.js'

let count = 0

// field is a labelled control of a dialog. check(value) returns what is wrong with it.
function field(label, control, { hint, check } = {}) {
  const id = `field-${++count}`
  const problem = h('span', { class: 'field-problem', id: `${id}-problem` })
  control.id = id
  set(control, { 'aria-describedby': `${id}-problem${hint ? ` ${id}-hint` : ''}` })
  const validate = () => {
    const wrong = check?.(control.value) ?? ''
    problem.textContent = wrong
    set(control, { 'aria-invalid': wrong ? 'true' : null })
    return !wrong
  }
  control.addEventListener('input', validate)
  return { control, validate, node: h('div', { class: 'field' }, h('label', { for: id }, label), control, problem, hint && h('span', { class: 'hint', id: `${id}-hint` }, hint)) }
}

// choice is a box to tick; its value is whether it is.
function choice(label, hint, ...above) {
  const id = `field-${++count}`
  const control = h('input', { type: 'checkbox', id, 'aria-describedby': `${id}-hint` })
  return { control, value: () => control.checked, validate: () => true,
    node: h('div', { class: 'field' }, above, h('label', { class: 'choice', for: id }, control, label), h('span', { class: 'hint', id: `${id}-hint` }, hint)) }
}

// ask opens a dialog that says what will happen, and does it when confirmed. An error
// is shown in it, and what was typed stays.
function ask({ title, text, fields = [], confirm, danger = false, act }) {
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true })
  const go = button({ text: confirm, kind: danger ? 'danger' : 'primary', type: 'submit' })
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => dialog.remove() },
    h('form', {
      novalidate: true,
      onsubmit: async event => {
        event.preventDefault()
        const wrong = fields.filter(f => !f.validate())
        if (wrong.length) {
          wrong[0].control.focus()
          return
        }
        go.disabled = true
        problem.hidden = true
        try {
          const done = await act(...fields.map(f => f.value ? f.value() : f.control.value))
          dialog.close()
          if (done) notice(done, 'done')
        } catch (err) {
          problem.textContent = err.message
          problem.hidden = false
          go.disabled = false
        }
      },
    }, h('header', null, h('h2', { id: 'dialog-title' }, title)),
    h('div', { class: 'dialog-body' }, [text].flat().filter(Boolean).map(t => h('p', null, t)), fields.map(f => f.node), problem),
    h('footer', null, button({ text: 'Close', onclick: () => dialog.close() }), go)))
  document.body.append(dialog)
  dialog.showModal()
  ;(fields[0]?.control ?? go).focus()
}

const validJSON = text => {
  try {
    JSON.parse(text.trim() || 'null')
    return ''
  } catch (err) {
    return `Not JSON: ${err.message}`
  }
}
const validID = text => /^[A-Za-z0-9._:-]{0,128}$/.test(text) ? '' : 'At most 128 of A–Z a–z 0–9 . _ : -'
const validTimeout = text => !text || /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text) ? '' : 'A duration like 90s or 1h30m'

const json = (value, rows = 8) => {
  const area = h('textarea', { rows: String(rows), class: 'mono', spellcheck: 'false', autocomplete: 'off' })
  area.value = value
  return area
}
const line = attributes => h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', ...attributes })
const reason = () => field('Reason', line({ placeholder: 'optional; kept with the execution' }))
const newID = () => field('ID', line({ placeholder: 'given by the engine if empty', class: 'mono' }), { check: validID })
const newKeys = () => choice('New idempotency keys', 'For what was undone and is to be done once more. Otherwise what runs again has the keys that it had, and receivers that heed them do nothing twice.')
const optional = text => text.trim() || undefined

// started leads to a new execution.
function started(app, answer, said) {
  app.go({ execution: answer.id })
  announce(said)
  return `${said}: ${answer.id}`
}

export async function startDialog(app, { name, input } = {}) {
  let functions
  try {
    functions = await app.knownFunctions()
  } catch (err) {
    notice(err.message, 'error')
    return
  }
  if (document.querySelector('dialog[open]')) return
  if (!functions.length) {
    ask({ title: 'Start an execution', text: ['This engine knows no function yet. List them in Options.Functions of durable.Open.', importInstead(app)], confirm: 'Understood', act: async () => '' })
    return
  }
  const area = json('')
  const sample = () => {
    const f = functions.find(f => f.name === select.value)
    area.value = JSON.stringify(f?.sample ?? null, null, 2)
  }
  const select = h('select', { onchange: () => { sample(); input_.validate() } }, functions.map(f => h('option', { value: f.name }, f.name)))
  if (name) select.value = name
  const input_ = field('Input (JSON)', area, { check: validJSON, hint: 'The sample is what the function takes, with nothing filled in.' })
  if (input === undefined) sample()
  else area.value = input
  const id = newID()
  const timeout = field('Timeout', line({ placeholder: 'none, or that of the function; 90s, 1h30m' }), { check: validTimeout })
  ask({
    title: 'Start an execution', text: name ? '' : importInstead(app), fields: [field('Function', select), input_, id, timeout], confirm: 'Start',
    act: async (fn, text, id, timeout) => started(app, await post('executions', undefined, {
      // The input stays as it was typed: digits too.
      text: `{"function":${JSON.stringify(fn)},"input":${text.trim() || 'null'}${id ? `,"id":${JSON.stringify(id)}` : ''}${timeout ? `,"timeout":${JSON.stringify(timeout)}` : ''}}`,
    }), 'Started'),
  })
}

const importInstead = app => h('span', { class: 'quiet' }, 'Was it exported elsewhere? ', button({
  text: 'Import a recording…', kind: 'link', onclick: event => { event.target.closest('dialog').close(); importDialog(app) },
}))

// importDialog takes what "Export recording" of a history saves.
function importDialog(app) {
  const file = h('input', { type: 'file', accept: '.json,application/json' })
  ask({
    title: 'Import a recording', confirm: 'Import',
    text: 'One that had ended stays as it ended. One that had not goes on here where the recording ends: see that it does not still run where it was recorded.',
    fields: [field('Recording', file, { check: () => file.files.length ? '' : 'Choose a file' }), newID(), newKeys()],
    act: async (_, id, keys) => started(app, await post('import', undefined, { text: await file.files[0].text(), query: { id: optional(id), newIdempotencyKeys: keys || undefined } }), 'Imported'),
  })
}

export function cancel(ctx) {
  const { id } = ctx.model.info
  ask({
    title: 'Cancel this execution?', fields: [reason()], confirm: 'Cancel the execution', danger: true,
    text: 'Its code learns of it: what waits ends with an error, and it may undo what it did before it ends.',
    act: async reason => { await post(at`executions/${id}/cancel`, { reason: optional(reason) }); ctx.refresh(); return 'The cancel was requested' },
  })
}

export function stop(ctx) {
  const { id } = ctx.model.info
  ask({
    title: 'Stop this execution?', fields: [reason()], confirm: 'Stop at once', danger: true,
    text: 'It ends at once. Nothing more of it begins or is recorded, and its code can undo nothing. Cancel lets it do so.',
    act: async reason => { await post(at`executions/${id}/stop`, { reason: optional(reason) }); ctx.refresh(); return 'Stopped' },
  })
}

export function resume(ctx) {
  const { id } = ctx.model.info
  ask({
    title: 'Resume this execution?', confirm: 'Resume',
    text: 'Its code is run again from what is recorded. If what held it is still so, it is held again, and nothing is lost.',
    act: async () => { await post(at`executions/${id}/resume`); ctx.refresh(); return 'Resumed' },
  })
}

// retry asks for a retry. One that would forget something is refused at first: the dialog
// shows what that is, and then has a box to allow it.
export function retry(ctx) {
  const { id } = ctx.model.info
  const forgotten = h('ul', { class: 'forgotten' })
  const drop = choice('Forget this', 'The new execution knows nothing of it.', forgotten)
  const instead = h('a', { class: 'mono', onclick: () => instead.closest('dialog').close() })
  const caller = h('p', { hidden: true }, 'The execution to retry: ', instead)
  drop.node.hidden = true
  ask({
    title: 'Retry this execution?', fields: [newID(), newKeys(), drop], confirm: 'Retry',
    text: ['A new execution begins with what succeeded here. What failed or did not end runs again. This one stays as it is.', caller],
    act: async (newID, keys, allowDrop) => {
      try {
        return started(ctx.app, await post(at`executions/${id}/retry`, { id: optional(newID), newIdempotencyKeys: keys, allowDrop }), 'Retried')
      } catch (err) {
        if (err.code === 'would_drop') {
          forgotten.replaceChildren(...err.body.dropped.map(o => h('li', null, droppedText(o, id))))
          drop.node.hidden = false
          throw new Error('This came after the failure, and would be forgotten. If it undid what others did, restart from the first operation that was undone instead, with new idempotency keys.', { cause: err })
        }
        if (err.code === 'invoked') {
          set(instead, { href: ctx.app.link({ execution: err.body.retry }) })
          instead.replaceChildren(err.body.retry)
          caller.hidden = false
          throw new Error('This one was invoked, and nobody would take the result of another one. A retry of its caller keeps what this one has finished.', { cause: err })
        }
        throw err
      }
    },
  })
}

// droppedText says what a retry of an execution would forget.
function droppedText(o, id) {
  const what = `${o.name ? `“${o.name}”` : o.type} (${o.operationId}${o.executionId === id ? '' : ` of ${o.executionId}`})`
  return o.invokedId ? `${what}: all of the execution that it started, which was deleted, is done again` : `${what}: ${o.status}`
}

// restart asks for a restart from an operation; without one, from the beginning.
export function restart(ctx, op) {
  const { id } = ctx.model.info
  ask({
    title: op ? `Restart from “${nameOf(op)}” (${op.id})?` : 'Restart from the beginning?', fields: [newID(), newKeys()], confirm: 'Restart',
    text: op
      ? 'A new execution of the same function and input begins with the outcomes recorded before this operation, and runs from here on again. This one stays as it is.'
      : 'A new execution of the same function and input runs all of it again. This one stays as it is.',
    act: async (newID, keys) => started(ctx.app, await post(at`executions/${id}/restart`, { operation: op?.id ?? '', id: optional(newID), newIdempotencyKeys: keys }), 'Restarted'),
  })
}

export function completeCallback(ctx, op) {
  const { id } = ctx.model.info
  ask({
    title: `Complete “${nameOf(op)}”?`, fields: [field('Payload (JSON)', json('null', 6), { check: validJSON, hint: 'What the code that waits gets as the callback’s result.' })], confirm: 'Complete',
    text: 'A callback takes one outcome. It can’t be changed afterwards.',
    act: async payload => { await post(at`executions/${id}/callbacks/${op.id}/succeed`, undefined, { text: payload.trim() || 'null' }); ctx.refresh(); return 'Completed' },
  })
}

export function failCallback(ctx, op) {
  const { id } = ctx.model.info
  ask({
    title: `Fail “${nameOf(op)}”?`, confirm: 'Fail', danger: true,
    text: 'A callback takes one outcome. It can’t be changed afterwards.',
    fields: [field('Type', line({ placeholder: 'CallbackFailed' })), field('Message', line({})), field('Data (JSON)', json('', 4), { check: text => text.trim() ? validJSON(text) : '', hint: 'Optional: what the code may read from the failure.' })],
    act: async (type, message, data) => {
      const head = JSON.stringify({ type: optional(type), message })
      await post(at`executions/${id}/callbacks/${op.id}/fail`, undefined, { text: data.trim() ? `${head.slice(0, -1)},"data":${data}}` : head })
      ctx.refresh()
      return 'Failed the callback'
    },
  })
}

// heartbeat needs no question: it changes nothing but when the callback times out.
export async function heartbeat(ctx, op) {
  try {
    await post(at`executions/${ctx.model.info.id}/callbacks/${op.id}/heartbeat`)
    ctx.refresh()
    notice('The heartbeat was taken', 'done')
  } catch (err) { notice(err.message, 'error') }
}

export function deleteExecution(ctx) {
  const { id } = ctx.model.info
  ask({
    title: 'Delete this execution?', confirm: 'Delete', danger: true,
    text: `${id} and all that is recorded of it are removed. This can’t be undone. Afterwards the ID can be used again.`,
    act: async () => { await remove(at`executions/${id}`); ctx.app.go({}); return `Deleted ${id}` },
  })
}

// startAgain opens the start dialog with the function and input of an execution.
export async function startAgain(ctx) {
  const { info } = ctx.model
  let input = null
  try {
    input = (await get(at`executions/${info.id}`, { query: { payloads: true }, exact: true })).input ?? null
  } catch (err) {
    notice(err.message, 'error')
    return
  }
  startDialog(ctx.app, { name: info.function, input: JSON.stringify(input, null, 2) })
}

const keys = [
  ['Anywhere', [['?', 'this list'], ['n', 'start an execution'], ['Esc', 'back: out of a field, a dialog, the details, the page']]],
  ['List', [['j k ↓ ↑', 'next, previous row'], ['Enter', 'open'], ['/', 'search'], ['[ ]', 'newer, older page']]],
  ['Execution', [['j k ↓ ↑', 'next, previous operation'], ['h l ← →', 'collapse, expand; to the parent, to the first inside'], ['Enter', 'to the details'], ['+ − 0', 'zoom in, out, show all'], ['z', 'zoom to the operation'], ['1 2 3', 'timeline, history, tree']]],
]

export function keysDialog() {
  if (document.querySelector('dialog[open]')) return
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => dialog.remove() },
    h('header', null, h('h2', { id: 'dialog-title' }, 'Keys'), button({ label: 'Close', icon: 'close', kind: 'plain', onclick: () => dialog.close() })),
    h('div', { class: 'dialog-body keys' }, keys.map(([where, list]) => h('section', null, h('h3', null, where), h('dl', null, list.map(([key, text]) => h('div', null, h('dt', null, key.split(' ').map(k => h('kbd', null, k))), h('dd', null, text))))))))
  document.body.append(dialog)
  dialog.showModal()
}

