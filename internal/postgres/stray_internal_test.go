package postgres

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// A cancelled statement of the caller's is the caller's to judge. One of the session's own was meant for the statement before.
func TestIsStray(t *testing.T) {
	t.Parallel()
	cancelled := &pgconn.PgError{Code: "57014"}
	require.True(t, isStray(&beginError{cancelled}))
	require.False(t, isStray(cancelled))
	require.False(t, isStray(&beginError{errors.New("another")}))
}
