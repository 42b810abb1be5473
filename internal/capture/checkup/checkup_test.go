package checkup_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/checkup"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestChecks: the doctor looks at every captured database whose URL it knows, and says which ones it does not know.
func TestChecks(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	other := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.orders (id integer PRIMARY KEY)")
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), "CREATE TABLE public.bare (id integer)")
	require.NoError(t, err)
	for name, tables := range map[string][]string{"app": {"public.orders"}, "crm": {"public.bare"}, "gone": {"public.bare"}, "off": {}, "unknown": {"public.bare"}} {
		require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
			c := stream.Config{Name: name, URL: "$" + strings.ToUpper(name) + "_URL", Tables: tables}
			return stream.Configure(t.Context(), tx, c, audit.Who{Via: audit.ViaCLI})
		}))
	}
	look := func(discreet bool) map[string]doctor.Level {
		config := doctor.Config{DB: db.DB, Clock: pace.SystemClock{}, PoolSize: 6, Discreet: discreet, Checks: checkup.Checks(
			func(ctx context.Context, name, variable string) (source *postgres.DB, known bool, err error) {
				switch variable {
				case "$CRM_URL":
					source, err = postgres.Open(ctx, postgres.Config{URL: other.URL})
				case "$GONE_URL":
					source, err = postgres.Open(ctx, postgres.Config{URL: "postgres://secret-host.invalid:1/none?connect_timeout=1"})
				default:
					return nil, false, nil
				}
				return source, true, err
			})}
		found := map[string]doctor.Level{}
		for _, f := range doctor.Examine(t.Context(), config) {
			if f.ID == "capture" {
				found[f.Sentence] = f.Level
			}
		}
		return found
	}
	found := look(true)
	require.Len(t, found, 5, found)
	for beginning, level := range map[string]doctor.Level{
		"changes are captured by triggers, which slow down writes: wal_level is ":                    doctor.Warning,
		"database crm: changes are captured by triggers, which slow down writes: wal_level is ":      doctor.Warning,
		"database crm: table public.bare is not captured: ":                                          doctor.Warning,
		"database gone cannot be read, so its changes cannot be captured: run daymill doctor":        doctor.Failure,
		"database unknown was not checked, because $UNKNOWN_URL is not set here: run daymill doctor": doctor.Note,
	} {
		var is doctor.Level
		for sentence, level := range found {
			if strings.HasPrefix(sentence, beginning) {
				is = level
			}
		}
		require.Equal(t, level, is, "%s\n%v", beginning, found)
	}
	names := 0
	for sentence := range look(false) {
		names += strings.Count(sentence, "secret-host.invalid")
	}
	require.Positive(t, names)
}
