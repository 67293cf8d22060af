import { at, get } from './api.js'
import { button, fill, h, icon } from './dom.js'
import { badge, seenStatus } from './status.js'
import { duration, now, parse, tick } from './time.js'

// family shows who invoked the execution, up to the first, and what they invoked.
export function family(ctx) {
  const { app, model } = ctx
  const tree = h('ul', { class: 'family', 'aria-label': 'Executions that invoked each other' })
  const node = h('div', { class: 'view' }, tree)
  let asked = null
  let loaded = false

  const read = (id, signal) => get(at`executions/${id}`, { query: { payloads: false }, signal })

  async function load() {
    asked?.abort()
    asked = new AbortController()
    const { signal } = asked
    try {
      const line = [model.info] // from the first ancestor down to this one
      while (line[0].parent && line.length < 50) {
        try { line.unshift(await read(line[0].parent, signal)) } catch (err) {
          if (err.status !== 404) throw err
          break // the parent was deleted
        }
      }
      if (signal.aborted) return
      const top = item(line[0], line.slice(1), signal)
      fill(tree, top)
      loaded = true
    } catch (err) {
      if (signal.aborted) return
      fill(tree, h('li', { class: 'problem', role: 'alert' }, err.message, ' ', button({ text: 'Try again', onclick: load })))
    }
  }

  // item is an execution with what it invoked; line leads to the one that is shown.
  function item(info, line, signal) {
    const here = info.id === model.info.id
    const children = h('ul')
    const from = parse(info.startedAt)
    const to = parse(info.endedAt)
    const caret = h('button', { type: 'button', class: 'caret', 'aria-expanded': 'false', 'aria-label': `What ${info.id} invoked`, onclick: () => caret.getAttribute('aria-expanded') === 'true' ? fold() : unfold() }, icon('caret'))
    const fold = () => {
      caret.setAttribute('aria-expanded', 'false')
      fill(children)
    }
    const unfold = async (after = 0, rest = null) => {
      caret.setAttribute('aria-expanded', 'true')
      try {
        const answer = await get(at`executions/${info.id}/children`, { query: { limit: 100, after: after || null }, signal })
        const list = answer.executions ?? []
        rest?.remove()
        if (!after && !list.length) {
          caret.classList.add('none')
          caret.setAttribute('aria-hidden', 'true')
          caret.tabIndex = -1
          if (here) children.append(h('li', { class: 'quiet' }, 'It invoked no other execution. Invoke runs another function with an ID and a history of its own.'))
          return
        }
        children.append(...list.map(child => item(child, line[0]?.id === child.id ? line.slice(1) : [], signal)))
        if (answer.next) {
          const more = h('li', null, button({ text: 'More', kind: 'link', onclick: () => unfold(answer.next, more) }))
          children.append(more)
        }
      } catch (err) {
        if (!signal.aborted) children.append(h('li', { class: 'problem' }, err.message))
      }
    }
    if (here || line.length) unfold()
    return h('li', null, h('div', { class: `relative${here ? ' here' : ''}`, 'aria-current': here ? 'true' : null }, caret, badge(seenStatus(info)),
      here ? h('strong', { class: 'mono' }, info.id) : h('a', { href: app.link({ execution: info.id }), class: 'mono' }, info.id),
      h('span', null, info.function), tick(h('span', { class: 'faint number' }), () => duration(to === null ? Math.max(0, Math.floor((now() - from) / 1000) * 1000) : to - from))), children)
  }

  return { node, update: () => {}, show: () => { if (!loaded) load() }, reload: () => { loaded = false }, key: () => false, end: () => asked?.abort() }
}
