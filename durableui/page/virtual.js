import { h } from './dom.js'

// virtualRows keeps only those of many rows in the page that can be seen. All have
// one height. key(i) names a row, make() makes an element, and show(node, i) makes it that
// row, whatever row it was before: elements that scroll out of sight are used again.
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
    for (let i = first; i <= last; i++) kept.add(key(i))
    const free = []
    for (const [k, node] of nodes) {
      if (kept.has(k)) continue
      nodes.delete(k)
      free.push(node)
    }
    let place = inner.firstElementChild
    for (let i = first; i <= last; i++) {
      const k = key(i)
      let node = nodes.get(k)
      if (!node) {
        node = free.pop() ?? make()
        nodes.set(k, node)
      }
      node.style.top = `${i * height}px`
      show(node, i)
      if (node === place) place = place.nextElementSibling
      else inner.insertBefore(node, place) // in order, for those who hear the page
    }
    for (const node of free) node.remove()
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
