package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// parse makes Postgres parse a statement, and returns its message if it refuses the statement. It says nothing about rights, which may be granted later.
func parse(ctx context.Context, db *postgres.DB, sql string) (refusal string, err error) {
	err = db.ReadTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Prepare(ctx, "", sql)
		return err
	})
	switch code := postgres.Code(err); {
	case err == nil, code == pgerrcode.InsufficientPrivilege:
		return "", nil
	case pgerrcode.IsSyntaxErrororAccessRuleViolation(code), pgerrcode.IsDataException(code), pgerrcode.IsFeatureNotSupported(code), pgerrcode.IsProgramLimitExceeded(code):
		return refused(err).Error(), nil
	}
	return "", fmt.Errorf("check a definition: %w", err)
}

// compares checks that Postgres can compare the columns of a join.
func (m *maker) compares(before, joined Source, first, second Column) (fits bool, err error) {
	for _, c := range []Column{first, second} {
		if m.regtype(typmod.ReplaceAllString(c.Type, "")) == "" {
			return true, nil // That is another mistake.
		}
	}
	if a, b := before.collation(first), joined.collation(second); a != "" && b != "" && a != b {
		return false, nil
	}
	refusal, err := parse(m.ctx, m.target, fmt.Sprintf("SELECT FROM (SELECT CAST(NULL AS %s) AS a) AS x, (SELECT CAST(NULL AS %s) AS b) AS y WHERE x.a%sy.b",
		first.Type, second.Type, equal(second)))
	return refusal == "", err
}

// statement checks that Postgres accepts the view's SELECT. Mirrors do not exist yet, so empty rows stand in for them.
func (m *maker) statement() error {
	p := *m.plan
	p.Sources = slices.Clone(p.Sources)
	var with []string
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Mirror == "" {
			continue
		}
		needed := m.plan.Needed(i).Columns
		columns := make([]string, len(needed))
		for k, c := range needed {
			columns[k] = "CAST(NULL AS " + c.Type + ") AS " + quote(c.Name)
		}
		s.stands = fmt.Sprintf("_daymill_mirror_%d", i)
		with = append(with, s.stands+" AS (SELECT "+strings.Join(columns, ", ")+")")
	}
	sql := p.Select()
	if len(with) > 0 {
		sql = "WITH " + strings.Join(with, ", ") + "\n" + sql
	}
	refusal, err := parse(m.ctx, m.target, sql)
	if refusal != "" {
		m.wrongf(m.plan.Definition.Place, "Postgres refuses the SELECT of the view (%s): change the definition", refusal)
	}
	return err
}
