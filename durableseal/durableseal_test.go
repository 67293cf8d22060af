package durableseal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durableseal"
)

// key is the key with that ID, of a secret that follows from it.
func key(id string) durableseal.Key {
	secret := []byte(strings.Repeat(id+"!", durableseal.SecretSize))[:durableseal.SecretSize]
	return durableseal.Key{ID: id, Secret: secret}
}

func sealer(t testing.TB, current string, older ...string) *durableseal.Sealer {
	t.Helper()
	var keys []durableseal.Key
	for _, id := range older {
		keys = append(keys, key(id))
	}
	s, err := durableseal.New(key(current), keys...)
	require.NoError(t, err)
	return s
}

// places differ from each other in as little as can be.
func places() (all []durable.Place) {
	for _, incarnation := range [][16]byte{{}, {1}, {15: 1}} {
		for _, operation := range []string{"", "1", "2", "1-1", "11"} {
			for _, kind := range []string{"", "input", "result", "batch", "failure"} {
				all = append(all, durable.Place{Incarnation: incarnation, OperationID: operation, Kind: kind})
			}
		}
	}
	// What one of them loses the other one gets.
	return append(all, durable.Place{OperationID: "1input"}, durable.Place{OperationID: "1i", Kind: "nput"}, durable.Place{Kind: "1input"})
}

// moves opens what was sealed for each place at every place: what opened elsewhere,
// and how often that was tried.
func moves(t *testing.T, s durable.Sealer) (accepted []string, moved int) {
	t.Helper()
	for _, from := range places() {
		sealed, err := s.Seal(nil, []byte("plain"), from)
		require.NoError(t, err)
		for _, to := range places() {
			plain, err := s.Open(nil, sealed, to)
			if from == to {
				require.NoError(t, err)
				require.Equal(t, "plain", string(plain))
				continue
			}
			moved++
			if !errors.Is(err, durableseal.ErrRefused) {
				accepted = append(accepted, fmt.Sprintf("from %v to %v: %v", from, to, err))
			}
		}
	}
	return accepted, moved
}

// forgetful binds values to less than their place.
type forgetful struct {
	durable.Sealer
	forget func(*durable.Place)
}

func (f forgetful) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	f.forget(&p)
	return f.Sealer.Seal(dst, plain, p)
}

func (f forgetful) Open(dst, sealed []byte, p durable.Place) ([]byte, error) {
	f.forget(&p)
	return f.Sealer.Open(dst, sealed, p)
}

func TestSeal(t *testing.T) {
	t.Parallel()
	s := sealer(t, "b", "a")

	t.Run("OpensWhereItWasSealedAndNowhereElse", func(t *testing.T) {
		t.Parallel()
		accepted, moved := moves(t, s)
		require.Empty(t, accepted)
		t.Logf("%d values moved to another place: all refused", moved)
	})

	t.Run("AMoveThatIsNotRefusedIsNoticed", func(t *testing.T) {
		t.Parallel()
		for name, forget := range map[string]func(*durable.Place){
			"Incarnation": func(p *durable.Place) { p.Incarnation = [16]byte{} },
			"OperationID": func(p *durable.Place) { p.OperationID = "" },
			"Kind":        func(p *durable.Place) { p.Kind = "" },
			"Border":      func(p *durable.Place) { p.OperationID, p.Kind = p.OperationID+p.Kind, "" },
		} {
			accepted, _ := moves(t, forgetful{s, forget})
			require.NotEmpty(t, accepted, name)
		}
	})

	t.Run("AppendsToWhatIsGiven", func(t *testing.T) {
		t.Parallel()
		for _, size := range []int{0, 1, 15, 16, 17, 1 << 20} {
			plain := bytes.Repeat([]byte("p"), size)
			sealed, err := s.Seal([]byte("front"), plain, durable.Place{Kind: "input"})
			require.NoError(t, err)
			require.Len(t, sealed, len("front")+30+len("b")+size, "as the docs say")
			require.NotContains(t, string(sealed), "pppppppppp") // fewer come by chance
			opened, err := s.Open([]byte("front"), sealed[len("front"):], durable.Place{Kind: "input"})
			require.NoError(t, err)
			require.Equal(t, "front"+string(plain), string(opened))
		}
	})

	t.Run("AnyChangeIsRefused", func(t *testing.T) {
		t.Parallel()
		place := durable.Place{OperationID: "1", Kind: "result"}
		sealed, err := s.Seal(nil, []byte("some plain text"), place)
		require.NoError(t, err)
		refused := 0
		refuse := func(b []byte, what string, args ...any) {
			refused++
			plain, err := s.Open(nil, b, place)
			require.Error(t, err, fmt.Sprintf(what, args...))
			require.Nil(t, plain)
			require.NotContains(t, err.Error(), "plain")
		}
		for bit := range 8 * len(sealed) {
			changed := bytes.Clone(sealed)
			changed[bit/8] ^= 1 << (bit % 8)
			refuse(changed, "bit %d", bit)
		}
		for n := range len(sealed) {
			refuse(sealed[:n], "the first %d bytes", n)
			refuse(sealed[n+1:], "the last bytes from %d", n+1)
		}
		refuse(append(bytes.Clone(sealed), 0), "a byte more")
		refuse(nil, "nothing")
		refuse([]byte("some plain text"), "never sealed")
		t.Logf("%d changes of a value: all refused", refused)
	})

	t.Run("TheSameIsSealedDifferentlyEachTime", func(t *testing.T) {
		t.Parallel()
		seen := make(map[string]bool)
		for range 1000 {
			sealed, err := s.Seal(nil, []byte("plain"), durable.Place{})
			require.NoError(t, err)
			seen[string(sealed)] = true
		}
		require.Len(t, seen, 1000)
	})

	t.Run("AnOlderValueOfTheSamePlaceOpens", func(t *testing.T) {
		t.Parallel()
		// What is not protected, and is said so in the docs: if that changes, they must.
		place := durable.Place{OperationID: "1", Kind: "result"}
		older, err := s.Seal(nil, []byte("first state"), place)
		require.NoError(t, err)
		_, err = s.Seal(nil, []byte("second state"), place)
		require.NoError(t, err)
		plain, err := s.Open(nil, older, place)
		require.NoError(t, err)
		require.Equal(t, "first state", string(plain))
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	place := durable.Place{OperationID: "1", Kind: "result"}

	t.Run("OlderOnesOpenAndTheCurrentOneSeals", func(t *testing.T) {
		t.Parallel()
		old, err := sealer(t, "a").Seal(nil, []byte("old"), place)
		require.NoError(t, err)
		both := sealer(t, "b", "c", "a")
		plain, err := both.Open(nil, old, place)
		require.NoError(t, err)
		require.Equal(t, "old", string(plain))

		sealed, err := both.Seal(nil, []byte("new"), place)
		require.NoError(t, err)
		plain, err = sealer(t, "b").Open(nil, sealed, place)
		require.NoError(t, err)
		require.Equal(t, "new", string(plain))
	})

	t.Run("AMissingOneIsNamed", func(t *testing.T) {
		t.Parallel()
		old, err := sealer(t, "2026-01").Seal(nil, []byte("old"), place)
		require.NoError(t, err)
		_, err = sealer(t, "b").Open(nil, old, place)
		var unknown *durableseal.UnknownKeyError
		require.ErrorAs(t, err, &unknown)
		require.Equal(t, "2026-01", unknown.KeyID)
		require.ErrorContains(t, err, `"2026-01"`)
		require.ErrorContains(t, err, "older key")
	})

	t.Run("AnotherSecretUnderTheSameIDIsRefused", func(t *testing.T) {
		t.Parallel()
		sealed, err := sealer(t, "a").Seal(nil, []byte("x"), place)
		require.NoError(t, err)
		other, err := durableseal.New(durableseal.Key{ID: "a", Secret: key("b").Secret})
		require.NoError(t, err)
		_, err = other.Open(nil, sealed, place)
		require.ErrorIs(t, err, durableseal.ErrRefused)
		require.ErrorContains(t, err, `key "a"`)
	})

	t.Run("TheIDIsPartOfWhatIsSealed", func(t *testing.T) {
		t.Parallel()
		// Two IDs of one secret: only the binding of the header tells them apart.
		s, err := durableseal.New(durableseal.Key{ID: "a", Secret: key("a").Secret}, durableseal.Key{ID: "b", Secret: key("a").Secret})
		require.NoError(t, err)
		sealed, err := s.Seal(nil, []byte("x"), place)
		require.NoError(t, err)
		sealed[2] = 'b'
		_, err = s.Open(nil, sealed, place)
		require.ErrorIs(t, err, durableseal.ErrRefused)
	})

	t.Run("BadOnesAreRefusedByName", func(t *testing.T) {
		t.Parallel()
		secret := key("a").Secret
		for name, c := range map[string]struct {
			key  durableseal.Key
			says string
		}{
			"NoID":        {durableseal.Key{Secret: secret}, "key ID"},
			"OddID":       {durableseal.Key{ID: "a b", Secret: secret}, "key ID"},
			"LongID":      {durableseal.Key{ID: strings.Repeat("a", 65), Secret: secret}, "key ID"},
			"NoSecret":    {durableseal.Key{ID: "x"}, `"x" has 0 bytes`},
			"ShortSecret": {durableseal.Key{ID: "x", Secret: secret[1:]}, `"x" has 31 bytes`},
			"ZeroSecret":  {durableseal.Key{ID: "x", Secret: make([]byte, 32)}, "repeated"},
			"Twice":       {key("a"), `two keys have the ID "a"`},
		} {
			_, err := durableseal.New(key("a"), c.key)
			require.ErrorContains(t, err, c.says, name)
			require.NotContains(t, err.Error(), string(secret), name)
		}
	})

	t.Run("AreCopied", func(t *testing.T) {
		t.Parallel()
		k := key("a")
		s, err := durableseal.New(k)
		require.NoError(t, err)
		clear(k.Secret)
		sealed, err := s.Seal(nil, []byte("x"), place)
		require.NoError(t, err)
		_, err = sealer(t, "a").Open(nil, sealed, place)
		require.NoError(t, err)
	})

	t.Run("DoNotPrintTheirSecret", func(t *testing.T) {
		t.Parallel()
		k := durableseal.Key{ID: "the-id", Secret: []byte("0123456789-secret-of-the-key-xyz")}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "keys", []durableseal.Key{k})
		inJSON, err := json.Marshal(k)
		require.NoError(t, err)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			fmt.Fprintf(&log, verb+verb+verb, k, &k, []durableseal.Key{k})
		}
		printed := log.String() + string(inJSON)
		require.Contains(t, printed, "the-id")
		for _, bad := range []string{"0123456789", fmt.Sprint(k.Secret[:4])[1:11], "MDEyMzQ1", "30313233", "0x30, 0x31"} {
			require.NotContains(t, printed, bad)
		}
	})
}

// FuzzOpen opens anything: no panic, and nothing opens that was not sealed.
func FuzzOpen(f *testing.F) {
	s := sealer(f, "b", "a")
	place := durable.Place{OperationID: "1", Kind: "result"}
	for _, plain := range []string{"", "x", `{"a":1}`} {
		sealed, err := s.Seal(nil, []byte(plain), place)
		require.NoError(f, err)
		f.Add(sealed, "1", "result")
		f.Add(sealed[:len(sealed)-1], "", "")
	}
	f.Add([]byte{1, 255, 'a'}, "", "")
	f.Add([]byte{2, 1, 'a'}, "", "")
	f.Add(append([]byte{1, 255}, make([]byte, 300)...), "", "") // the length, and two, is no byte
	f.Fuzz(func(t *testing.T, b []byte, operation, kind string) {
		place := durable.Place{OperationID: operation, Kind: kind}
		if plain, err := s.Open(nil, b, place); err == nil && !bytes.Contains([]byte("x"+`{"a":1}`), plain) {
			t.Errorf("opened: %q", plain)
		}
		sealed, err := s.Seal(nil, b, place)
		require.NoError(t, err)
		plain, err := s.Open(nil, sealed, place)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, plain))
	})
}

func BenchmarkSealer(b *testing.B) {
	s := sealer(b, "a")
	place := durable.Place{OperationID: "12-3", Kind: "result"}
	plain := bytes.Repeat([]byte("x"), 200)
	sealed, err := s.Seal(nil, plain, place)
	require.NoError(b, err)
	b.Run("Seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Seal(nil, plain, place)
		}
	})
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Open(nil, sealed, place)
		}
	})
}

// TestFingerprint tells sealers apart by what they open.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	same := func(a, b *durableseal.Sealer) bool { return a.Fingerprint() == b.Fingerprint() }
	require.True(t, same(sealer(t, "a", "b"), sealer(t, "b", "a")), "whichever seals")
	require.False(t, same(sealer(t, "a", "b"), sealer(t, "a")))
	require.False(t, same(sealer(t, "a"), sealer(t, "b")))
	key := durableseal.Key{ID: "a", Secret: bytes.Repeat([]byte("0123456789abcdef"), 2)}
	other, err := durableseal.New(key)
	require.NoError(t, err)
	require.False(t, same(sealer(t, "a"), other), "the ID names another secret")
	require.NotContains(t, other.Fingerprint(), "0123456789abcdef")
}
