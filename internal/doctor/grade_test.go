package doctor

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestGrade checks findings that no server here can be made to have.
func TestGrade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grade func(e *Examination)
		level Level
	}{
		"AgeFailure":         {func(e *Examination) { e.gradeAge(1_900_000_000) }, Failure},
		"AgeOK":              {func(e *Examination) { e.gradeAge(300_000_000) }, OK},
		"AgeWarning":         {func(e *Examination) { e.gradeAge(1_100_000_000) }, Warning},
		"TransactionTimeout": {func(e *Examination) { e.gradeTimeout("transaction_timeout", 5*time.Second) }, Warning},
		"VersionNew":         {func(e *Examination) { e.gradeVersion(19, "19beta1") }, Note},
		"VersionNewest":      {func(e *Examination) { e.gradeVersion(18, "18.1") }, OK},
		"VersionOld":         {func(e *Examination) { e.gradeVersion(13, "13.9") }, Failure},
		"VersionOldest":      {func(e *Examination) { e.gradeVersion(14, "14.0") }, OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &Examination{}
			c.grade(e)
			require.Len(t, e.findings, 1)
			require.Equal(t, c.level, e.findings[0].Level)
		})
	}
}

func TestTimeZoneDiffers(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{TimeZone: "Europe/London"})
	e := &Examination{Config: Config{DB: db.DB}, Installation: db.Installation}
	e.Installation.Zone = time.UTC // As if this binary did not know daylight saving time there.
	require.NoError(t, e.DB.Tx(t.Context(), func(tx pgx.Tx) error { return checkTimeZone(t.Context(), e, tx) }))
	require.Len(t, e.findings, 1)
	require.Equal(t, Warning, e.findings[0].Level)
	require.Contains(t, e.findings[0].Sentence, "disagree about Europe/London")
}
