package durable

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/jsonform"
)

const (
	macBytes = 16
	// callbackPrefix keeps a callback ID from looking like a flag on a command line.
	callbackPrefix = "cb-"
)

// newExecutionID is the ID of an execution that is started without one.
func (e *Engine) newExecutionID(ctx context.Context) string {
	if e.identities == nil {
		return uuid.Must(uuid.NewV7()).String()
	}
	by := ""
	if info := invocation.InfoFrom(ctx); info != nil {
		by = info.IdempotencyKey()
	}
	return e.identities.ExecutionID(by)
}

func (e *Engine) newIncarnation(id string) (inc checkpoint.Incarnation) {
	if e.identities != nil {
		return e.identities.Incarnation(id)
	}
	rand.Read(inc[:]) // never fails
	return inc
}

// newUUID is what NewUUID draws as the operation o.
func (c *Context) newUUID(o *history.Operation) uuid.UUID {
	if c.v.engine == nil || c.v.engine.identities == nil {
		return uuid.New()
	}
	h := sha256.Sum256(slices.Concat([]byte("uuid"), c.in.Invocation().Summary().Incarnation[:], []byte(o.ID)))
	id := uuid.UUID(h[:16])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
	return id
}

// mac authenticates data of a kind under the store's secret.
func (e *Engine) mac(kind string, data []byte) []byte {
	h, _ := e.macs.Get().(hash.Hash)
	if h == nil {
		h = hmac.New(sha256.New, e.store.Secret())
	}
	defer e.macs.Put(h)
	h.Reset()
	io.WriteString(h, kind)
	h.Write([]byte{0})
	h.Write(data)
	return h.Sum(nil)[:macBytes]
}

// inputDigest tells whether two inputs are the same, without telling the input.
func (e *Engine) inputDigest(input []byte) []byte { return e.mac("input", jsonform.Compact(input)) }

// callbackID is the address of a callback and a MAC of it under the store's
// secret: not guessable, the same on every replay, and no index to keep.
func (e *Engine) callbackID(number uint64, inc checkpoint.Incarnation, operationID string) string {
	address := binary.AppendUvarint(nil, number)
	address = append(address, inc[:]...)
	address = append(address, operationID...)
	return callbackPrefix + base64.RawURLEncoding.EncodeToString(append(e.callbackMAC(address), address...))
}

func (e *Engine) callbackMAC(address []byte) []byte { return e.mac("callback", address) }

// maxCallbackID bounds what is decoded: an operation ID of 1 KiB is deeper than any.
const maxCallbackID = 1500

func (e *Engine) parseCallbackID(id string) (number uint64, inc checkpoint.Incarnation, operationID string, err error) {
	err = fmt.Errorf("%w: it is not a callback ID of this store", ErrCallbackNotFound)
	if len(id) > maxCallbackID {
		return
	}
	rest, ok := strings.CutPrefix(id, callbackPrefix)
	b, decodeErr := base64.RawURLEncoding.DecodeString(rest)
	if !ok || decodeErr != nil || len(b) < macBytes+1+len(inc)+1 {
		return
	}
	// One callback has one ID: the decoder passes over line breaks and unused bits,
	// and whoever compares IDs, or keeps them out of a log, should not have to.
	if base64.RawURLEncoding.EncodeToString(b) != rest {
		return
	}
	address := b[macBytes:]
	if !hmac.Equal(b[:macBytes], e.callbackMAC(address)) {
		return
	}
	number, n := binary.Uvarint(address)
	if n <= 0 || len(address) < n+len(inc) {
		return
	}
	copy(inc[:], address[n:])
	return number, inc, string(address[n+len(inc):]), nil
}
