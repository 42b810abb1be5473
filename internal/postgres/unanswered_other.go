//go:build !linux

package postgres

import "github.com/jackc/pgx/v5"

// limited does nothing: only Linux has the option.
func limited(*pgx.ConnConfig) {}
