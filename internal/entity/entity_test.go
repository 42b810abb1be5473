package entity_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// texts are ids of a type that are easy to sort wrongly.
func texts(t entity.Type) []string {
	switch t {
	case entity.Bigint:
		all := []int64{math.MinInt64, math.MinInt64 + 1, -256, -255, -1, 0, 1, 9, 10, 255, 256, 1 << 32, math.MaxInt64}
		return strings.Split(strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ","), "[]"), ",")
	case entity.UUID:
		all := []string{uuid.Nil.String(), uuid.Max.String(), "7fffffff-ffff-ffff-ffff-ffffffffffff", "80000000-0000-0000-0000-000000000000"}
		for i := range 20 {
			all = append(all, uuid.NewSHA1(uuid.Nil, []byte{byte(i)}).String())
		}
		return all
	case entity.Text:
		return []string{"", " ", "a", "A", "aa", "a b", "Z", "é", "e\u0301", "ß", "ss", "\u65e5\u672c", "😀", "\ufffd", "10", "9", "a\tb", "a\nb", `'";--`, "\x01", "\x7f"}
	default:
		return nil
	}
}

// The order of ids in Go is the order of their values in Postgres, and a round trip does not change them.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, entityType := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
		t.Run(string(entityType), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t, pgtest.Installed{EntityType: entityType, TimeZone: "UTC"})
			want := make([]entity.ID, 0, len(texts(entityType)))
			for _, text := range texts(entityType) {
				id, err := entityType.Parse(text)
				require.NoError(t, err)
				require.Equal(t, text, entityType.Format(id))
				want = append(want, id)
			}
			slices.SortFunc(want, func(a, b entity.ID) int { return strings.Compare(string(a), string(b)) })

			rows, err := db.Query(t.Context(), `SELECT s.id FROM (
				SELECT x::analytics.entity_id AS id FROM unnest($1::text[]) AS x) AS s ORDER BY s.id`, texts(entityType))
			require.NoError(t, err)
			defer rows.Close()
			var got []entity.ID
			for rows.Next() {
				var id entity.ID
				require.NoError(t, rows.Scan(&id))
				got = append(got, id)
			}
			require.NoError(t, rows.Err())
			require.Equal(t, want, got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for entityType, text := range map[entity.Type]string{
		entity.Bigint: "9223372036854775808",
		entity.Text:   "\xff",
		entity.UUID:   "not a uuid " + strings.Repeat("x", 10_000),
	} {
		_, err := entityType.Parse(text)
		require.Error(t, err)
		require.Less(t, len(err.Error()), 200, "a hostile id should not fill a log line")
	}
	_, err := entity.ParseType("serial")
	require.ErrorIs(t, err, entity.ErrType)
}
