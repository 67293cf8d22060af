package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/durable-go/durable"
)

// answer is the outcome that resume gives a callback.
type answer struct {
	callbackID string
	payload    json.RawMessage
	failure    *durable.Failure // nil: it succeeded
}

// resume completes a callback.
func (p program) resume(ctx context.Context, db string, a answer) error {
	onFile := false
	err := withFile(ctx, db,
		func(e *durable.Engine) error { onFile = true; return a.deliver(ctx, e) },
		func(r running) error { onFile = false; return a.send(ctx, r) })
	if err != nil {
		return err
	}
	if !onFile {
		fmt.Fprintln(p.stdout, "Recorded: the running program goes on.")
		return nil
	}
	fmt.Fprintf(p.stdout, "Recorded in %s. Go on with\n\n    %s\n", db, runOptions{db: db, callback: callbackAuto}.commandLine())
	return nil
}

// deliver completes the callback on the file.
func (a answer) deliver(ctx context.Context, e *durable.Engine) error {
	if a.failure != nil {
		return e.FailCallback(ctx, a.callbackID, *a.failure)
	}
	return e.SucceedCallback(ctx, a.callbackID, a.payload)
}

// send completes the callback through the program that runs.
func (a answer) send(ctx context.Context, r running) error {
	path := "/callbacks/" + url.PathEscape(a.callbackID)
	if a.failure == nil {
		return r.ask(ctx, http.MethodPost, path+"/succeed", a.payload, nil)
	}
	body, err := json.Marshal(a.failure)
	if err != nil {
		return err
	}
	return r.ask(ctx, http.MethodPost, path+"/fail", body, nil)
}
