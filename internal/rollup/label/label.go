// Package label gives entities the names and the links that the application has for them, for the pages. Nothing else knows them: they are
// read when a page is shown and stored nowhere.
package label

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

const (
	// readLimit is how long reading the names of a page may take.
	readLimit = 200 * time.Millisecond
	// longest is how many characters of a name are kept.
	longest = 200
	// placeholder is replaced by an id.
	placeholder = "{id}"
)

// errColumns is returned if the SELECT has other columns than an id and a name.
var errColumns = errors.New("the SELECT of --entity-label-sql must have two columns: the entity's id and its name")

// Source says where names and links come from. Either may be empty.
type Source struct {
	// SQL is a SELECT of ids and names, whose parameter $1 is the array of ids of one page.
	SQL string
	// URL is an address with {id} in it.
	URL string
}

// Check returns an error for the user if the source cannot work.
func (s Source) Check() error {
	if s.SQL != "" && !strings.Contains(s.SQL, "$1") {
		return errors.New("--entity-label-sql needs $1, the array of ids, as in SELECT id, name FROM app.products WHERE id = ANY($1)")
	}
	if s.URL == "" {
		return nil
	}
	const stand = "daymill-id"
	address, err := url.Parse(strings.ReplaceAll(s.URL, placeholder, stand))
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" || !strings.Contains(s.URL, placeholder) {
		return errors.New("--entity-url must be an http or https address with {id} in it, as in https://shop.example/products/{id}")
	}
	if address.User != nil || strings.Contains(address.Host, stand) {
		return errors.New("--entity-url may have {id} only in the path, the query and the fragment, and no user or password: " +
			"an id must not decide which server a link leads to")
	}
	return nil
}

// Link returns the application's address of an entity; empty if there is none.
func (s Source) Link(id string) string {
	if s.URL == "" || id == "." || id == ".." { // Browsers leave these out of a path, even if they are escaped.
		return ""
	}
	rest, fragment, hasFragment := strings.Cut(s.URL, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	link := strings.ReplaceAll(path, placeholder, url.PathEscape(id))
	if hasQuery {
		link += "?" + strings.ReplaceAll(query, placeholder, url.QueryEscape(id))
	}
	if hasFragment {
		link += "#" + strings.ReplaceAll(fragment, placeholder, url.PathEscape(id))
	}
	return link
}

// Names reads the names of entities in one statement: in a read-only transaction, with a time limit, and with the rights of the connection. Entities
// without a name are not in it.
func (s Source) Names(ctx context.Context, conn *postgres.DB, ids []string) (map[string]string, error) {
	if s.SQL == "" || len(ids) == 0 {
		return nil, nil //nolint:nilnil // There are none.
	}
	names := make(map[string]string, len(ids))
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	err := conn.ReadTx(ctx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"statement_timeout": fmt.Sprintf("%dms", readLimit.Milliseconds())}); err != nil {
			return err
		}
		// As text without a type, so that Postgres takes the array for one of whatever type the user's column has.
		rows, err := tx.Query(ctx, s.SQL, pgx.QueryExecModeExec, array(ids))
		if err != nil {
			return err
		}
		defer rows.Close()
		for read := 0; rows.Next() && read < 2*len(ids); read++ {
			values := rows.RawValues()
			if len(values) != 2 {
				return errColumns
			}
			id, name := string(values[0]), strings.TrimSpace(string(values[1]))
			if wanted[id] && name != "" {
				names[id] = shortened(name)
			}
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		if len(rows.FieldDescriptions()) != 2 { // Even if there are no rows.
			return errColumns
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the names of entities with --entity-label-sql: %w", err)
	}
	return names, nil
}

// array writes ids as an array of Postgres.
func array(ids []string) string {
	var text strings.Builder
	text.WriteByte('{')
	for i, id := range ids {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(id) + `"`)
	}
	text.WriteByte('}')
	return text.String()
}

func shortened(name string) string {
	if utf8.RuneCountInString(name) <= longest {
		return name
	}
	return string([]rune(name)[:longest-1]) + "…"
}
