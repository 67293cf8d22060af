package workflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// The external system that stage 2 waits for. In earnest it is another service,
// which gets the callback's ID in a request and answers over HTTP when it is
// done, in minutes or days. Here the program plays it (PlayExternalSystem), or you do.

// CallbackName is the name of the callback.
const CallbackName = "wait-for-external-callback"

// askExternalSystem is where the request is sent. There is nobody to send it to:
// the open callback is looked up by its name (Engine.CallbackID), which works in
// a process that was started after the request was sent, too.
func askExternalSystem(ctx context.Context, _ string) error {
	info, _ := durable.StepInfoFrom(ctx)
	info.Logger.Info("asked the external system for an answer") // never log the ID: who has it may answer
	return nil
}

// answerDelay is how long the external system takes to answer.
const answerDelay = time.Second

// Approval is what the external system answers.
type Approval struct {
	Approved   bool      `json:"approved"`
	ApprovedBy string    `json:"approvedBy"`
	ApprovedAt time.Time `json:"approvedAt"`
}

// PlayExternalSystem answers the callback of an execution.
func PlayExternalSystem(ctx context.Context, e *durable.Engine, executionID string) error {
	id, opened, err := OpenCallback(ctx, e, executionID)
	if id == "" || err != nil {
		return err
	}
	if err := work(ctx, time.Until(opened.Add(answerDelay))); err != nil {
		return err
	}
	err = e.SucceedCallback(ctx, id, Approval{Approved: true, ApprovedBy: "external-system", ApprovedAt: milliseconds(time.Now())})
	if errors.Is(err, durable.ErrCallbackCompleted) {
		return nil // somebody was quicker, by resume
	}
	return err
}

// OpenCallback waits until the callback of an execution is open and returns its
// ID and since when. It returns "" if nobody needs to answer any more.
func OpenCallback(ctx context.Context, e *durable.Engine, executionID string) (id string, since time.Time, err error) {
	if o, err := callbackOperation(ctx, e, executionID); err != nil || !o.EndedAt.IsZero() {
		return "", since, err
	}
	id, err = e.CallbackID(ctx, executionID, CallbackName)
	if errors.Is(err, durable.ErrCallbackNotFound) {
		return "", since, nil // the execution has ended
	} else if err != nil {
		return "", since, err
	}
	o, err := callbackOperation(ctx, e, executionID)
	return id, o.StartedAt, err
}

// callbackOperation is what the callback has become; zero if it is not there yet.
func callbackOperation(ctx context.Context, e *durable.Engine, executionID string) (durable.Operation, error) {
	ops, err := e.Operations(ctx, executionID)
	if err != nil {
		return durable.Operation{}, fmt.Errorf("look for the callback: %w", err)
	}
	for _, o := range ops {
		if o.Type == "CALLBACK" && o.Name == CallbackName {
			return o, nil
		}
	}
	return durable.Operation{}, nil
}
