package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/internal/alarm"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/teller"
)

// Options of an engine. The zero value of each field is its default.
type Options struct {
	// Functions are what this engine can run. Open reports all that is wrong with them.
	Functions []Definition
	// Codec of inputs, results and states; default JSON.
	Codec Codec
	// Sealer encrypts user data at rest, see package durableseal; default: none.
	Sealer Sealer
	// Logger; default slog.Default(). Payloads, callback IDs and the text of the
	// user's errors are not logged by the engine. Nobody waits for its handler but Close,
	// and who asks for a result, for a second at most: when a thousand lines wait for it,
	// those that come then are left out, and the next one says how many. The handler must
	// not call the engine, nor end its goroutine; a panic in it goes nowhere.
	Logger *slog.Logger
	// Observer is told what happens; default: nobody.
	Observer *Observer
	// Interceptor stands around the bodies of steps and submitters; default: nothing does.
	Interceptor Interceptor
	// ParkFor is how long an idle execution stays in memory before it is
	// suspended, so that a quick wake-up costs no replay; default 1 s. Negative:
	// suspend at once. A wait known to be longer suspends at once.
	ParkFor time.Duration
	// MaxResident bounds the executions in memory; default 4096. Beyond it the
	// longest idle is suspended first, and new work waits. When work waits and places have
	// been held for ten seconds by executions that have ended, or left, but for code of
	// theirs that goes on, or all are by code that makes no progress, the bound is exceeded
	// by a tenth, and that is logged.
	MaxResident int
	// MaxPayload bounds one encoded input, result or state, and each item of a
	// batch for itself, in bytes; default 2 MiB.
	MaxPayload int
	// InlineResult: a child's or batch's result above this many bytes is not
	// stored but rebuilt on replay, as on AWS Lambda; default 256 KiB.
	InlineResult int
	// Build names the code for holds: an execution that this code could not go on
	// with is left to other builds, and to processes of this one that were given another
	// Codec, other Errors, or a Sealer with other keys (see Fingerprinted). Default: a hash
	// of the executable, behind the revision that it was built from.
	Build string
	// FailOnMismatch fails an execution whose code does not fit what is recorded,
	// instead of holding it.
	FailOnMismatch bool
	// Retention is how long finished executions are kept; default 7 days.
	// Negative: for ever.
	Retention time.Duration
	// Errors are sentinels and examples of typed errors that errors.Is and
	// errors.AsType must find again after a replay, all that an error matches, in
	// whatever it is wrapped or joined. An example stands for its type; a pointer that
	// is one is a sentinel, too. Of the type's fields, an error comes back as the
	// registered one that it is, else as a *Failure, which matches what it matched; the
	// others must survive JSON, and what an any holds comes back as JSON has it. Open
	// and New refuse what can't be found again, and say why: fields that are not
	// exported, other interfaces (as in *net.OpError), sentinels of one text.
	Errors []error
}

// Engine runs the executions of a store. Make one with Open or New, one for each
// store and process, and share it: all methods may be called concurrently.
type Engine struct {
	opts     Options
	store    checkpoint.Store
	log      *slog.Logger // of the engine's own lines, which the teller hands on
	teller   teller.Teller
	errs     *errorRegistry
	v        values // what handlers need of the engine
	defs     map[string]*definition
	handlers map[string]invocation.Handler // by function
	accepts  func(codec string) error
	shared   bool // other processes may have the store open, too
	claims   checkpoint.ClaimRequest

	clockCheck time.Duration // how long a timer may sleep
	early      time.Duration // how long before it is due something is left to the alarm
	alarm      alarm.Clock
	leased     checkpoint.Leased     // the store, if it is one
	identities checkpoint.Identities // the store, if it is one
	glancer    checkpoint.Glancer    // the store, if it is one
	deliverer  checkpoint.Deliverer  // the store, if it is one
	macs       sync.Pool             // of hash.Hash, see mac

	life      context.Context // ends when the engine closes
	endLife   context.CancelCauseFunc
	kick      chan struct{}
	loop      chan struct{} // closed when the claim loop has ended
	retained  chan struct{} // closed when retention has ended
	over      chan struct{} // closed when the engine is closed, or Shutdown waits for that no more
	overOnce  sync.Once
	bodies    atomic.Int64
	starting  sync.WaitGroup // starts that have reserved a place
	leaving   *resident      // asked to make a place; the claim loop's
	asked     time.Time      // when it was
	overdue   []*resident    // of those that linger, the ones that lapse looks at next; the claim loop's
	moving    *resident      // one that was not stuck when it was last looked at; the claim loop's
	parked    parkedList
	feed      feed
	bookmarks bookmarks
	lookout   lookout
	starved   atomic.Bool // work is due and there is no place for it
	hungry    atomic.Bool // the next one that becomes idle is to give its place up

	mu        sync.Mutex
	residents map[string]*resident
	former    map[*resident]bool     // another one has their ID by now, and code of theirs goes on: true: they have a place of their own
	lapseAt   time.Time              // before it none of them has been stuck for long enough
	lingering map[*resident]struct{} // their stay is over, and code of theirs goes on; or they wait for that
	lapsed    int                    // of these, those whose place was given to others
	apart     int                    // former ones with a place of their own
	lending   int                    // residents that gave their place up
	reserved  int
	astray    uint64 // hints of news for what was not resident: it may be about to be admitted
	extra     int    // places beyond the bound
	retiring  bool   // takes no new work
	shut      bool   // takes no calls
	failed    error
	results   watchers // who wait for the end of an execution
	callbacks watchers // who wait for a callback
	disowned  map[string]writtenOff
	arriving  int                                 // creations and claims whose executions are not resident yet
	stopped   map[checkpoint.Incarnation]struct{} // executions that were stopped meanwhile
	ended     map[string]struct{}                 // executions that ended meanwhile, as a store tells that others write to
	unlisted  uint64                              // how often ended had too many: who arrived meanwhile may be among them
	unwritten int                                 // executions lost with the store, or for good by a shutdown

	tallies
	telling sync.WaitGroup // executions are ended from outside, and the teller has it

	leaseWatched bool  // checkLease is to come
	leaseNumber  int64 // the last one that was seen
}

// Open opens, or creates, the bbolt file at path, with its log beside it in the
// folder path-wal, and the folders above it,
// recovers and runs what it holds. A file that another process has open is ErrLocked, one that is not ours
// or damaged ErrCorrupt.
func Open(path string, opts *Options) (*Engine, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if isURL(path) {
		return nil, errURL
	}
	store, err := boltstore.Open(path, nil)
	if err != nil {
		return nil, err
	}
	return newEngine(store, opts)
}

// New runs what a store holds. The engine closes the store, also when New fails.
func New(store checkpoint.Store, opts *Options) (*Engine, error) {
	if store == nil {
		return nil, errNoStore
	}
	if err := opts.check(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return newEngine(store, opts)
}

// check reports all that is wrong with the options.
func (o *Options) check() error {
	if o == nil {
		return nil
	}
	var problems []error
	names := make(map[string]bool)
	for i, d := range o.Functions {
		if d == nil || d.definition() == nil {
			problems = append(problems, fmt.Errorf("durable: Options.Functions[%d] is nil: make it with Define or DefinePlain", i))
			continue
		}
		def := d.definition()
		if err := history.CheckID("function name", def.name); err != nil {
			problems = append(problems, err)
		}
		if def.missing {
			problems = append(problems, fmt.Errorf("durable: function %q has no code: what Define got is nil", history.Truncated(def.name)))
		}
		if names[def.name] {
			problems = append(problems, fmt.Errorf("durable: two functions have the name %q", history.Truncated(def.name)))
		}
		names[def.name] = true
		if def.settings.timeout < 0 {
			problems = append(problems, fmt.Errorf("durable: function %q: WithExecutionTimeout(%s): must be positive", def.name, def.settings.timeout))
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxResident", o.MaxResident}, {"MaxPayload", o.MaxPayload}, {"InlineResult", o.InlineResult}} {
		if n.value < 0 {
			problems = append(problems, fmt.Errorf("durable: Options.%s is negative: %d", n.name, n.value))
		}
	}
	_, err := newErrorRegistry(o.Errors)
	return errors.Join(errors.Join(problems...), checkCodec(o.Codec), err)
}

func newEngine(store checkpoint.Store, opts *Options) (*Engine, error) {
	e := prepareEngine(store, opts)
	if s, ok := store.(checkpoint.CommitWatcher); ok {
		s.WatchCommits(e.committed)
	}
	store.Watch(e.hint)
	go e.run()
	go e.retain()
	return e, nil
}

// prepareEngine makes an engine that does not run.
func prepareEngine(store checkpoint.Store, opts *Options) *Engine {
	e := &Engine{
		store: store, defs: make(map[string]*definition), residents: make(map[string]*resident), former: make(map[*resident]bool), lingering: make(map[*resident]struct{}),
		results: make(watchers), callbacks: make(watchers), disowned: make(map[string]writtenOff),
		kick: make(chan struct{}, 1), loop: make(chan struct{}), retained: make(chan struct{}), over: make(chan struct{}), stopped: make(map[checkpoint.Incarnation]struct{}),
		ended: make(map[string]struct{}),
	}
	if opts != nil {
		e.opts = *opts
	}
	e.opts.setDefaults()
	e.log = e.teller.Logger(e.opts.Logger.Handler())
	e.errs, _ = newErrorRegistry(e.opts.Errors)
	e.errs.limit, e.errs.log = e.opts.MaxPayload, e.log
	e.life, e.endLife = context.WithCancelCause(context.Background())
	e.startTallies()
	e.v = values{codec: e.opts.Codec, limit: e.opts.MaxPayload, errs: e.errs, interceptor: e.opts.Interceptor, observer: e.opts.Observer, logger: e.opts.Logger, log: e.log, engine: e}
	e.handlers, e.accepts = make(map[string]invocation.Handler), e.v.accepts
	for _, d := range e.opts.Functions {
		def := d.definition()
		e.defs[def.name], e.handlers[def.name] = def, e.v.handler(def)
		e.claims.Functions = append(e.claims.Functions, def.name)
	}
	e.claims.Build = fitness(e.opts.Build, e.opts.Codec, e.opts.Sealer, e.errs)
	e.clockCheck, e.early = clockCheck, alarm.Early
	e.leased, _ = store.(checkpoint.Leased)
	e.identities, _ = store.(checkpoint.Identities)
	e.glancer, _ = store.(checkpoint.Glancer)
	e.deliverer, _ = store.(checkpoint.Deliverer)
	if s, ok := store.(checkpoint.SteadyClock); ok && s.SteadyClock() {
		e.clockCheck = 10_000 * 24 * time.Hour // still far from what int64 nanoseconds hold
		e.early = 0
	}
	if s, ok := store.(checkpoint.Shared); ok {
		e.shared = s.Shared()
	}
	return e
}

func (o *Options) setDefaults() {
	o.Functions = slices.Clone(o.Functions)
	setDefault(&o.Codec, JSON)
	setDefault(&o.Logger, slog.Default())
	var observer Observer // of its own
	if o.Observer != nil {
		observer = *o.Observer
	}
	o.Observer = &observer
	o.Codec, o.Logger = knownByName(o.Codec), guarded(o.Logger)
	setDefault(&o.ParkFor, time.Second)
	setDefault(&o.MaxResident, 4096)
	setDefault(&o.MaxPayload, 2<<20)
	setDefault(&o.InlineResult, 256<<10)
	setDefault(&o.Retention, 7*24*time.Hour)
	if o.Build == "" {
		o.Build = defaultBuild()
	}
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func (e *Engine) now() int64 { return e.store.Now().UnixNano() }

func (e *Engine) has(function string) bool { return e.defs[function] != nil }

func (e *Engine) residentList() []*resident {
	list := make([]*resident, 0, len(e.residents)+len(e.former))
	for _, x := range e.residents {
		list = append(list, x)
	}
	for x := range e.former {
		list = append(list, x)
	}
	return list
}

func (e *Engine) lockedResidents() []*resident {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.residentList()
}

// outward is an error of the store as callers see it.
func (e *Engine) outward(err error) error {
	e.mu.Lock()
	failed := e.failed
	e.mu.Unlock()
	if failed != nil {
		return failed
	}
	if errors.Is(err, checkpoint.ErrFailed) {
		e.storeFailed(err)
	}
	if errors.Is(err, context.Canceled) && e.life.Err() != nil { // see whileOpen
		return ErrClosed
	}
	return err
}

// lookup is an error of the store about one execution.
func (e *Engine) lookup(id string, err error) error {
	if errors.Is(err, checkpoint.ErrNotFound) {
		return fmt.Errorf("%w: %s", ErrExecutionNotFound, id)
	}
	return e.outward(err)
}
