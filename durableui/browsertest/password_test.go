package browsertest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durablehttp"
)

// TestPasswordInTheAddress opens the console with the name and password of basic auth
// in its address, as people do from scripts and bookmarks.
func TestPasswordInTheAddress(t *testing.T) {
	s := serve(t, durablehttp.AdminOptions{})
	s.start(t, "greet", `"x"`, "greet-1")
	s.ends(t, "greet-1")
	target, err := url.Parse(s.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		guard.CloseClientConnections()
		guard.Close()
	})
	p := open(t, strings.Replace(guard.URL, "http://", "http://admin:secret@", 1)+target.Path, 1000, 700)
	p.sees("tbody", "greet-1")
}
