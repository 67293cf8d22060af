package history

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

const (
	maxIDBytes = 128
	// InvokedPrefix is of the IDs of invoked executions.
	InvokedPrefix = "inv-"
)

// CompareIDs orders operation IDs as a reader would: 2 before 10, 2 before 2-1.
func CompareIDs(a, b string) int {
	for a != "" && b != "" {
		x, restA, _ := strings.Cut(a, "-")
		y, restB, _ := strings.Cut(b, "-")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// CheckName checks the name of an operation.
func CheckName(name string) error {
	if len(name) > maxNameBytes {
		return fmt.Errorf("%w: the name has %d bytes, the limit is %d", fault.ErrInvalidID, len(name), maxNameBytes)
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: the name is not printable", fault.ErrInvalidID)
	}
	return nil
}

const maxNameBytes = 256

// DerivedID is an ID that belongs to one operation of one incarnation.
func DerivedID(prefix string, inc checkpoint.Incarnation, operationID string) string {
	h := sha256.New()
	h.Write([]byte(prefix))
	h.Write(inc[:])
	h.Write([]byte(operationID))
	return prefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// CheckID checks an execution ID or a function name.
func CheckID(what, id string) error {
	if id == "" || len(id) > maxIDBytes {
		return fmt.Errorf("%w: %s %q: it has %d bytes, it must have 1 to %d", fault.ErrInvalidID, what, Truncated(id), len(id), maxIDBytes)
	}
	for i := range len(id) {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:-", c) >= 0 {
			continue
		}
		return fmt.Errorf("%w: %s %q: only A-Z a-z 0-9 . _ : - are allowed", fault.ErrInvalidID, what, Truncated(id))
	}
	return nil
}

// CheckNewID checks the ID of an execution that is to be made. What is stored under an ID
// that was allowed once can still be read and deleted.
func CheckNewID(id string) error {
	if id == "." || id == ".." {
		return fmt.Errorf("%w: execution ID %q: what reads URLs takes it out of their path: use another one", fault.ErrInvalidID, id)
	}
	return CheckID("execution ID", id)
}

// Truncated is an ID, or a name, for the text of an error.
func Truncated(s string) string {
	if len(s) > maxIDBytes {
		return s[:maxIDBytes] + "…"
	}
	return s
}
