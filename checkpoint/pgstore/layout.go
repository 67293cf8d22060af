package pgstore

import (
	"crypto/sha256"
	"strings"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// layout is how long the keys of a store's tables are. It is chosen once, by the migration
// to the schema's version 3: tables that hold something, or that an older program has open,
// keep the long keys.
type layout int32

const (
	longKeys  layout = 1
	shortKeys layout = 2
)

// What short keys keep of the hashes of names. Of IDs, which anybody may choose, it is so
// much that nobody finds one that passes for another one. Names of functions are chosen by
// those who write them; executions of two that had the same key would only be passed over.
const (
	idBytes       = 15
	functionBytes = 7
	buildsBytes   = 16
)

// sql puts the key of an ID in the place of $ID.
func (l layout) sql(sql string) string {
	var pairs []string
	for _, column := range []string{"id", "e.id", "x.id", "u.id"} {
		key := "sha256(" + column + ")"
		if l == shortKeys {
			key = "substring(" + key + " FOR 15)"
		}
		pairs = append(pairs, "$ID("+column+")", key)
	}
	return strings.NewReplacer(pairs...).Replace(sql)
}

// idKey is the key of an ID.
func (l layout) idKey(id string) []byte {
	if l == shortKeys {
		return hash(id)[:idBytes]
	}
	return hash(id)
}

// queueKey is what the column queue holds: short, whatever the names are. Those of a function
// that builds hold begin with that of those that none does.
func (l layout) queueKey(q ledger.Queue) []byte {
	function := hash(q.Function)
	switch {
	case l == longKeys:
		return append(function[:16:16], hash(q.Builds)[:16]...)
	case q.Builds == "":
		return function[:functionBytes]
	default:
		return append(function[:functionBytes:functionBytes], hash(q.Builds)[:buildsBytes]...)
	}
}

// queueKeys are those of functions, as far as no build holds them.
func (l layout) queueKeys(functions []string) [][]byte {
	keys := make([][]byte, len(functions))
	for i, f := range functions {
		keys[i] = l.queueKey(ledger.Queue{Function: f})
	}
	return keys
}

func hash(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}
