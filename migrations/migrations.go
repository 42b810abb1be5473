// Package migrations holds the numbered SQL files of the schema "analytics", up and down, embedded in the binary. The
// files are also what sqlc checks the queries against. Package schema runs them.
package migrations

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// FS has the files NNNN_name.up.sql and NNNN_name.down.sql.
//
//go:embed *.sql
var FS embed.FS

// Digest tells one set of migrations from another: it covers the names and texts of all files up.
func Digest() (string, error) {
	names, err := fs.Glob(FS, "*.up.sql") // in order
	if err != nil {
		return "", fmt.Errorf("list migrations: %w", err)
	}
	sum := sha256.New()
	for _, name := range names {
		text, err := FS.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read migration: %w", err)
		}
		fmt.Fprintf(sum, "%s\n%d\n%s\n", name, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
