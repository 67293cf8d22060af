package durablehttp_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/durablehttp"
)

func TestListenBeside(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		_, err := durablehttp.ListenBeside(filepath.Join(t.TempDir(), "orders.db"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	listen := func(t *testing.T, path string) net.Listener {
		l, err := durablehttp.ListenBeside(path)
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return l
	}
	requireAnswers := func(t *testing.T, l net.Listener, path string) {
		t.Helper()
		accepted := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				err = conn.Close()
			}
			accepted <- err
		}()
		conn, err := durablehttp.DialBeside(t.Context(), path)
		require.NoError(t, err)
		conn.Close()
		require.NoError(t, <-accepted)
	}
	names := func(dir string) (names []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}

	t.Run("IsTheOwnersOnly", func(t *testing.T) {
		dir := t.TempDir()
		l := listen(t, filepath.Join(dir, "orders.db"))
		info, err := os.Stat(filepath.Join(dir, "orders.db.sock"))
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o600, info.Mode())
		require.Equal(t, filepath.Join(dir, "orders.db.sock"), l.Addr().String())
		requireAnswers(t, l, filepath.Join(dir, "orders.db"))
		require.Equal(t, []string{"orders.db.sock"}, names(dir))
		require.NoError(t, l.Close())
		require.Empty(t, names(dir))
		_, err = durablehttp.DialBeside(t.Context(), filepath.Join(dir, "orders.db"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("IsNotReplacedWhileSomebodyAnswers", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "orders.db")
		l := listen(t, path)
		_, err := durablehttp.ListenBeside(path)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, path+".sock")
		requireAnswers(t, l, path)
	})
	t.Run("ReplacesOneThatWasLeft", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "orders.db")
		left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + ".sock", Net: "unix"})
		require.NoError(t, err)
		left.SetUnlinkOnClose(false)
		require.NoError(t, left.Close())
		_, err = durablehttp.DialBeside(t.Context(), path)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		requireAnswers(t, listen(t, path), path)
	})
	t.Run("ReplacesNothingElse", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "orders.db")
		require.NoError(t, os.WriteFile(path+".sock", []byte("precious"), 0o600))
		_, err := durablehttp.ListenBeside(path)
		require.ErrorContains(t, err, "something else")
		data, err := os.ReadFile(path + ".sock")
		require.NoError(t, err)
		require.Equal(t, "precious", string(data))
	})
	t.Run("RemovesOnlyItself", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "orders.db")
		first := listen(t, path)
		require.NoError(t, os.Remove(path+".sock"))
		second := listen(t, path)
		require.NoError(t, first.Close())
		requireAnswers(t, second, path)
	})
	t.Run("WhereThereIsNoFolder", func(t *testing.T) {
		_, err := durablehttp.ListenBeside(filepath.Join(t.TempDir(), "none", "orders.db"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	for name, path := range map[string]string{
		"LongFolder": filepath.Join(strings.Repeat("f", 200), strings.Repeat("g", 200), "orders.db"),
		"LongName":   strings.Repeat("n", 240),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			if runtime.GOOS != "linux" {
				_, err := durablehttp.ListenBeside(path)
				require.ErrorContains(t, err, "shorter path")
				return
			}
			l := listen(t, path)
			requireAnswers(t, l, path)
			_, err := durablehttp.ListenBeside(path)
			require.ErrorIs(t, err, syscall.EADDRINUSE)
			require.NoError(t, l.Close())
			require.Empty(t, names(filepath.Dir(path)))
		})
	}
}

// besideEnv makes this program serve a store beside its file, until it is killed.
const besideEnv = "DURABLEHTTP_SERVE_BESIDE"

func TestMain(m *testing.M) {
	if path := os.Getenv(besideEnv); path != "" {
		serveBesideForever(path)
	}
	os.Exit(m.Run())
}

func serveBesideForever(path string) {
	engine, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{buy, pay}})
	if err == nil {
		_, err = buy.Start(context.Background(), engine, purchase{Item: "teapot"}, durable.WithExecutionID("order-1"))
	}
	if err == nil {
		_, err = engine.CallbackID(context.Background(), "order-1", "approval")
	}
	if err != nil {
		panic(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- durablehttp.ServeBeside(context.Background(), engine, path, nil) }()
	untilServed(path, failed)
	os.Stdout.WriteString("serving\n")
	select {}
}

// untilServed returns when somebody listens beside path.
func untilServed(path string, failed <-chan error) {
	for {
		select {
		case err := <-failed:
			panic(err)
		default:
		}
		if conn, err := durablehttp.DialBeside(context.Background(), path); err == nil {
			conn.Close()
			return
		}
		runtime.Gosched()
	}
}

// besideClient asks the socket beside path.
func besideClient(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return durablehttp.DialBeside(ctx, path) }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestServeBeside looks into a file that another process has open, kills that process,
// and serves the same file itself.
func TestServeBeside(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no such sockets on Windows")
	}
	path := filepath.Join(t.TempDir(), "orders.db")
	executable, err := os.Executable()
	require.NoError(t, err)
	other := exec.CommandContext(t.Context(), executable)
	other.Env = append(os.Environ(), besideEnv+"="+path)
	other.Stderr = os.Stderr
	out, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "serving\n", line)

	_, err = boltstore.Open(path, nil)
	require.ErrorIs(t, err, durable.ErrLocked)
	client := besideClient(t, path)
	get := func(url string) (int, string) {
		answer, err := client.Get(url)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(body)
	}
	status, body := get("http://durable/executions/order-1")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"teapot"`)

	require.NoError(t, other.Process.Kill())
	other.Wait()
	_, err = durablehttp.DialBeside(t.Context(), path)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	engine, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{buy, pay}})
	require.NoError(t, err)
	defer engine.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- durablehttp.ServeBeside(ctx, engine, path, nil) }()
	untilServed(path, ended)
	answer, err := client.Post("http://durable/executions/order-1/callbacks/approval/succeed", "application/json", strings.NewReader(`"Ada"`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNoContent, answer.StatusCode)
	status, body = get("http://durable/executions/order-1/result?wait=1m")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `"teapot approved by Ada"`, body)

	// A stream is open when it ends.
	answer, err = client.Get("http://durable/events")
	require.NoError(t, err)
	cancel()
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.NoError(t, <-ended)
	_, err = os.Lstat(path + ".sock")
	require.ErrorIs(t, err, os.ErrNotExist)
}
