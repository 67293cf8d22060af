import { h } from './dom.js'

// virtualRows keeps only those of many rows in the page that can be seen. All have
// one height. make(i) makes the row's element, show(node, i) brings it up to date, key(i)
// names it.
export function virtualRows(scroller, height, { key, make, show }) {
  const inner = h('div', { class: 'rows', role: 'rowgroup' })
  const nodes = new Map()
  let count = 0
  let frame = 0
  const headHeight = () => inner.offsetTop

  function draw() {
    frame = 0
    const top = scroller.scrollTop - headHeight()
    const first = Math.max(0, Math.floor(top / height) - 6)
    const last = Math.min(count - 1, Math.ceil((top + scroller.clientHeight) / height) + 6)
    const kept = new Set()
    let place = inner.firstElementChild
    for (let i = first; i <= last; i++) {
      const k = key(i)
      let node = nodes.get(k)
      if (!node) {
        node = make(i)
        nodes.set(k, node)
      }
      kept.add(k)
      node.style.top = `${i * height}px`
      show(node, i)
      if (node === place) place = place.nextElementSibling
      else inner.insertBefore(node, place) // in order, for those who hear the page
    }
    for (const [k, node] of nodes) {
      if (kept.has(k)) continue
      node.remove()
      nodes.delete(k)
    }
  }

  const soon = () => { frame ||= requestAnimationFrame(draw) }
  scroller.addEventListener('scroll', soon, { passive: true })
  const resized = new ResizeObserver(soon)
  resized.observe(scroller)
  return {
    inner,
    soon,
    draw,
    set(n) {
      count = n
      inner.style.height = `${n * height}px`
      soon()
    },
    // reveal scrolls a row into sight: by as little as can be, or to the middle if it
    // was far away.
    reveal(i) {
      const room = scroller.clientHeight - headHeight()
      const top = i * height
      const above = scroller.scrollTop - top
      const below = top + height - (scroller.scrollTop + room)
      if (above <= 0 && below <= 0) return
      if (Math.max(above, below) > 3 * height) scroller.scrollTop = top - room / 2
      else scroller.scrollTop += above > 0 ? -above : below
    },
    end: () => {
      cancelAnimationFrame(frame)
      resized.disconnect()
    },
  }
}
