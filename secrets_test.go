package durable_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/durableseal"
)

// disguises are the forms in which a word may stand somewhere unnoticed.
func disguises(word []byte) (forms [][]byte) {
	inJSON, _ := json.Marshal(string(word))
	forms = [][]byte{word, inJSON[1 : len(inJSON)-1], []byte(strings.Trim(fmt.Sprintf("%q", word), `"`)),
		[]byte(hex.EncodeToString(word)), []byte(strings.ToUpper(hex.EncodeToString(word))), []byte(strings.Trim(fmt.Sprint(word), "[]"))}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for shift := range 3 { // by where in a text it begins; only whole groups of it are the same in all texts
			text := encoding.EncodeToString(append(make([]byte, shift), word...))
			from, to := (shift*8+5)/6, (shift+len(word))*8/6
			forms = append(forms, []byte(text[from:to]))
		}
	}
	return forms
}

// discloses reports whether data holds a word, in whatever form.
func discloses(data, word []byte) bool {
	return slices.ContainsFunc(disguises(word), func(form []byte) bool { return bytes.Contains(data, form) })
}

func TestDiscloses(t *testing.T) {
	t.Parallel()
	word := []byte(secret(`quoted "word" <\> of some length`))
	inner, err := json.Marshal(map[string]any{"a": string(word)})
	require.NoError(t, err)
	raw, err := json.Marshal(map[string]any{"a": word})
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"Plain": append([]byte("x"), word...), "JSON": inner, "BytesInJSON": raw, "Quoted": fmt.Appendf(nil, "x=%q", word),
		"Hex": fmt.Appendf(nil, "%x", word), "UpperHex": fmt.Appendf(nil, "%X", word), "Numbers": fmt.Append(nil, word),
		"Base64At1": []byte(base64.StdEncoding.EncodeToString(append([]byte("x"), word...))),
		"Base64At2": []byte(base64.RawURLEncoding.EncodeToString(append([]byte("xy"), append(word, "more"...)...))),
	} {
		require.True(t, discloses(data, word), name)
	}
	require.False(t, discloses([]byte("TOP-SECRET"), word))
}

// filesBelow are the contents of all files below a folder, in one.
func filesBelow(t *testing.T, dir string) (all []byte, files int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(append(all, b...), 0)
		files++
		return err
	}))
	return all, files
}

// userData are the places of secrets that everything and disclose put somewhere.
var userData = []string{"input", "step", "bytes", "error", "panic", "state", "child", "child's error", "item", "item's error", "input of an invoke",
	"result of an invoked execution", "failure of an invoked execution", "callback", "callback's message", "callback's data", "callback's stack",
	"reason of a cancel", "reason of a stop", "result", "typed error", "codec", "held"}

// typed is an error of the user's with data, registered in Options.Errors.
type typed struct{ Text string }

func (e *typed) Error() string { return "typed" }

// disclose runs everything on a machine, with secrets in all user data, and leaves
// some executions in the middle.
func disclose(m *machine, opts durable.Options) {
	defs := everything()
	f := defs[0].(*durable.Function[string, string])
	fails := durable.Define("fails", func(ctx *durable.Context, _ int) (int, error) { return 0, &typed{secret("typed error")} })
	var entered atomic.Int32
	held := durable.Define("held", func(ctx *durable.Context, _ int) (int, error) {
		var out any
		var err error
		if entered.Add(1) == 1 {
			out, err = durable.Step(ctx, "x", func(context.Context) (string, error) { return secret("held"), nil })
		} else { // what is recorded does not fit: the reason of the hold quotes it
			out, err = durable.Step(ctx, "x", func(context.Context) (picky, error) { return "", nil })
		}
		_ = out
		return 0, errors.Join(err, durable.Wait(ctx, "sleep", time.Minute))
	})
	opts.ParkFor, opts.Errors = -1, []error{&typed{"example"}}
	b := m.open(opts, append(defs, fails, held)...)
	x := start(b, f, secret("input"))
	for _, name := range []string{"good", "bad"} {
		id := b.callback(x.ID(), name)
		if name == "good" {
			require.NoError(m, b.engine.SucceedCallback(b.ctx, id, secret("callback")))
		} else {
			require.NoError(m, b.engine.FailCallback(b.ctx, id, durable.Failure{Type: "Bad", Message: secret("callback's message"),
				Data: json.RawMessage(`"` + secret("callback's data") + `"`), Stack: secret("callback's stack")}))
		}
	}
	time.Sleep(time.Hour)
	require.NoError(m, b.engine.Cancel(b.ctx, x.ID(), secret("reason of a cancel")))
	_, err := within(b, x, time.Minute)
	require.NoError(m, err)
	y := start(b, f, secret("input"))
	time.Sleep(time.Second)
	require.NoError(m, b.engine.Stop(b.ctx, y.ID(), secret("reason of a stop")))
	_, err = within(b, start(b, fails, 0), time.Minute)
	require.Error(m, err)
	z := start(b, held, 0)
	start(b, f, secret("input")) // it is at a callback when the process dies
	time.Sleep(time.Hour)
	synctest.Wait()
	require.Contains(m, b.held(z.ID()).Message, secret("codec"))
	require.NoError(m, b.engine.Delete(b.ctx, y.ID()))
}

// picky can't be decoded, and says so with a secret.
type picky string

func (*picky) UnmarshalJSON(data []byte) error {
	if string(data) == `""` {
		return nil
	}
	return errors.New(secret("codec") + string(data))
}

// TestNoPlainTextInFiles looks for user data in the files of a store: with a sealer
// there is none, and without one all of it is there, so it was looked for in the
// right places.
func TestNoPlainTextInFiles(t *testing.T) {
	t.Parallel()
	for name, sealed := range map[string]bool{"Sealed": true, "PlantedPlain": false} {
		inBubble(t, name, func(t *testing.T) {
			m := newFileMachine(t, true)
			var opts durable.Options
			key := make([]byte, durableseal.SecretSize)
			rand.Read(key)
			if sealed {
				s, err := durableseal.New(durableseal.Key{ID: "a", Secret: key})
				require.NoError(t, err)
				opts.Sealer = s
			}
			disclose(m, opts)
			inUse, n := filesBelow(t, filepath.Dir(m.path)) // the log and the file
			require.Greater(t, n, 1)
			require.NoError(t, m.base.Close()) // all of it is in the file now
			closed, _ := filesBelow(t, filepath.Dir(m.path))
			files := append(inUse, closed...)
			for _, place := range userData {
				require.Equal(t, !sealed, discloses(files, []byte(secret(place))), place)
			}
			require.Equal(t, !sealed, discloses(files, []byte("TOP-SECRET")))
			require.False(t, discloses(files, key), "nor is the key there")
			// What SECURITY.md says is readable all the same.
			for _, name := range []string{"held", "cancel me", "json"} {
				require.True(t, bytes.Contains(files, []byte(name)), name)
			}
			t.Logf("%d kinds of user data looked for in %d files, %d KiB", len(userData), n, len(files)>>10)
			m.base = memstore.New() // for the machine's cleanup
		})
	}
}

// loud is a sealer that panics with what it is given, while it is told to.
type loud struct {
	durable.Sealer
	on atomic.Bool
}

func (l *loud) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	if l.on.Load() {
		panic(string(plain))
	}
	return l.Sealer.Seal(dst, plain, p)
}

// TestNoSecretsInLogs does all that makes the engine log something, with secrets in
// whatever comes from the user or the outside.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	inBubble(t, "OfAMixedWorkload", func(t *testing.T) {
		book := new(logBook)
		m := newMachine(t)
		var ids []string
		disclose(m, durable.Options{Logger: book.logger()})

		errText := errors.New(secret("an error"))
		release := make(chan struct{})
		callbacks := durable.Define("callbacks", func(ctx *durable.Context, _ int) (int, error) {
			for _, name := range []string{"unseen", "passed on", "misfit", "open"} {
				if _, err := durable.CreateCallback[int](ctx, name); err != nil {
					return 0, err
				}
			}
			var failed error
			if cb, err := durable.CreateCallback[int](ctx, "failed"); err != nil {
				return 0, err
			} else if _, failed = cb.Await(ctx); failed == nil {
				return 0, errors.New("it was to fail")
			}
			// An error of the outside becomes one of a step that is retried.
			return 0, durable.Do(ctx, secretless, func(context.Context) error { return failed })
		})
		retries := durable.Define("retries", func(ctx *durable.Context, _ string) (int, error) {
			bad := durable.RetryPolicy{MaxAttempts: 3, Initial: time.Second, Retryable: func(error) bool { panic(secret("Retryable")) }}
			_ = durable.Do(ctx, "judged badly", func(context.Context) error { return errText }, durable.WithRetry(bad))
			durable.Go(ctx, "never awaited", func(ctx *durable.Context) (int, error) {
				return 0, durable.Do(ctx, "fails", func(context.Context) error { return durable.Permanent(errText) })
			})
			_, _ = durable.Step(ctx, "no codec", func(context.Context) (func(), error) { return nil, nil })
			_ = durable.Do(ctx, "deaf", func(context.Context) error { <-release; return errText }, durable.WithTimeout(time.Second))
			return 0, durable.Wait(ctx, "sleep", time.Minute)
		})
		stalls := durable.Define("stalls", func(ctx *durable.Context, _ string) (int, error) { <-release; panic(secret("handler")) })
		sealed := durable.Define("sealed", func(ctx *durable.Context, in string) (string, error) {
			return durable.Step(ctx, "s", func(context.Context) (string, error) { return in, nil })
		})
		sealer := &loud{Sealer: newGCM(t, 1)}
		b := m.open(durable.Options{ParkFor: -1, Sealer: sealer, Logger: book.logger(), Observer: &durable.Observer{
			Event: func(string, durable.Event) { panic(secret("observer")) },
		}}, callbacks, retries, stalls, sealed)
		c := start(b, callbacks, 0)
		for _, name := range []string{"unseen", "passed on", "misfit", "open", "failed"} {
			ids = append(ids, b.callback(c.ID(), name))
		}
		for _, id := range []string{ids[0], ids[4]} {
			require.NoError(t, b.engine.FailCallback(b.ctx, id, durable.Failure{Type: secret("type of a failure"), Message: secret("message")}))
		}
		require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[2], secret("misfit")))
		r, s := start(b, retries, secret("input")), start(b, stalls, secret("input"))
		time.Sleep(5 * time.Minute)
		close(release)
		b.cancel(r.ID())
		b.stop(s.ID())

		// Bad requests, and a request that fails for no fault of its own.
		h := durablehttp.Callbacks(b.engine, &durablehttp.Options{Logger: book.logger()})
		post := func(id, body string) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/callbacks/"+id+"/succeed", strings.NewReader(body)))
			require.False(t, discloses(w.Body.Bytes(), []byte("TOP-SECRET")))
			return w.Code
		}
		require.Equal(t, http.StatusNotFound, post(ids[3][:20]+secret("id"), "1"))
		require.Equal(t, http.StatusBadRequest, post(ids[3], secret("not JSON")))
		sealer.on.Store(true)
		require.Equal(t, http.StatusInternalServerError, post(ids[3], `"`+secret("payload")+`"`))
		_, err := sealed.Start(b.ctx, b.engine, secret("input"))
		require.Error(t, err)
		sealer.on.Store(false)
		start(b, sealed, secret("input"))
		sealer.on.Store(true)
		time.Sleep(time.Hour)
		sealer.on.Store(false)

		// A store in trouble.
		m.set(func() { m.onAppend = func(*checkpoint.Append) error { return errors.New("append: no") } })
		start(b, sealed, secret("input"))
		time.Sleep(time.Minute)
		m.set(func() { m.onAppend, m.onClaim = nil, func() error { return errors.New("claim: no") } })
		time.Sleep(time.Minute)
		m.set(func() { m.onAppend = func(*checkpoint.Append) error { return checkpoint.ErrFailed }; m.onClaim = nil })
		_, _ = sealed.Start(b.ctx, b.engine, secret("input"))
		time.Sleep(time.Minute)
		m.kill(b)

		for _, line := range []string{"execution held", "an attempt failed", "never awaited", "Retryable panicked", "an observer panicked", "a body goes on",
			"makes no progress", "a callback could not be completed", "checkpoint not written", "can't be asked", "the store failed"} {
			require.NotEmpty(t, book.lines(line), "the workload does not make the engine say %q", line)
		}
		words := map[string][]byte{"user data": []byte("TOP-SECRET"), "the store's secret": m.base.Secret()}
		for i, id := range ids {
			words[fmt.Sprintf("callback ID %d", i)] = []byte(id)
			words[fmt.Sprintf("half of callback ID %d", i)] = []byte(id[3:25]) // the MAC
		}
		for line := range strings.Lines(book.buf.String()) {
			for what, word := range words {
				require.False(t, discloses([]byte(line), word), "%s: %s", what, line)
			}
			require.Less(t, len(line), 2000)
			if strings.Contains(line, "msg=\"durable: ") && strings.Contains(line, "execution=") {
				require.Contains(t, line, "function=", "who looks for the lines of a function finds all")
			}
		}
		lines := strings.Count(book.buf.String(), "\n")

		for what, word := range words { // planted
			for _, leak := range []any{word, string(word), fmt.Sprintf("%x", word), errors.New(string(word)), struct{ B []byte }{word}} {
				planted := new(logBook)
				planted.logger().Info("leak", "x", leak)
				require.True(t, discloses(planted.buf.Bytes(), word), "%s as %T: %s", what, leak, planted.buf.String())
			}
		}
		t.Logf("%d log lines, %d words looked for in each, in %d forms", lines, len(words), len(disguises([]byte("x"))))
	})
}

// secretless is a name of an operation: names may be logged.
const secretless = "passes it on"
