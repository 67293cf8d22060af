// The API stands beside the page, whatever prefix both are mounted under.
const root = new URL('api/', document.baseURI.split(/[?#]/)[0])
root.username = root.password = '' // in the address of the page; fetch takes none, and the browser knows them

// APIError is an answer that is not a success, in words.
export class APIError extends Error {
  constructor(status, code, message, body) {
    super(message)
    this.status = status
    this.code = code
    this.body = body
  }
}

const hints = {
  0: 'The service does not answer. Is it running, and can this browser reach it?',
  401: 'You are not signed in, or the sign-in has run out. Load the page again.',
  403: 'You are not allowed to do this',
  404: 'There is no such thing any more',
  413: 'This is larger than the service takes',
  502: 'The service is not reachable behind its proxy. Try again in a moment.',
  503: 'The service takes nothing at the moment. Try again in a moment.',
}

function failed(status, body, text) {
  const said = body?.error ?? (text && text.length < 300 && !text.startsWith('<') ? text.trim() : '')
  const hint = hints[status]
  const message = [hint, said].filter(Boolean).join(hint && said && !/[.?!]$/.test(hint) ? ': ' : ' ') || `The service answered with status ${status}.`
  return new APIError(status, body?.code ?? '', message, body)
}

// at is the address of something in the API; the path's variables are escaped.
export function at(strings, ...values) {
  return strings.reduce((path, s, i) => path + encodeURIComponent(values[i - 1]) + s)
}

// address is the absolute form of a path, with the parameters that have a value.
export function address(path, query) {
  const url = new URL(path, root)
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value)
  }
  return url
}

async function request(method, path, { query, body, signal } = {}) {
  let response
  let text
  try {
    response = await fetch(address(path, query), {
      method, signal, cache: 'no-store', credentials: 'same-origin',
      headers: method === 'POST' ? { 'Content-Type': 'application/json' } : {},
      body,
    })
    text = await response.text()
  } catch (err) {
    if (signal?.aborted) throw err
    throw failed(0)
  }
  if (!response.ok) {
    let problem = null
    try { problem = JSON.parse(text) } catch { /* a proxy's page */ }
    throw failed(response.status, problem, text)
  }
  return text
}

// get reads something. Options: query, signal, exact (numbers in payloads keep
// their digits).
export async function get(path, options = {}) {
  const text = await request('GET', path, options)
  return options.exact ? parseExact(text) : JSON.parse(text)
}

// post does something. The body is a value, or JSON as it is in options.text.
export async function post(path, value, options = {}) {
  const body = options.text ?? (value === undefined ? undefined : JSON.stringify(value))
  const text = await request('POST', path, { ...options, body })
  return text ? JSON.parse(text) : null
}

// remove deletes something.
export async function remove(path) { await request('DELETE', path) }

// parseExact is JSON.parse that keeps numbers as they were written, where the
// browser can: 12345678901234567890 and 1.0 would come out as other texts.
export function parseExact(text) {
  if (!JSON.rawJSON) return JSON.parse(text)
  try {
    return JSON.parse(text, (_, value, context) =>
      typeof value === 'number' && context?.source !== undefined && String(value) !== context.source ? JSON.rawJSON(context.source) : value)
  } catch (err) {
    if (err instanceof RangeError) return JSON.parse(text) // thousands of levels: only without the function are they read
    throw err
  }
}

const connections = new Set()
let onConnection = () => {}

// watchConnection tells whether the page gets news: 'live', 'lost' or 'none'.
export function watchConnection(told) { onConnection = told }

function tellConnection() {
  const states = [...connections].map(c => c.state)
  onConnection(states.includes('lost') ? 'lost' : states.includes('live') ? 'live' : 'none')
}

// Browsers allow six connections to a host over HTTP/1.1, for all windows together. Some
// must be left to ask and act, so windows share these.
const streams = 4

// stream reserves one of them: it returns what gives it back, or null if none is free.
async function stream() {
  if (!navigator.locks) return () => {} // plain HTTP from afar
  for (let i = 0; i < streams; i++) {
    const release = await new Promise(got => navigator.locks.request(`durable.stream.${i}`, { ifAvailable: true },
      lock => lock ? new Promise(free => got(free)) : got(null)))
    if (release) return release
  }
  return null
}

// follow listens to server-sent events until the returned function is called.
// A page that nobody sees holds no connection. When it is seen again, or a lost
// connection is back, onopen is called, since something may have been missed; and every
// few seconds while other windows have all the streams.
export function follow(path, query, { onopen, ...handlers }) {
  const connection = { state: 'none' }
  connections.add(connection)
  let source = null
  let retry = 0
  let opened = false
  const become = state => {
    connection.state = state
    tellConnection()
  }
  let ended = false
  let release = null
  let reserving = false
  const open = async () => {
    clearTimeout(retry)
    if (source || document.hidden || reserving) return
    reserving = true
    release ??= await stream()
    reserving = false
    if (ended || document.hidden) {
      shut()
      return
    }
    if (!release) {
      become('live')
      onopen?.()
      retry = setTimeout(open, 3000)
      return
    }
    source = new EventSource(address(path, typeof query === 'function' ? query() : query))
    source.onopen = () => {
      become('live')
      if (opened) onopen?.()
      opened = true
    }
    source.onerror = () => {
      become('lost')
      if (source?.readyState === EventSource.CLOSED) { // it was refused, and the browser does not try again
        source = null
        retry = setTimeout(open, 5000)
      }
    }
    for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, event => handle(event.data ? JSON.parse(event.data) : null))
  }
  const shut = () => {
    clearTimeout(retry)
    source?.close()
    source = null
    release?.()
    release = null
  }
  const seen = () => document.hidden ? shut() : open()
  document.addEventListener('visibilitychange', seen)
  open()
  return () => {
    ended = true
    document.removeEventListener('visibilitychange', seen)
    shut()
    connections.delete(connection)
    tellConnection()
  }
}

// paced returns a function that asks for run to be called soon. It never runs twice
// at once, not more often than each `least` ms, and rests four times as long as it
// took, so that what is expensive is done more seldom.
export function paced(run, least = 400) {
  let timer = 0
  let running = false
  let again = false
  let free = 0
  let ended = false
  const go = async () => {
    timer = 0
    running = true
    const began = performance.now()
    try { await run() } finally {
      const took = performance.now() - began
      free = performance.now() + Math.max(least, took * 4)
      running = false
      if (again && !ended) {
        again = false
        ask()
      }
    }
  }
  const ask = () => {
    if (ended) return
    if (running) again = true
    else if (!timer) timer = setTimeout(go, Math.max(0, free - performance.now()))
  }
  ask.end = () => {
    ended = true
    clearTimeout(timer)
  }
  return ask
}
