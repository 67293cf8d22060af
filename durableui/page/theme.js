// Before the first paint, so that nobody sees the other colours flash by. "auto" is
// what the system says.
(() => {
  let theme = 'auto'
  try { theme = localStorage.getItem('durable.theme') ?? theme } catch { /* storage may be switched off */ }
  document.documentElement.dataset.theme = theme
})()
