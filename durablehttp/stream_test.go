package durablehttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// message is a server-sent event, or a comment, which has no name.
type message struct{ name, id, data string }

// streamed is a handler's answer as it is read by a client.
type streamed struct {
	t      testing.TB
	header http.Header
	pipe   *io.PipeWriter
	lines  *bufio.Scanner
	leave  context.CancelFunc
	ended  chan struct{}
}

func (s *streamed) Header() http.Header            { return s.header }
func (s *streamed) WriteHeader(int)                {}
func (s *streamed) Write(data []byte) (int, error) { return s.pipe.Write(data) }
func (s *streamed) Flush()                         {}

// listen asks for a stream. The handler writes through a pipe: it goes on when the test reads.
func (d *desk) listen(path string, header ...string) *streamed {
	ctx, cancel := context.WithCancel(d.t.Context())
	r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	out, in := io.Pipe()
	s := &streamed{d.t, make(http.Header), in, bufio.NewScanner(out), cancel, make(chan struct{})}
	s.lines.Buffer(nil, 1<<20)
	go func() {
		defer close(s.ended)
		defer in.Close()
		d.handler.ServeHTTP(s, r)
	}()
	require.Equal(d.t, message{}, s.next()) // what comes first is how soon to connect again
	require.Equal(d.t, "text/event-stream", s.header.Get("Content-Type"))
	checkDocumented(d.t, r, &http.Response{StatusCode: http.StatusOK, Header: s.header}, nil)
	return s
}

// next is the next message; its name is "over" at the stream's end.
func (s *streamed) next() (m message) {
	for s.lines.Scan() {
		line := s.lines.Text()
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "":
			return m
		case "event":
			m.name = value
		case "id":
			m.id = value
		case "data":
			m.data = value
		case "retry", ":":
		default:
			require.Fail(s.t, "a line of no kind", line)
		}
	}
	return message{name: "over"}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		d.waiting("order-1")
		s := d.listen("/executions/order-1/events")
		var got []durable.Event
		read := func(s *streamed) message {
			m := s.next()
			if m.name == "event" {
				var ev durable.Event
				require.NoError(t, json.Unmarshal([]byte(m.data), &ev))
				require.Equal(t, m.id, strconv.FormatInt(ev.EventID, 10))
				require.NoError(t, theDocument().check(theDocument().Components.Schemas["Event"], decoded(m.data), "Event"))
				got = append(got, ev)
			}
			return m
		}
		for read(s); got[len(got)-1].Type != "CallbackStarted"; read(s) {
		}
		began := time.Now()
		for m := read(s); m.name != ""; m = read(s) { // the execution leaves memory, which is an event
		}
		require.Equal(t, 15*time.Second, time.Since(began).Round(time.Second), "a heartbeat")
		d.post("/executions/order-1/callbacks/approval/succeed", `"Ada"`, http.StatusNoContent)
		m := read(s)
		for ; m.name != "end"; m = read(s) {
			require.Contains(t, []string{"event", ""}, m.name)
		}
		require.Equal(t, "{}", m.data)
		require.Equal(t, "over", s.next().name)
		<-s.ended

		// All of it, once, in order.
		var history struct{ Events []durable.Event }
		d.get("/executions/order-1/history", &history)
		require.Equal(t, history.Events, got)

		// Again from where it was, by the header of a client that connects again, or by asking.
		for _, s := range []*streamed{d.listen("/executions/order-1/events?after=1", "Last-Event-ID", "3"), d.listen("/executions/order-1/events?after=3")} {
			got = nil
			for m := read(s); m.name != "end"; m = read(s) {
			}
			require.Equal(t, history.Events[3:], got)
			<-s.ended
		}
		require.NoError(t, d.engine.Close())
	})
}

func decoded(data string) (v any) {
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		panic(err)
	}
	return v
}

func TestChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		s := d.listen("/events")
		synctest.Wait()
		began := time.Now()
		require.Empty(t, s.next(), "a heartbeat")
		require.Equal(t, 15*time.Second, time.Since(began))

		d.post("/executions", `{"function":"pay","id":"p-0","input":{}}`, http.StatusCreated)
		seen, messages := make(map[string]bool), 0
		began = time.Now()
		read := func() {
			var c struct{ IDs []string }
			m := s.next()
			require.Equal(t, "changed", m.name)
			require.NoError(t, theDocument().check(theDocument().Components.Schemas["Changed"], decoded(m.data), "Changed"))
			require.NoError(t, json.Unmarshal([]byte(m.data), &c))
			for _, id := range c.IDs {
				seen[id] = true
			}
			messages++
		}
		read()
		require.True(t, seen["p-0"])
		require.Zero(t, time.Since(began), "at once")

		// 500 in half a second are told in few messages.
		for i := range 500 {
			d.post("/executions", fmt.Sprintf(`{"function":"pay","id":"p-%d","input":{}}`, i+1), http.StatusCreated)
			if i%100 == 99 {
				time.Sleep(100 * time.Millisecond)
			}
		}
		for messages = 0; len(seen) < 501; {
			read()
		}
		require.LessOrEqual(t, messages, 4)

		// A client that reads nothing delays nobody, and learns that there was more than it is told.
		for i := range 700 {
			d.post("/executions", fmt.Sprintf(`{"function":"pay","id":"q-%d","input":{}}`, i), http.StatusCreated)
			_, err := d.ended(fmt.Sprintf("q-%d", i))
			require.NoError(t, err)
		}
		for more := false; !more; {
			m := s.next()
			more = strings.HasSuffix(m.data, `,"more":true}`)
		}
		s.leave()
		for s.next().name != "over" {
		}
		<-s.ended
		require.NoError(t, d.engine.Close())
	})
}

// TestStreamsEnd ends streams from all sides, and sees that no goroutine is left: a bubble
// of synctest doesn't end with one.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *desk, streams []*streamed){
		"EngineCloses":    func(d *desk, _ []*streamed) { require.NoError(d.t, d.engine.Close()) },
		"EngineShutsDown": func(d *desk, _ []*streamed) { require.NoError(d.t, d.engine.Shutdown(d.t.Context())) },
		"ClientLeaves": func(_ *desk, streams []*streamed) {
			for _, s := range streams {
				s.leave()
			}
		},
		"ClientIsGone": func(d *desk, streams []*streamed) { // noticed at the next heartbeat
			for _, s := range streams {
				s.pipe.CloseWithError(net.ErrClosed)
			}
			time.Sleep(16 * time.Second)
			for _, s := range streams {
				s.leave() // net/http's part
			}
		},
		"ExecutionIsDeleted": func(d *desk, streams []*streamed) {
			require.NoError(d.t, d.engine.Stop(d.t.Context(), "order-1", ""))
			require.NoError(d.t, d.engine.Delete(d.t.Context(), "order-1"))
			synctest.Wait() // it was ended before it was deleted, and that was told
			streams[0].leave()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, nil)
				d.waiting("order-1")
				streams := []*streamed{d.listen("/events"), d.listen("/executions/order-1/events")}
				var all sync.WaitGroup
				for _, s := range streams {
					all.Go(func() {
						for s.next().name != "over" {
						}
					})
				}
				synctest.Wait()
				end(d, streams)
				for _, s := range streams {
					<-s.ended
				}
				all.Wait()
				require.NotContains(t, d.log.String(), "ERROR")
				d.engine.Close()
			})
		})
	}
}

// TestStreamsAndServers runs streams on real connections: a server that shuts down ends
// them, its WriteTimeout doesn't, and a client that takes nothing holds nobody up.
func TestStreamsAndServers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	server := httptest.NewUnstartedServer(d.handler)
	server.Config.WriteTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	idle, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer idle.Close()
	fmt.Fprintf(idle, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n") // and reads nothing

	events, err := http.Get(server.URL + "/events")
	require.NoError(t, err)
	defer events.Body.Close()
	follow, err := http.Get(server.URL + "/executions/order-1/events")
	require.NoError(t, err)
	defer follow.Body.Close()
	changes := bufio.NewReader(events.Body)
	for i, began := 0, time.Now(); time.Since(began) < 200*time.Millisecond; i++ {
		id := d.post("/executions", fmt.Sprintf(`{"function":"pay","id":"p-%d","input":{}}`, i), http.StatusCreated)
		for line := ""; !strings.Contains(line, `"`+id+`"`); {
			line, err = changes.ReadString('\n')
			require.NoError(t, err, "cut off after %s", time.Since(began))
		}
	}
	require.NoError(t, server.Config.Shutdown(t.Context()))
	for _, body := range []io.Reader{changes, follow.Body} {
		_, err = io.Copy(io.Discard, body)
		require.NoError(t, err)
	}
}

// TestStreamCannotFlush: behind a middleware that hides Flush a stream would say nothing, for ever.
func TestStreamCannotFlush(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.waiting("order-1")
	for _, path := range []string{"/events", "/executions/order-1/events"} {
		answer := httptest.NewRecorder()
		d.handler.ServeHTTP(struct{ http.ResponseWriter }{answer}, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		require.Equal(t, http.StatusInternalServerError, answer.Code, path)
		require.Contains(t, answer.Body.String(), `"internal"`)
		require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
	}
}
