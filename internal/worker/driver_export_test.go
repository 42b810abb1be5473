package worker

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// Executor returns the executor that River sends its statements through.
func Executor(pool *pgxpool.Pool, patience time.Duration) riverdriver.Executor {
	return (&driver{Driver: riverpgxv5.New(pool), off: func() bool { return false }, patience: patience}).GetExecutor()
}
