package durablehttp_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

// TestBackup makes a copy over HTTP of a file in use, and opens it.
func TestBackup(t *testing.T) {
	t.Parallel()
	functions := &durable.Options{Functions: []durable.Definition{buy, pay}}
	e, err := durable.Open(filepath.Join(t.TempDir(), "a.db"), functions)
	require.NoError(t, err)
	defer e.Close()
	x, err := pay.Start(t.Context(), e, purchase{Item: "cup"})
	require.NoError(t, err)
	want, err := x.Result(t.Context())
	require.NoError(t, err)
	server := httptest.NewServer(durablehttp.Admin(e, &durablehttp.AdminOptions{Authorize: allow}))
	defer server.Close()
	answer, err := http.Post(server.URL+"/store/backup", "", nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, "complete", answer.Trailer.Get("Durable-Backup"))
	copied := filepath.Join(t.TempDir(), "b.db")
	require.NoError(t, os.WriteFile(copied, data, 0o600))
	again, err := durable.Open(copied, functions)
	require.NoError(t, err)
	defer again.Close()
	got, err := pay.Attach(again, x.ID()).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// breaksOff is a store whose copy breaks off.
type breaksOff struct{ *memstore.Store }

func (breaksOff) Backup(_ context.Context, w io.Writer) (int64, error) {
	n, _ := w.Write(make([]byte, 1<<20))
	return int64(n), errors.New("disk on fire")
}

// TestBackupBreaksOff: who gets a part of a copy sees that it is one.
func TestBackupBreaksOff(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	e, err := durable.New(breaksOff{memstore.New()}, nil)
	require.NoError(t, err)
	defer e.Close()
	server := httptest.NewServer(durablehttp.Admin(e, &durablehttp.AdminOptions{Authorize: allow, Logger: slog.New(slog.NewTextHandler(log, nil))}))
	defer server.Close()
	answer, err := http.Post(server.URL+"/store/backup", "", nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	_, err = io.ReadAll(answer.Body)
	require.Error(t, err)
	require.Empty(t, answer.Trailer.Get("Durable-Backup"))
	require.Contains(t, log.String(), "disk on fire")
}

// TestBackupNeedsPayloads: whoever may not see payloads gets no copy of them.
func TestBackupNeedsPayloads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, &durablehttp.AdminOptions{Authorize: func(_ *http.Request, a durablehttp.Access) error {
		if a == durablehttp.Payloads {
			return errors.New("not you")
		}
		return nil
	}})
	require.Equal(t, http.StatusForbidden, d.do("POST", "/store/backup", "").Code)
}
