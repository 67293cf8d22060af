package durableui_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durableui"
)

// mounted is the console under a prefix, over an API that tells what it was asked.
func mounted() http.Handler {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Method+" "+r.URL.RequestURI())
		w.WriteHeader(http.StatusTeapot)
	})
	mux := http.NewServeMux()
	mux.Handle("/ops/console/", http.StripPrefix("/ops/console", durableui.Handler(api)))
	mux.Handle("/bare", http.StripPrefix("/bare", durableui.Handler(api)))
	return mux
}

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var reference = regexp.MustCompile(`(?:href|src)="([^"#]+)"`)

func TestHandler(t *testing.T) {
	t.Parallel()
	h := mounted()

	t.Run("ServesThePage", func(t *testing.T) {
		t.Parallel()
		for _, target := range []string{"/ops/console/", "/ops/console/?execution=order-42&op=2-1"} {
			w := ask(h, "GET", target)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
			require.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			policy := w.Header().Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
				require.Contains(t, policy, part)
			}
			require.NotContains(t, policy, "unsafe")
		}
	})

	t.Run("ServesWhatThePageRefersTo", func(t *testing.T) {
		t.Parallel()
		page := ask(h, "GET", "/ops/console/").Body.String()
		found := reference.FindAllStringSubmatch(page, -1)
		require.Len(t, found, 4)
		for _, m := range found {
			require.Regexp(t, `^assets/[0-9a-f]{16}/[a-z]+\.(js|css|svg)$`, m[1], "not relative")
			w := ask(h, "GET", "/ops/console/"+m[1])
			require.Equal(t, http.StatusOK, w.Code, m[1])
			require.NotEmpty(t, w.Body.Len())
			require.Contains(t, w.Header().Get("Cache-Control"), "immutable")
			want := map[string]string{".js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}[m[1][len(m[1])-3:]]
			require.Equal(t, want, w.Header().Get("Content-Type"))
		}
	})

	t.Run("ServesEachModuleThatIsImported", func(t *testing.T) {
		t.Parallel()
		folder := regexp.MustCompile(`assets/[0-9a-f]+/`).FindString(ask(h, "GET", "/ops/console/").Body.String())
		imports := regexp.MustCompile(`from '\./([a-z]+\.js)'`)
		seen, queue := map[string]bool{}, []string{"main.js", "theme.js"}
		for len(queue) > 0 {
			name := queue[0]
			queue = queue[1:]
			if seen[name] {
				continue
			}
			seen[name] = true
			w := ask(h, "GET", "/ops/console/"+folder+name)
			require.Equal(t, http.StatusOK, w.Code, name)
			for _, m := range imports.FindAllStringSubmatch(w.Body.String(), -1) {
				queue = append(queue, m[1])
			}
		}
		require.NoError(t, fs.WalkDir(os.DirFS("page"), ".", func(name string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(name, ".js") {
				require.True(t, seen[name], "%s is imported nowhere", name)
			}
			return err
		}))
	})

	t.Run("KnowsWhatTheBrowserHas", func(t *testing.T) {
		t.Parallel()
		w := ask(h, "GET", "/ops/console/")
		require.NotEmpty(t, w.Header().Get("ETag"))
		again := ask(h, "GET", "/ops/console/", "If-None-Match", w.Header().Get("ETag"))
		require.Equal(t, http.StatusNotModified, again.Code)
		require.Zero(t, again.Body.Len())
		require.Equal(t, http.StatusOK, ask(h, "GET", "/ops/console/", "If-None-Match", `"other"`).Code)
		head := ask(h, "HEAD", "/ops/console/")
		require.Equal(t, http.StatusOK, head.Code)
		require.Zero(t, head.Body.Len())
	})

	t.Run("HandsTheAPIOn", func(t *testing.T) {
		t.Parallel()
		for target, want := range map[string]string{
			"/ops/console/api/executions?status=FAILED":    "GET /executions?status=FAILED",
			"/ops/console/api/executions/a:b/history":      "GET /executions/a:b/history",
			"/ops/console/api/executions/a%2Fb/result":     "GET /executions/a%2Fb/result",
			"/ops/console/api/executions/x/operations/2-1": "GET /executions/x/operations/2-1",
		} {
			w := ask(h, "GET", target)
			require.Equal(t, http.StatusTeapot, w.Code)
			require.Equal(t, want, w.Header().Get("X-Asked"))
			require.Empty(t, w.Header().Get("Content-Security-Policy"), "the headers of the API are its own")
		}
		require.Equal(t, "DELETE /executions/x", ask(h, "DELETE", "/ops/console/api/executions/x").Header().Get("X-Asked"))
	})

	t.Run("LeadsInside", func(t *testing.T) {
		t.Parallel()
		w := ask(h, "GET", "/bare?execution=order-42")
		require.Equal(t, http.StatusTemporaryRedirect, w.Code)
		require.Equal(t, "./bare/?execution=order-42", w.Header().Get("Location"), "relative: there may be a proxy with a prefix of its own")
	})

	t.Run("RefusesTheRest", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"nothing", "index.html", "api", "assets/", "assets/0000000000000000/main.js", "page/main.js"} {
			w := ask(h, "GET", "/ops/console/"+path)
			require.Equal(t, http.StatusNotFound, w.Code, path)
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		}
		post := ask(h, "POST", "/ops/console/")
		require.Equal(t, http.StatusMethodNotAllowed, post.Code)
		require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
	})
}

// TestPageIsSelfContained checks that the page refers to nothing elsewhere, and makes
// nothing of text, which the policy would refuse at a user's.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	foreign := regexp.MustCompile(`(https?:)?//[a-z0-9.-]+\.[a-z]+`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style|style="|\son[a-z]+="|@import|url\(`)
	require.True(t, forbidden.MatchString(`node.innerHTML = x`) && forbidden.MatchString(`<p onclick="x">`) && foreign.MatchString(`import 'https://cdn.example.com/x.js'`))
	files := 0
	require.NoError(t, fs.WalkDir(os.DirFS("page"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile("page/" + name)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")
		require.NotRegexp(t, foreign, text, name)
		require.NotRegexp(t, forbidden, text, name)
		return nil
	}))
	require.Greater(t, files, 10)
}
