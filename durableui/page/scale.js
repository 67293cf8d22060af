// A scale maps times to places between 0 and 1. Stretches in which nothing runs can be
// folded: a day of waiting between steps of milliseconds would leave nothing of them.

// busy merges intervals [from, to] into disjoint ones in order.
export function busy(intervals) {
  const merged = []
  for (const [from, to] of intervals.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1)
    if (last && from <= last[1]) last[1] = Math.max(last[1], to)
    else merged.push([from, to])
  }
  return merged
}

// makeScale makes the scale from start to end. worked are disjoint intervals in order;
// what lies between them is folded if fold says so: true, false, or null for when most
// of the time would be waiting.
export function makeScale(start, end, worked, fold) {
  const span = Math.max(end - start, 0.001)
  const parts = [] // {from, to, gap}
  let at = start
  for (const [from, to] of worked) {
    if (from > at) parts.push({ from: at, to: Math.min(from, end), gap: true })
    if (to > at) parts.push({ from: Math.max(at, from), to: Math.min(to, end), gap: false })
    at = Math.max(at, to)
  }
  if (at < end) parts.push({ from: at, to: end, gap: true })
  const work = parts.reduce((sum, p) => sum + (p.gap ? 0 : p.to - p.from), 0)
  const size = Math.max(work, 20) // where next to nothing ran, what is around it is shown
  const least = size * 0.3
  const long = parts.filter(p => p.gap && p.to - p.from > least)
  const canFold = long.length > 0
  const folds = canFold && (fold ?? span > size * 5)
  if (!folds) return { start, end, canFold, folds, breaks: [], place: t => (t - start) / span, time: u => start + u * span }

  const width = size * Math.min(0.1, Math.max(0.005, 0.8 / long.length))
  const linear = [] // {from, to, u0, u1}: what is not folded melts together
  let u = 0
  for (const p of parts) {
    const folded = p.gap && p.to - p.from > least
    const length = folded ? width : p.to - p.from
    const last = linear.at(-1)
    if (!folded && last && !last.folded) {
      last.to = p.to
      last.u1 = u + length
    } else linear.push({ from: p.from, to: p.to, u0: u, u1: u + length, folded })
    u += length
  }
  for (const p of linear) {
    p.u0 /= u
    p.u1 /= u
  }
  const find = (value, field) => {
    let low = 0
    let high = linear.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (linear[middle][field] <= value) low = middle
      else high = middle - 1
    }
    return linear[low]
  }
  return {
    start, end, canFold, folds,
    breaks: linear.filter(p => p.folded),
    place(t) {
      const p = find(t, 'from')
      return p.u0 + (p.to > p.from ? (t - p.from) / (p.to - p.from) : 0) * (p.u1 - p.u0)
    },
    time(v) {
      const p = find(v, 'u0')
      return p.from + (p.u1 > p.u0 ? (v - p.u0) / (p.u1 - p.u0) : 0) * (p.to - p.from)
    },
  }
}

const steps = [1, 2, 5]

// ticks are round times after the start within [from, to], at most so many.
export function ticks(from, to, most) {
  const raw = Math.max((to - from) / Math.max(1, most), 1e-3)
  const units = [86_400_000, 3_600_000, 60_000]
  let step = 0
  const unit = units.find(size => raw > size / 2)
  if (unit) step = unit * ([1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 100, 200, 365].find(n => n * unit >= raw) ?? Math.ceil(raw / unit))
  else {
    const power = 10 ** Math.floor(Math.log10(raw))
    step = (steps.find(n => n * power >= raw) ?? 10) * power
  }
  const list = []
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to && list.length < 200; i++) list.push(i * step)
  return list
}
