package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"

	"github.com/durable-go/durable/durablehttp"
)

// password guards what customers have no business with. The name is not looked at: put
// people with names and rights of their own into authorize.
type password struct {
	digest [sha256.Size]byte
	hint   string // where the user finds it
}

const shortestPassword = 12 // bytes; those that programs come with are shorter

// newPassword takes the one that was configured, or makes one.
func newPassword(configured string) (*password, error) {
	switch {
	case configured == "":
		configured = rand.Text()
		return &password{sha256.Sum256([]byte(configured)), "user: admin  password: " + configured}, nil
	case len(configured) < shortestPassword:
		return nil, fmt.Errorf("ADMIN_PASSWORD has %d bytes: give it at least %d, or none, and one is made", len(configured), shortestPassword)
	}
	return &password{sha256.Sum256([]byte(configured)), "user: admin  password: $ADMIN_PASSWORD"}, nil
}

// authorize is for durablehttp.AdminOptions: who knows the password may do everything.
// Digests are compared, so that the time it takes tells nothing, not even the length.
func (p *password) authorize(r *http.Request, _ durablehttp.Access) error {
	_, given, _ := r.BasicAuth()
	digest := sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(digest[:], p.digest[:]) == 0 {
		return durablehttp.ErrUnauthenticated
	}
	return nil
}

// guard asks for the password before h. Browsers send it along with what pages of other
// sites ask for, which is refused.
func (p *password) guard(h http.Handler) http.Handler {
	h = http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.authorize(r, durablehttp.Steering) != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="durable"`)
			answer(w, http.StatusUnauthorized, "say who you are")
			return
		}
		h.ServeHTTP(w, r)
	})
}
