package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/jsonform"
)

// The result of an execution, for those who wait for it.

// ResultJSON waits like Execution.Result and returns the result as it is
// recorded; one that is not JSON is a string, base64 behind "base64:".
func (e *Engine) ResultJSON(ctx context.Context, id string) (json.RawMessage, error) {
	payload, _, err := e.result(ctx, id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(jsonform.Raw(payload)), nil
}

// result waits for the end of an execution.
func (e *Engine) result(ctx context.Context, id string) (payload []byte, codec string, err error) {
	if err := e.given(ctx); err != nil {
		return nil, "", err
	}
	if err := history.CheckID("execution ID", id); err != nil {
		return nil, "", err
	}
	defer e.givePlaceUp(ctx)()
	var s checkpoint.Summary
	var ended *invocation.Final
	told := false
	here := e.resident(id)
	err = e.until(ctx, e.results, id, func() (done bool, err error) {
		if here != nil { // who goes on asking the store, makes it slower
			running := false
			if ended, running = here.x.Final(); ended != nil || running {
				return ended != nil, nil
			}
		}
		open := e.whileOpen(ctx)
		defer open.left()
		if s, err = e.store.Get(open, id); err != nil {
			return false, e.lookup(id, err)
		}
		if isHeld(&s) && !told {
			told = true
			e.log.Warn("durable: waiting for the result of an execution that is held: Engine.Describe tells why; deploy code that fits what is recorded, or call Engine.Resume", "execution", id, "function", s.Function)
		}
		return s.Status != checkpoint.Running, nil
	})
	if err != nil {
		return nil, "", err
	}
	e.answering(id, ctx.Done())
	if ended != nil {
		if ended.Failure == nil {
			return ended.Payload, e.opts.Codec.Name(), nil
		}
		return nil, "", e.executionError(id, here.x.Summary().Function, ended.Failure)
	}
	final := s.Ended
	if err := e.openRecord(&final, s.Incarnation); err != nil {
		return nil, "", fmt.Errorf("durable: result of execution %s: %w", id, err)
	}
	if s.Status == checkpoint.Succeeded {
		return final.Payload, final.Codec, nil
	}
	failure, err := fault.Decode(final.Failure)
	if err != nil {
		return nil, "", err
	}
	return nil, "", e.executionError(id, s.Function, failure)
}

func (e *Engine) executionError(id, function string, failure *fault.Failure) error {
	return &OpError{Type: history.Execution.String(), ExecutionID: id, Name: function, Err: e.errs.rebuild(failure)}
}
