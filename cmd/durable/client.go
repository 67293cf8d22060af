package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/durable-go/durable"
)

// client speaks to an admin API.
type client struct {
	base   string
	http   *http.Client
	user   *url.Userinfo
	token  string
	about  string          // where that is, for messages
	engine *durable.Engine // when it is in this process
	end    func() error
}

func (c *client) close() error {
	if c.end == nil {
		return nil
	}
	return c.end()
}

// execution is an execution as the API tells it.
type execution struct {
	durable.ExecutionInfo
	Unreadable bool `json:"unreadable,omitempty"`
}

// get decodes the answer to a GET into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	answer, err := c.send(ctx, "GET", path, query, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return c.broken(err)
	}
	return nil
}

// post sends in as JSON; nil is no body, json.RawMessage goes as it is. It decodes the
// answer into out, which may be nil.
func (c *client) post(ctx context.Context, path string, in, out any) error {
	return c.postTo(ctx, path, nil, in, out)
}

// postTo is post with a query.
func (c *client) postTo(ctx context.Context, path string, query url.Values, in, out any) error {
	var data []byte
	if in != nil {
		var err error
		if data, err = json.Marshal(in); err != nil {
			return err
		}
	}
	answer, err := c.send(ctx, "POST", path, query, data)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return c.broken(err)
	}
	return nil
}

func (c *client) delete(ctx context.Context, path string) error {
	answer, err := c.send(ctx, "DELETE", path, nil, nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// send sends a request and returns the answer if it is a success.
func (c *client) send(ctx context.Context, method, path string, query url.Values, data []byte) (*http.Response, error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	switch password, _ := c.user.Password(); {
	case c.user != nil:
		r.SetBasicAuth(c.user.Username(), password)
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.broken(err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, c.refusal(answer, path)
}

// broken is an error of the connection.
func (c *client) broken(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address, which is not always one that people know
	}
	return &codedError{exitUnreachable, fmt.Errorf("%s: %w", c.about, err)}
}

// apiError is an answer that is not a success.
type apiError struct {
	status  int
	Text    string                     `json:"error"`
	Code    string                     `json:"code"`
	Failure *durable.Failure           `json:"failure"`
	Dropped []durable.DroppedOperation `json:"dropped"` // would_drop
	Retry   string                     `json:"retry"`   // invoked
}

func (e *apiError) Error() string { return e.Text }

// refusal is the error of an answer that is not a success, to a request for path.
func (c *client) refusal(answer *http.Response, path string) error {
	e := &apiError{status: answer.StatusCode}
	data, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if json.Unmarshal(data, e) != nil || e.Text == "" {
		return &codedError{exitUnreachable, fmt.Errorf("%s answers %s: is it a durablehttp.Admin?", c.about, answer.Status)}
	}
	switch {
	case e.Code == "execution_not_found":
		e.Text += " in " + c.about
	case e.Code == "would_drop":
		e.Text = wouldDrop(e.Dropped) + ": give --drop if that may be forgotten; if it undid what others did, see durable run restart --from … --new-keys"
	case e.Code == "invoked":
		e.Text = "it was invoked, and nobody would take the result of another one: durable run retry " + e.Retry + " keeps what this one has finished"
	case e.status == http.StatusUnauthorized:
		e.Text += ": a name and a password go into the URL of --addr, a token into $DURABLE_TOKEN"
	}
	if below, ok := strings.CutPrefix(path, "/executions/"); ok && e.Failure == nil {
		id, _, _ := strings.Cut(below, "/")
		if id, err := url.PathUnescape(id); err == nil {
			e.Text = id + ": " + e.Text
		}
	}
	return &codedError{e.exitCode(), e}
}

func (e *apiError) exitCode() int {
	switch {
	case e.Code == "execution_failed":
		return exitFailed
	case e.Code == "damaged":
		return exitDamaged
	case e.status == http.StatusNotFound:
		return exitNotFound
	case e.status == http.StatusConflict:
		return exitConflict
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return exitDenied
	case e.status == http.StatusBadRequest, e.status == http.StatusRequestEntityTooLarge:
		return exitUsage
	case e.status == http.StatusServiceUnavailable:
		return exitUnreachable
	}
	return exitError
}

// executionPath is the path of an execution, and of what is below it.
func executionPath(id string, below ...string) string {
	path := "/executions/" + url.PathEscape(id)
	if id == "." || id == ".." { // from when they could be made; a dot in plain would be taken out of the path
		path = "/executions/" + strings.ReplaceAll(id, ".", "%2E")
	}
	for _, b := range below {
		path += "/" + url.PathEscape(b)
	}
	return path
}

// events yields the server-sent events of a path until it ends: their name and data.
// It connects once; who reads for long connects again.
func (c *client) events(ctx context.Context, path string, query url.Values, yield func(name string, data []byte) error) error {
	answer, err := c.send(ctx, "GET", path, query, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	name, data := "", []byte(nil)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return c.broken(err)
		}
		field, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			name = value
		case field == "data":
			data = append(data, value...)
		case field == "" && value == "" && name != "":
			if err := yield(name, data); err != nil {
				return err
			}
			name, data = "", nil
		}
	}
}
