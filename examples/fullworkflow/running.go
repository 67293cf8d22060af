package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// running is the program that has the file open, as reached by its loopback.
type running struct{ base string }

// refusal is what the loopback answers when it does not do what it was asked.
type refusal struct {
	Error string `json:"error"`
}

const (
	// lockPatience is how long a locked file may stay without a program that
	// answers: it is starting, or ending.
	lockPatience = 2 * time.Second
	lockRetry    = 50 * time.Millisecond
)

// withFile does something with a file: on the file itself if nobody runs on it,
// else through the program that does.
func withFile(ctx context.Context, db string, onFile func(*durable.Engine) error, through func(running) error) error {
	if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s: name the one that the program ran on with -db", db)
	}
	for deadline := time.Now().Add(lockPatience); ; {
		err := openFile(ctx, db, onFile)
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		if address, readErr := os.ReadFile(addressFile(db)); readErr == nil {
			err := through(running{strings.TrimSpace(string(address))})
			if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
				return err
			}
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// openFile opens an engine that has no functions: it runs nothing, but takes
// callbacks and tells histories.
func openFile(ctx context.Context, db string, use func(*durable.Engine) error) error {
	e, err := durable.Open(db, nil)
	if err != nil {
		return err
	}
	err = use(e)
	return errors.Join(err, e.Shutdown(context.WithoutCancel(ctx)))
}

// ask sends a request and decodes the answer into out, which may be nil.
func (r running) ask(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) {
			return dial // without the address, which is a secret
		}
		return errors.New("the running program does not answer")
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("the running program broke off: %w", err)
	}
	if response.StatusCode >= 300 {
		var no refusal
		if json.Unmarshal(data, &no) != nil || no.Error == "" {
			return fmt.Errorf("the running program answers %s", response.Status)
		}
		return errors.New(no.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
