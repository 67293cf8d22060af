package pgstore

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/jackc/pgx/v5"
)

// notifier tells other processes what rounds have changed. It does so behind their commit,
// on a connection of its own: a notification in a transaction makes its commit wait for
// that of every other one on the server, and fail when the server's queue of them is full.
// Hints get lost only with the process, when it dies between the two, or where the server
// refuses them; others find by looking, once an Options.Poll, what they were not told.
//
// What a round of few commands tells of is not handed to it: the notification is on its way
// with the round, see pipe. One that is refused there, since it had to wait, or for any
// other reason, is handed over, and so is what comes in some time.
//
//	state     is entered when                                what rounds have changed
//	silent    nobody else is alive (company)                 is not handed to it; when somebody comes, all are told to look
//	sending   others are alive                               is sent, all that came during one message with the next
//	troubled  a message did not go through, on a new         is sent after a pause, with what came meanwhile, and so on:
//	          connection either                              told once. Is it too much, all are told to look instead
//	refused   the server does not let it                     is dropped; with what comes next all are told to look
//	full      the queue is full by more than stopAbove,      is dropped, until the queue is below startBelow: told once,
//	          or the server says that it is                  and all are told to look then
//	closed    the store closes                               is sent if that takes no longer than a second
type notifier struct {
	s     *Store
	conn  *pgx.Conn // nil: it has to be made
	ended chan struct{}

	mu      sync.Mutex
	news    map[checkpoint.Hint]struct{}
	wanted  chan struct{} // there is something to do
	closing chan struct{}
	line    net.Conn  // of conn
	closeBy time.Time // zero: the store is open

	usage atomic.Uint64 // of the queue, as bits of a float64
	full  atomic.Bool
	apart atomic.Int64 // until when no notification is behind a round, in Unix nanoseconds
}

const (
	stopAbove  = 0.5
	startBelow = 0.25

	keptApart = 10 * time.Second // after one behind a round was refused

	maxNews    = 10_000 // beyond it others are told to look
	maxPayload = 7000   // of a notification, in bytes; the server takes less than 8000
)

// missed is what tells others to look for whatever may have happened, executions that have
// ended among it. (Processes of an older version look for those that somebody waits for.)
var missed = checkpoint.Hint{Kind: checkpoint.HintEnded}

func newNotifier(s *Store) *notifier {
	n := &notifier{s: s, ended: make(chan struct{}), news: make(map[checkpoint.Hint]struct{}), wanted: make(chan struct{}, 1), closing: make(chan struct{})}
	go n.run()
	return n
}

// tell has others told. It never waits.
func (n *notifier) tell(hints []checkpoint.Hint) {
	if len(hints) == 0 || n.full.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range hints {
		n.add(h)
	}
	n.ready()
}

// mayFollow reports whether a notification may be sent behind a round.
func (n *notifier) mayFollow() bool {
	return !n.full.Load() && time.Now().UnixNano() >= n.apart.Load()
}

// answered takes what has become of a notification behind a round.
func (n *notifier) answered(hints []checkpoint.Hint, err error) {
	e := refusal(err)
	switch {
	case err == nil:
	case e != nil && e.Code == programLimitExceeded:
		n.saw(1)
	default:
		n.apart.Store(time.Now().Add(keptApart).UnixNano())
		n.tell(hints)
	}
}

// add has one thing told. n.mu is held.
func (n *notifier) add(h checkpoint.Hint) {
	if len(n.news) >= maxNews {
		clear(n.news)
		n.news[missed] = struct{}{}
	}
	n.news[h] = struct{}{}
}

// tellToLook has others look: they were not told everything.
func (n *notifier) tellToLook() { n.tell([]checkpoint.Hint{missed}) }

// ready has the connection made, if it is not there: there is somebody to tell.
func (n *notifier) ready() {
	select {
	case n.wanted <- struct{}{}:
	default:
	}
}

// close sends what is left, and returns after a second at the latest.
func (n *notifier) close() {
	n.mu.Lock()
	n.closeBy = time.Now().Add(lastWords)
	if n.line != nil {
		n.line.SetDeadline(n.closeBy)
	}
	n.mu.Unlock()
	close(n.closing)
	<-n.ended
}

// lastWords is how long a store that closes goes on telling others.
const lastWords = time.Second

func (n *notifier) run() {
	defer close(n.ended)
	defer n.disconnect()
	told := false
	for open := true; open; {
		select {
		case <-n.wanted:
		case <-n.closing:
			open = false
		}
		sent, err := n.send()
		if err == nil {
			told = told && !sent
			continue
		}
		if !told && open { // once, not for each message
			n.s.log.Warn("durable: other processes are not told what happens here, they find it by looking", "schema", n.s.opts.Schema, "error", err.Error())
			told = true
		}
		select {
		case <-time.After(min(n.s.opts.Poll, time.Second)):
		case <-n.closing:
		}
	}
}

// send sends all that there is. What does not go through is made again over a new
// connection: the old one may have ended long ago.
func (n *notifier) send() (sent bool, err error) {
	n.mu.Lock()
	var news map[checkpoint.Hint]struct{} // or tell goes on writing into what is read here
	if len(n.news) > 0 {
		news, n.news = n.news, make(map[checkpoint.Hint]struct{})
	}
	n.mu.Unlock()
	if len(news) == 0 && n.s.life.Err() != nil {
		return false, nil
	}
	notes := notesOf(n.s.process.Load(), news)
	defer func() {
		if err == nil || len(news) == 0 {
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if e := refusal(err); e != nil && e.Code != readOnlyTransaction {
			n.add(missed) // for the next one
			return
		}
		for h := range news {
			n.add(h)
		}
		n.ready()
	}()
	fresh := n.conn == nil
	for {
		err := n.try(notes)
		e := refusal(err)
		switch {
		case err == nil:
			return len(notes) > 0, nil
		case e != nil && e.Code == programLimitExceeded:
			n.saw(1)
			return false, nil
		case e != nil && e.Code != readOnlyTransaction:
			return false, err
		}
		n.disconnect()
		if fresh {
			return false, err
		}
		fresh = true
	}
}

func (n *notifier) try(notes []string) error {
	if n.conn == nil {
		if err := n.connect(); err != nil {
			return err
		}
	}
	if len(notes) == 0 {
		return nil
	}
	if !n.within(n.s.opts.Lease / 4) {
		return checkpoint.ErrClosed
	}
	_, err := n.conn.Exec(context.Background(), n.s.sql.notify, n.s.channel(), notes)
	return err
}

// within bounds how long the next message may take; false: no time is left.
func (n *notifier) within(d time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	by := time.Now().Add(d)
	if !n.closeBy.IsZero() {
		by = n.closeBy
	}
	n.line.SetDeadline(by)
	return time.Now().Before(by)
}

func (n *notifier) connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.s.opts.Lease/4)
	defer cancel()
	defer context.AfterFunc(n.s.life, func() { // a store that closes needs none any more
		select {
		case <-time.After(lastWords):
			cancel()
		case <-ctx.Done():
		}
	})()
	conn, err := n.s.dial(ctx, n.s.ownMode)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conn, n.line = conn, conn.PgConn().Conn()
	return nil
}

func (n *notifier) disconnect() {
	if n.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	n.conn.Close(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conn, n.line = nil, nil
}

// saw takes how full the queue is.
func (n *notifier) saw(usage float64) {
	n.usage.Store(math.Float64bits(usage))
	switch {
	case usage > stopAbove && !n.full.Swap(true):
		n.s.log.Error("durable: the server's queue of notifications fills up: other processes are not told what happens here until it is emptied, they find it by looking; "+
			"a session that listens and does not read, or is in a long transaction, keeps it: see wait_event = 'ClientWrite' and xact_start in pg_stat_activity, and end it with pg_terminate_backend",
			"schema", n.s.opts.Schema, "usage", usage)
	case usage < startBelow && n.full.Swap(false):
		n.tellToLook()
		n.s.log.Info("durable: the server's queue of notifications is emptied, other processes are told again", "schema", n.s.opts.Schema, "usage", usage)
	}
}

// watchQueue looks how full the server's queue of notifications is.
func (s *Store) watchQueue(ctx context.Context) error {
	var usage float64
	err := s.readOnce(ctx, s.opts.Lease/4, s.question(`SELECT pg_notification_queue_usage()`, into(&usage)))
	if err == nil {
		s.notifier.saw(usage)
	}
	if refusal(err) != nil {
		return nil // who may not ask is told by the server
	}
	return err
}

// NotificationQueue is how full the server's queue of notifications was, from 0 to 1, when
// it was last looked at: each tenth Options.Poll.
func (s *Store) NotificationQueue() float64 { return math.Float64frombits(s.notifier.usage.Load()) }

func setOf(hints []checkpoint.Hint) map[checkpoint.Hint]struct{} {
	set := make(map[checkpoint.Hint]struct{}, len(hints))
	for _, h := range hints {
		set[h] = struct{}{}
	}
	return set
}

// notesOf are the payloads of notifications: who says it, and kind and ID of each hint,
// the ID in base64. As many as fit stand in one; that something is due, which has no ID,
// stands alone. (Processes of an older version take the first of each.)
func notesOf(process int64, news map[checkpoint.Hint]struct{}) (notes []string) {
	hints := make([]checkpoint.Hint, 0, len(news))
	for h := range news {
		hints = append(hints, h)
	}
	slices.SortFunc(hints, func(a, b checkpoint.Hint) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	var note strings.Builder
	flush := func() {
		if note.Len() > 0 {
			notes = append(notes, note.String())
			note.Reset()
		}
	}
	for _, h := range hints {
		id := base64.StdEncoding.EncodeToString([]byte(h.ID))
		if len(id) > maxPayload {
			continue
		}
		if note.Len()+len(id) > maxPayload {
			flush()
		}
		if note.Len() == 0 {
			note.WriteString(strconv.FormatInt(process, 10))
		}
		note.WriteString(" " + strconv.Itoa(int(h.Kind)) + " " + id)
		if id == "" {
			flush()
		}
	}
	flush()
	return notes
}

var errNoNote = errors.New("durable: a notification is not of a store")

// hintsOf reads a payload.
func hintsOf(note string) (process int64, hints []checkpoint.Hint, err error) {
	fields := strings.Split(note, " ")
	if process, err = strconv.ParseInt(fields[0], 10, 64); err != nil || len(fields)%2 == 0 {
		return 0, nil, errNoNote
	}
	for i := 1; i+1 < len(fields); i += 2 {
		kind, err := strconv.ParseUint(fields[i], 10, 8)
		if err != nil {
			return 0, nil, errNoNote
		}
		id, err := base64.StdEncoding.DecodeString(fields[i+1])
		if err != nil {
			return 0, nil, errNoNote
		}
		if kind != 0 { // a greeting
			hints = append(hints, checkpoint.Hint{Kind: checkpoint.HintKind(kind), ID: string(id)})
		}
	}
	return process, hints, nil
}
