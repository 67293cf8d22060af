package durablehttp_test

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durablehttp"
)

func ExampleCallbacks() {
	type approval struct{ By string }
	order := durable.Define("order", func(ctx *durable.Context, item string) (string, error) {
		a, err := durable.WaitForCallback[approval](ctx, "approval", func(context.Context, string) error {
			return nil // here the callback's ID goes out to whoever is to approve
		})
		return item + ", approved by " + a.By, err
	})
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{order}})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()

	// Mount the handler in the server you have.
	mux := http.NewServeMux()
	mux.Handle("/durable/", http.StripPrefix("/durable", durablehttp.Callbacks(engine, nil)))
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx := context.Background()
	x, err := order.Start(ctx, engine, "one teapot")
	if err != nil {
		log.Fatal(err)
	}

	// Somebody outside, who got the callback's ID, answers.
	id, err := engine.CallbackID(ctx, x.ID(), "approval")
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.Post(server.URL+"/durable/callbacks/"+id+"/succeed", "application/json", strings.NewReader(`{"By": "Ada"}`))
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Println(answer.Status)

	fmt.Println(x.Result(ctx))
	// Output:
	// 204 No Content
	// one teapot, approved by Ada <nil>
}

func ExampleAdmin() {
	greet := durable.DefinePlain("greet", func(_ context.Context, name string) (string, error) { return "Hello, " + name, nil })
	engine, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{greet}})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()

	// Who knows the token may steer, everybody else in the building may look.
	admin := durablehttp.Admin(engine, &durablehttp.AdminOptions{
		Authorize: func(r *http.Request, access durablehttp.Access) error {
			token := r.Header.Get("Authorization")
			if access == durablehttp.Reading || subtle.ConstantTimeCompare([]byte(token), []byte("Bearer opensesame")) == 1 {
				return nil
			}
			return durablehttp.ErrUnauthenticated
		},
		Challenge: "Bearer",
		Logger:    slog.New(slog.DiscardHandler),
	})
	mux := http.NewServeMux()
	mux.Handle("/admin/", http.StripPrefix("/admin", admin))
	server := httptest.NewServer(mux)
	defer server.Close()

	start, _ := http.NewRequest("POST", server.URL+"/admin/executions", strings.NewReader(`{"function": "greet", "input": "Ada", "id": "greet-1"}`))
	start.Header.Set("Content-Type", "application/json")
	for _, token := range []string{"", "Bearer opensesame"} {
		r := start.Clone(context.Background())
		r.Body, _ = start.GetBody()
		r.Header.Set("Authorization", token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		fmt.Println(answer.Status)
	}
	answer, err := http.Get(server.URL + "/admin/executions/greet-1/result?wait=10s")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	result, _ := io.ReadAll(answer.Body)
	fmt.Println(string(result))
	// Output:
	// 401 Unauthorized
	// 201 Created
	// "Hello, Ada"
}
