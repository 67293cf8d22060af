package pgstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/jackc/pgx/v5"
)

// A session that listens and does not read, because its process is stopped, keeps the
// server's queue of notifications from being emptied: when that is full, no notification of
// anybody can be sent. So the server ends it when what it sends was not taken for a lease;
// and where that isn't known, as over a Unix socket, whoever takes over what the process
// had does it. That is found by a lock which the session holds: it is there as long as the
// session is, and no other one has it.

// channel is the name that notifications have, short enough for any schema.
func (s *Store) channel() string { return "durable_" + hex.EncodeToString(hash(s.opts.Schema)[:16]) }

// listenerLock are the keys of the advisory lock that the listening session of a process
// holds.
func (s *Store) listenerLock(process int64) (schema, id int32) {
	h := hash("durable listener " + s.opts.Schema)
	return int32(uint32(h[0])<<24 | uint32(h[1])<<16 | uint32(h[2])<<8 | uint32(h[3])), int32(process)
}

// listen gives hints of what other processes do, as long as the database tells it.
func (s *Store) listen() {
	for told := false; s.life.Err() == nil; {
		ctx, cancel := context.WithCancel(s.life)
		s.listener.Store(&cancel)
		came, err := s.listenOnce(ctx)
		anew := ctx.Err() != nil
		cancel()
		if s.life.Err() != nil {
			return
		}
		if anew {
			continue
		}
		if came {
			select {
			case s.parted <- struct{}{}:
			default:
			}
		}
		if came || !told { // once, not each time that it tries
			s.log.Warn("durable: notifications have ended, the store looks by itself until they are back", "schema", s.opts.Schema, "error", err.Error())
			told = true
		}
		select {
		case <-s.life.Done():
		case <-time.After(min(s.opts.Poll, time.Second)):
		}
	}
}

// listenAnew has the listening session made again, under the lease of now: the one before
// is taken for one of a process that is gone.
func (s *Store) listenAnew() {
	if cancel := s.listener.Load(); cancel != nil {
		(*cancel)()
	}
}

// listenOnce listens until something goes wrong; came is whether notifications came until then.
func (s *Store) listenOnce(ctx context.Context) (came bool, err error) {
	conn, err := s.dial(ctx, func(*pgx.ConnConfig) {})
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	}()
	me := s.process.Load()
	schema, id := s.listenerLock(me)
	for _, sql := range []string{
		fmt.Sprintf("SET tcp_user_timeout = %d", s.opts.Lease.Milliseconds()),
		fmt.Sprintf("SELECT pg_advisory_lock_shared(%d, %d)", schema, id),
		"LISTEN " + s.channel(),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return false, err
		}
	}
	// A process that believes to be alone tells nothing, so it is greeted, unless the server
	// takes no notifications. What happened before is looked for.
	if _, err := conn.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel(), fmt.Sprintf("%d 0 ", me)); err != nil && refusal(err) == nil {
		return false, err
	}
	s.newsPace.forget()
	if err := s.lookOnce(ctx, allEnds); err != nil {
		return false, err
	}
	s.listening.Store(true)
	defer s.listening.Store(false)
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return true, err
		}
		process, hints, err := hintsOf(n.Payload)
		if err != nil || process == s.process.Load() {
			continue
		}
		if s.company.hears() {
			s.notifier.tellToLook()
		}
		for _, h := range hints {
			if h == missed {
				select {
				case s.missed <- struct{}{}:
				default:
				}
				continue
			}
			s.rumours.add(h.ID)
			if h.Kind == checkpoint.HintInbox {
				s.delivered.forget(h.ID)
			}
			s.calls.Hint(h)
		}
	}
}

// endListeners ends sessions that listen for processes which are gone. If it can't, the
// server does it, where it finds out.
func (s *Store) endListeners(ctx context.Context) {
	schema, _ := s.listenerLock(0)
	err := s.read(ctx, s.opts.Lease/4, s.question(s.sql.endListeners,
		func(rows pgx.Rows) error {
			rows.Close()
			return rows.Err()
		}, schema))
	if err != nil && s.life.Err() == nil {
		s.log.Warn("durable: sessions that listen for processes which are gone could not be ended", "schema", s.opts.Schema, "error", err.Error())
	}
}
