// Package durableseal encrypts what executions record: a durable.Sealer of
// AES-256-GCM with key IDs, rotation of keys, and values that are bound to their
// place. Give it to durable.Options.Sealer.
//
// # What it gives
//
// Who has the store and not the key learns nothing of a value but its length. A
// value that was changed, cut, or moved to another execution, operation or kind is
// refused, and the execution is held.
//
// It does not hide which values there are, their names, times and sizes. It does not
// tell an older value of the same place and kind from the newest one: a state of a
// condition, or the failure of an attempt, can be put back by who can write the
// store; so can a whole older store. Nor does it make values that are not sealed
// unreadable: the engine reads those that were written before there was a sealer.
// SECURITY.md of the module has the whole list.
//
// # Rotation
//
// Give New the new key first and the older ones behind it. New values are sealed with
// the first; each value names its key and is opened with that one. Values are never
// sealed again, so an older key is needed until no execution is left that was started
// before the rotation: ended ones go with their retention, and
// durable.Engine.Executions with Query.StartedBefore lists what is left. If a
// key is missing, its executions are held, and their errors are an *UnknownKeyError;
// give the key back: a process that has it goes on with them by itself.
package durableseal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/durable-go/durable"
)

// SecretSize is the size of a key's secret in bytes.
const SecretSize = 32

// Key is a key of a Sealer. It prints as its ID.
type Key struct {
	// ID is written in front of each value that is sealed with the key, readable for
	// all: 1 to 64 of A-Z a-z 0-9 . _ : -. It must never name another secret later.
	ID string
	// Secret is SecretSize bytes of crypto/rand, not a password.
	Secret []byte `json:"-"`
}

func (k Key) String() string   { return "durableseal.Key(" + k.ID + ")" }
func (k Key) GoString() string { return k.String() }

// Sealer is a durable.Sealer. It is safe for concurrent use.
//
// Each execution has a key of its own: HKDF-SHA256 (its expanding half, as the secret
// is random already) of the secret and the execution's incarnation. A value gets a
// random nonce of 96 bits under it. So the bound of random nonces, 2³² values a key,
// is one of an execution, which no execution comes near, and there is none on how
// many executions a key may serve: no counting, and no need to rotate for
// that reason. Sealing or opening costs about 2 µs, and 30 bytes and the key's ID of
// space, a value.
type Sealer struct {
	current Key
	keys    map[string]Key
}

var (
	_ durable.Sealer        = (*Sealer)(nil)
	_ durable.Fingerprinted = (*Sealer)(nil)
)

// New returns a sealer that seals with current and opens what current or one of the
// older keys sealed. It copies the secrets. The error says which key is not one.
func New(current Key, older ...Key) (*Sealer, error) {
	s := &Sealer{keys: make(map[string]Key)}
	for _, k := range append([]Key{current}, older...) {
		if err := k.check(); err != nil {
			return nil, err
		}
		if _, twice := s.keys[k.ID]; twice {
			return nil, fmt.Errorf("durableseal: two keys have the ID %q: each secret needs an ID of its own", k.ID)
		}
		k.Secret = slices.Clone(k.Secret)
		s.keys[k.ID] = k
	}
	s.current = s.keys[current.ID]
	return s, nil
}

const maxKeyID = 64

func (k Key) check() error {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:-", r))
	}
	switch {
	case k.ID == "" || len(k.ID) > maxKeyID || strings.ContainsFunc(k.ID, odd):
		return fmt.Errorf("durableseal: the key ID %.80q must be 1 to %d of A-Z a-z 0-9 . _ : -", k.ID, maxKeyID)
	case len(k.Secret) != SecretSize:
		return fmt.Errorf("durableseal: the secret of key %q has %d bytes, it must have %d: take them from crypto/rand", k.ID, len(k.Secret), SecretSize)
	case len(slices.Compact(slices.Clone(k.Secret))) == 1:
		return fmt.Errorf("durableseal: the secret of key %q is one byte repeated: take it from crypto/rand", k.ID)
	}
	return nil
}

// A sealed value is
//
//	version (1 byte), length of the key ID (1 byte), key ID, nonce (12), ciphertext, tag (16)
//
// with what stands before the nonce, and the place, as associated data.
const version = 1

// Fingerprint is the same for sealers that open the same values: those with the same keys,
// in any order. Nothing about the secrets can be told from it.
func (s *Sealer) Fingerprint() string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(s.keys)) {
		check := hmac.New(sha256.New, s.keys[id].Secret)
		check.Write([]byte("durableseal fingerprint"))
		fmt.Fprintf(h, "%s %x\n", id, check.Sum(nil))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Seal seals plain with the current key.
func (s *Sealer) Seal(dst, plain []byte, place durable.Place) ([]byte, error) {
	aead, err := s.current.of(place)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	dst = append(append(dst, version, byte(len(s.current.ID))), s.current.ID...)
	return aead.Seal(dst, nil, plain, data(dst[start:], place)), nil
}

// Open opens a value. The error is an *UnknownKeyError, or matches ErrRefused.
func (s *Sealer) Open(dst, sealed []byte, place durable.Place) ([]byte, error) {
	if len(sealed) < 2 || len(sealed) < 2+int(sealed[1]) {
		return nil, fmt.Errorf("%w (it has %d bytes)", ErrRefused, len(sealed))
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("%w (its form is %d, this release knows %d: a newer one, or another sealer, may have written it)", ErrRefused, sealed[0], version)
	}
	end := 2 + int(sealed[1])
	header, rest := sealed[:end], sealed[end:]
	id := string(header[2:])
	key, ok := s.keys[id]
	if !ok {
		return nil, &UnknownKeyError{KeyID: id}
	}
	aead, err := key.of(place)
	if err != nil {
		return nil, err
	}
	if dst, err = aead.Open(dst, nil, rest, data(header, place)); err != nil {
		return nil, fmt.Errorf("%w (key %q)", ErrRefused, id)
	}
	return dst, nil
}

// of is the cipher of an execution under k. It draws the nonce, and puts it in front.
func (k Key) of(place durable.Place) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k.Secret, "durableseal 1\x00"+string(place.Incarnation[:]), SecretSize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// data is what a value is bound to. Lengths make it unambiguous.
func data(header []byte, p durable.Place) []byte {
	b := make([]byte, 0, 96+len(p.OperationID))
	b = append(append(b, header...), p.Incarnation[:]...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(p.OperationID))), p.OperationID...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(p.Kind))), p.Kind...)
}

// ErrRefused is in the error for a value that was not sealed for its place with a
// key of the sealer: it was damaged, changed or moved, or it was never sealed.
var ErrRefused = errors.New("durableseal: the value is not what was sealed for its place: it was changed or moved, or its key ID has another secret now")

// UnknownKeyError is the error for a value whose key the sealer has not.
type UnknownKeyError struct{ KeyID string }

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("durableseal: the value was sealed with the key %q, which the sealer has not: give it to New as an older key, and the executions that are held for it go on", e.KeyID)
}
