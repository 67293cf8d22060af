package durable

import (
	"errors"
	"iter"
	"slices"

	"github.com/durable-go/durable/internal/history"
)

// Batch is the outcome of Parallel or Map: the items that were started, in the
// order of their index. Of a batch that was cancelled or timed out it is what had come
// of them by then.
type Batch[O any] struct {
	items  []BatchItem[O]
	reason BatchReason
}

// BatchItem is one item of a batch.
type BatchItem[O any] struct {
	Index  int
	Name   string
	Status ItemStatus
	Value  O     // if it succeeded
	Err    error // an *OpError if it failed
}

// ItemStatus is the status of a batch's item.
type ItemStatus string

// The statuses of items. ItemStarted is an item that was still running when the
// batch ended; it was cancelled.
const (
	ItemSucceeded ItemStatus = "SUCCEEDED"
	ItemFailed    ItemStatus = "FAILED"
	ItemStarted   ItemStatus = "STARTED"
)

// BatchReason says why a batch ended.
type BatchReason string

// The reasons, as in AWS durable functions: an exceeded tolerance comes before
// all others, and all completed before the minimum reached.
const (
	AllCompleted             BatchReason = history.AllCompleted
	MinSuccessfulReached     BatchReason = history.MinSuccessfulReached
	FailureToleranceExceeded BatchReason = history.FailureToleranceExceeded
)

// All yields the items that were started, in the order of their index.
func (b *Batch[O]) All() iter.Seq[BatchItem[O]] { return slices.Values(b.items) }

// Values returns the values of the items that succeeded, in order.
func (b *Batch[O]) Values() []O {
	values := make([]O, 0, len(b.items))
	for i := range b.items {
		if b.items[i].Status == ItemSucceeded {
			values = append(values, b.items[i].Value)
		}
	}
	return values
}

// Errors returns the errors of the items that failed, in order.
func (b *Batch[O]) Errors() []error {
	var errs []error
	for i := range b.items {
		if b.items[i].Status == ItemFailed {
			errs = append(errs, b.items[i].Err)
		}
	}
	return errs
}

// Err returns the errors of the items joined, nil if none failed.
func (b *Batch[O]) Err() error { return errors.Join(b.Errors()...) }

// Reason says why the batch ended; it is empty if a cancel or a timeout ended it, as the
// error beside the batch says.
func (b *Batch[O]) Reason() BatchReason { return b.reason }

// Status is ItemFailed if any item failed, else ItemSucceeded.
func (b *Batch[O]) Status() ItemStatus {
	if b.Failed() > 0 {
		return ItemFailed
	}
	return ItemSucceeded
}

// Succeeded counts the items that succeeded.
func (b *Batch[O]) Succeeded() int { return b.count(ItemSucceeded) }

// Failed counts the items that failed.
func (b *Batch[O]) Failed() int { return b.count(ItemFailed) }

// Len counts the items that were started.
func (b *Batch[O]) Len() int { return len(b.items) }

func (b *Batch[O]) count(status ItemStatus) (n int) {
	for i := range b.items {
		if b.items[i].Status == status {
			n++
		}
	}
	return n
}
