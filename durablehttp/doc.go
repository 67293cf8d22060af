// Package durablehttp serves an engine over HTTP. Its handlers listen nowhere by
// themselves: mount them in the server you have, behind the TLS, limits and
// middleware you use for the rest. ServeBeside alone listens, on a Unix socket that
// only the owner can reach.
//
// Callbacks takes the outcomes that executions wait for. A request needs no more
// than the callback's ID, which is a capability: it can't be guessed, it
// completes one callback, once. The ID is part of the path, so keep the paths of
// these requests out of access logs, or log the route instead.
//
// Inspect shows executions, Steer starts, ends and repairs them, Admin is both. They
// serve nothing without an authorizer, see AdminOptions. The guide is docs/admin-api.md,
// the reference openapi.json, which they serve too.
//
// Bodies are bounded by Options.MaxBody and AdminOptions. How long a client may take is the server's
// affair, and http.Server has no bound by default: set ReadHeaderTimeout,
// ReadTimeout and IdleTimeout, and limit the rate of requests if it faces the internet.
package durablehttp
