package durableui_test

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
	"github.com/durable-go/durable/durableui"
)

// The console stands behind a password, beside the handlers of the service.
func Example() {
	greet := durable.DefinePlain("greet", func(_ context.Context, name string) (string, error) { return "Hello, " + name, nil })
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{greet}})
	if err != nil {
		panic(err)
	}
	defer engine.Close()

	const password = "correct horse" // from your configuration
	admin := durablehttp.Admin(engine, &durablehttp.AdminOptions{
		Authorize: func(r *http.Request, _ durablehttp.Access) error {
			_, given, _ := r.BasicAuth()
			if subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 0 {
				return durablehttp.ErrUnauthenticated // the browser asks for it
			}
			return nil
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/console/", http.StripPrefix("/console", durableui.Handler(admin)))

	for _, path := range []string{"/console/", "/console/api/executions"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(path, w.Code)
	}
	// Output:
	// /console/ 200
	// /console/api/executions 401
}
