package durableui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed page
var embedded embed.FS

// policy lets the page run and load only what this handler serves. Nothing may be
// made of text (Trusted Types), and nobody may frame it: its buttons act.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler returns the console: the page at /, its files below /assets/, and the API
// that it works with, a durablehttp.Admin handler, below /api/. All links are
// relative, so it can stand under any prefix:
//
//	mux.Handle("/console/", http.StripPrefix("/console", durableui.Handler(admin)))
//
// The page and its files hold nothing secret and are served to everybody who gets
// here; who may read and steer is decided by api alone. The files are in the
// program, and are named by their content, so that browsers keep them until they
// change.
func Handler(api http.Handler) http.Handler {
	if api == nil {
		panic("durableui: Handler(nil): give it a durablehttp.Admin")
	}
	c := load()
	api = http.StripPrefix("/api", api)
	// Not a mux, whose redirects would know nothing of the prefix.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "":
			redirectInside(w, r)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			api.ServeHTTP(w, r)
		default:
			c.serve(w, r)
		}
	})
}

// redirectInside leads from /console to /console/, where relative links work.
func redirectInside(w http.ResponseWriter, r *http.Request) {
	target := "./"
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil && path.Base(asked.Path) != "/" {
		target = (&url.URL{Path: "./" + path.Base(asked.Path) + "/", RawQuery: r.URL.RawQuery}).String()
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// types of the files, which a system's own tables may have wrong.
var types = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
}

// console is the page and its files, ready to be served.
type console struct {
	index []byte
	etag  string
	files map[string][]byte // by path: assets/DIGEST/name
}

// load makes the page: its files stand in a folder named by the digest of all of
// them, since they import each other by relative names.
func load() *console {
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	contents := make(map[string][]byte)
	digest := sha256.New()
	if err := fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(page, name)
		digest.Write([]byte(name + "\x00"))
		digest.Write(content)
		contents[name] = content
		return err
	}); err != nil {
		panic(err) // what is embedded can be read
	}
	folder := "assets/" + hex.EncodeToString(digest.Sum(nil)[:8])
	c := &console{files: make(map[string][]byte), etag: `"` + path.Base(folder) + `"`}
	c.index = bytes.ReplaceAll(contents["index.html"], []byte("ASSETS"), []byte(folder))
	delete(contents, "index.html")
	for name, content := range contents {
		c.files[folder+"/"+name] = content
	}
	return c
}

func (c *console) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	content, found := c.files[name]
	switch {
	case name == "":
		content = c.index
		h.Set("Cache-Control", "no-cache") // asked for each time, answered by 304
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Type", "text/html; charset=utf-8")
	case found:
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Type", types[path.Ext(name)])
	default:
		h.Set("Cache-Control", "no-store")
		http.Error(w, "no such page: the console is at its root", http.StatusNotFound)
		return
	}
	h.Set("ETag", c.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
