package pgstore

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// A server speaks the language of its lc_messages.
func TestRefusalInAnyLanguage(t *testing.T) {
	require.NotNil(t, refusal(&pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: uniqueViolation}))
	require.Nil(t, refusal(&pgconn.PgError{Severity: "SCHWERWIEGEND", SeverityUnlocalized: "FATAL", Code: "57P01"}))
	require.NotNil(t, refusal(&pgconn.PgError{Severity: "ERROR"}), "PgBouncer does not send the other one")
	require.Nil(t, refusal(&pgconn.PgError{Severity: "FATAL"}))
}
