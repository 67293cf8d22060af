package durable

import (
	"context"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/invocation"
)

// TransactionalStep is Step with a body that works in a transaction of the store's own
// database: the step's record is committed with what fn has written, both or neither, so
// fn's writes are made exactly once. It is for packages that know the store and give the
// transaction its type, as pgstore/pgstep does: use those.
//
// A failed attempt is rolled back and recorded like one of Step; a commit that fails is a
// failed attempt. When nobody can own the execution here any more (the lease is lost, the
// execution was stopped, the context around the step has ended, its WithTimeout has
// passed), the transaction is rolled back even while fn runs. While a transaction commits,
// what other branches of the execution record waits for it.
//
// The store must be a checkpoint.Transactor when fn is to be called: on another one the
// step fails at once, and is not retried. Where fn is not called, any store does: on
// replay of an outcome, in Replay, and where an Interceptor stands in for fn, as the stubs
// of durabletest do.
//
// Options: those of Step, and WithTransaction.
func TransactionalStep[O any](ctx *Context, name string, fn func(ctx context.Context, tx any) (O, error), opts ...StepOption) (O, error) {
	var none O
	vs := ctx.v
	s := stepSettings(opts)
	t := new(invocation.Transaction)
	if vs.engine != nil {
		t.Store, _ = vs.engine.store.(checkpoint.Transactor)
	}
	if s.transaction != nil {
		t.Options, t.Snapshot = s.transaction.options, s.transaction.snapshot
	}
	s.Transaction = t
	codec := s.codec
	v, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (made encoded, err error) {
		if fn == nil {
			panic(errNoBody)
		}
		if t.Store == nil {
			return encoded{}, vs.noTransactions()
		}
		handle, err := t.Begin(c)
		if err != nil {
			return encoded{}, ofAttempt(err)
		}
		kept := false
		defer func() {
			if !kept {
				t.Rollback()
			}
		}()
		v, err := fn(c, handle)
		if err != nil {
			return encoded{}, err
		}
		value := new(decoded[O])
		payload, err := value.encode(vs, codec, v)
		kept = err == nil
		return encoded{payload, value}, err
	}, newDecoded[O])
	if err != nil {
		return none, err
	}
	return v.(*decoded[O]).value, nil
}

// TransactionOption is what WithTransaction returns.
type TransactionOption struct {
	options  any
	snapshot bool
}

// WithTransaction is an option of a TransactionalStep: options are given to the store.
// snapshot says that the transaction sees the database as it was when it began, and that
// it fails when what it writes has changed since: the step's start is durable before the
// body begins then, which costs one more flush, instead of being written meanwhile.
func WithTransaction(options any, snapshot bool) TransactionOption {
	return TransactionOption{options, snapshot}
}

func (o TransactionOption) applyStep(s *settings) { s.transaction = &o }

// noTransactions is the error of a store that has none.
func (v *values) noTransactions() error {
	var store checkpoint.Store
	if v.engine != nil {
		store = v.engine.store
	}
	return Permanent(fmt.Errorf("durable: the store can't append within a transaction: %T: open the engine on one that can, as checkpoint/pgstore, "+
		"or use durable.Step with writes that may be made twice; in a test, stub the step", store))
}

// ofAttempt is an error of Begin or Commit as that of an attempt.
func ofAttempt(err error) error {
	if errors.Is(err, checkpoint.ErrMisused) {
		return Permanent(err)
	}
	return err
}
