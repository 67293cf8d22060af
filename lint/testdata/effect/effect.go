package effect

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"os/exec"

	"github.com/durable-go/durable"
)

func bad(ctx *durable.Context, db *sql.DB, client *http.Client, request *http.Request) {
	_, _ = http.Get("https://example.com")                    // want `http.Get in handler code: the handler runs again .*, and so would this; do it in a step's body.* \(effect\)`
	_, _ = client.Do(request)                                 // want `client.Do in handler code`
	_, _ = db.ExecContext(ctx.Context(), "DELETE FROM carts") // want `db.ExecContext in handler code`
	_ = os.Remove("cart")                                     // want `os.Remove in handler code`
	_ = exec.Command("make").Run()                            // want `exec.Command\("make"\).Run in handler code`
}

func good(ctx *durable.Context, db *sql.DB) {
	f, err := os.Open("table.csv") // to read what does not change
	if err == nil {
		defer f.Close()
	}
	_ = durable.Do(ctx, "clear", func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "DELETE FROM carts")
		return err
	})
	_, _ = http.NewRequest("GET", "https://example.com", nil)
}
