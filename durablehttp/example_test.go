package durablehttp_test

import (
	"context"
	"fmt"
	"log"
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
