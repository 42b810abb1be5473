// Package migrations holds the numbered SQL files of the schema "analytics", up and down, embedded in the binary. The
// files are also what sqlc checks the queries against. Package schema runs them.
package migrations

import "embed"

// FS has the files NNNN_name.up.sql and NNNN_name.down.sql.
//
//go:embed *.sql
var FS embed.FS
