package durableseal_test

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/durableseal"
)

// Secrets come from where you keep secrets; `openssl rand -base64 32` makes one.
func ExampleNew() {
	os.Setenv("DURABLE_KEY_2026_07", "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=")
	os.Setenv("DURABLE_KEY_2026_01", "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=")
	key := func(id, variable string) durableseal.Key {
		secret, err := base64.StdEncoding.DecodeString(os.Getenv(variable))
		if err != nil {
			log.Fatalf("%s: %v", variable, err)
		}
		return durableseal.Key{ID: id, Secret: secret}
	}

	// Since July values are sealed with the second key; those of the first still open.
	sealer, err := durableseal.New(key("2026-07", "DURABLE_KEY_2026_07"), key("2026-01", "DURABLE_KEY_2026_01"))
	if err != nil {
		log.Fatal(err)
	}
	engine, err := durable.New(memstore.New(), &durable.Options{Sealer: sealer})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	fmt.Println("open")
	// Output: open
}
