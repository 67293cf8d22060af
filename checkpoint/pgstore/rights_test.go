package pgstore_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestRights opens stores as a role that may make nothing, with the rights that
// docs/postgresql.md names.
func TestRights(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer does not know the role")
	}
	t.Parallel()
	schema := c.Schema()
	role := schema + "_app"
	quoted := pgx.Identifier{schema}.Sanitize()
	c.exec(t, fmt.Sprintf(`CREATE ROLE %s LOGIN`, pgx.Identifier{role}.Sanitize()))
	at, err := url.Parse(c.url)
	require.NoError(t, err)
	at.User = url.User(role)

	_, err = pgstore.Open(t.Context(), at.String(), &pgstore.Options{Schema: schema})
	require.ErrorContains(t, err, "this role may not make them: run what pgstore.SQL returns")

	c.exec(t, pgstore.SQL(schema))
	for _, right := range []string{"USAGE ON SCHEMA %s", "USAGE ON ALL SEQUENCES IN SCHEMA %s", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s"} {
		c.exec(t, fmt.Sprintf("GRANT "+right+" TO %s", quoted, pgx.Identifier{role}.Sanitize()))
	}
	for i, noMigrate := range []bool{true, false} {
		s := openAt(t, at.String(), schema, pgstore.Options{NoMigrate: noMigrate})
		id := fmt.Sprint("x", i)
		create(t, s, id, true)
		require.NoError(t, s.Disown(t.Context(), id, 1))
	}
}
