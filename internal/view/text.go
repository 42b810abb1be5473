package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// RefusedError is an error that the user can fix. Its text is a sentence that says how.
type RefusedError struct{ text string }

func (e *RefusedError) Error() string { return e.text }

func refusef(format string, arguments ...any) error {
	return &RefusedError{text: fmt.Sprintf(format, arguments...)}
}

// IsRefused reports whether an error is one that the user can fix: its text is for the user. Otherwise Daymill or a database has failed.
func IsRefused(err error) bool {
	_, refused := errors.AsType[*RefusedError](err)
	_, mistakes := errors.AsType[document.Mistakes](err)
	return refused || mistakes
}

// MaxKeys is the maximum number of keys of one refresh that is requested over HTTP.
const MaxKeys = 10_000

// ParseKeys parses root keys, from 1 to MaxKeys.
func ParseKeys(texts []string) ([][]string, error) {
	if len(texts) == 0 || len(texts) > MaxKeys {
		return nil, refusef("give from 1 to %d keys", MaxKeys)
	}
	keys := make([][]string, len(texts))
	for i, text := range texts {
		var err error
		if keys[i], err = ParseKey(text); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// ParseKey parses a root key: a value, or a JSON array of values if the key has several columns. A value may be a
// JSON string.
func ParseKey(text string) ([]string, error) {
	trimmed := strings.TrimSpace(text)
	var quoted string
	if strings.HasPrefix(trimmed, `"`) && json.Unmarshal([]byte(trimmed), &quoted) == nil {
		return []string{quoted}, nil
	}
	if !strings.HasPrefix(trimmed, "[") {
		return []string{text}, nil
	}
	decoder := json.NewDecoder(strings.NewReader(trimmed))
	decoder.UseNumber()
	var values []any
	if err := decoder.Decode(&values); err != nil {
		return nil, refusef("the key %s is not a JSON array: write it as [1, \"a\"]", text)
	}
	key := make([]string, len(values))
	for i, value := range values {
		key[i] = fmt.Sprint(value)
	}
	return key, nil
}

// SQL is all SQL of a view, for people.
type SQL struct {
	Table   string   `json:"table"`
	Indexes []string `json:"indexes"`
	Select  string   `json:"select"`
	// Refresh are the statements that refresh the rows of some keys, in one transaction.
	Refresh []string `json:"refresh"`
	// Touched are the statements that find the keys that a change affects, by table.
	Touched []Touched `json:"touched"`
}

// Touched is the statement that finds the keys that a change of a table affects.
type Touched struct {
	Table string `json:"table"`
	SQL   string `json:"sql"`
}

// SQL returns the SQL of the view's last table.
func (v View) SQL(ctx context.Context, on postgres.DBTX) (s SQL, err error) {
	versions, err := Versions(ctx, on, v.ID)
	if err != nil {
		return s, err
	}
	if len(versions) == 0 {
		return s, refusef("view %s has no definition: apply one", v.Name)
	}
	p := versions[len(versions)-1].Plan
	remove, insert := p.RefreshKeys(v.Name)
	s = SQL{Table: p.CreateTable(v.Name), Indexes: p.CreateIndexes(v.Name), Select: p.Select(), Refresh: []string{remove, insert}, Touched: []Touched{}}
	for i, t := range p.Definition.Tables {
		if i > 0 {
			s.Touched = append(s.Touched, Touched{Table: t.Alias(), SQL: p.Touched(i, v.Name, true, plan.Range{})})
		}
	}
	return s, nil
}
