package doctor_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// Callers at the same time share one examination.
func TestShared(t *testing.T) {
	t.Parallel()
	var times atomic.Int64
	release := make(chan struct{})
	shared := &doctor.Shared{Clock: pace.SystemClock{}, Look: func(context.Context) doctor.Report {
		times.Add(1)
		<-release
		return doctor.Report{Role: "one"}
	}}
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, good := shared.Get(gone, time.Time{}) // Its caller has gone, and it continues.
	require.False(t, good)
	require.True(t, shared.Last().At.IsZero())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { _, _ = shared.Get(t.Context(), time.Time{}) })
	}
	close(release)
	all.Wait()
	found, good := shared.Get(t.Context(), time.Time{})
	require.True(t, good)
	require.Equal(t, "one", found.Role)
	require.EqualValues(t, 1, times.Load())
}

// Findings for people who do not run Daymill never name a host.
func TestDiscreet(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	gone, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
	require.NoError(t, err)
	// The server of this pool is gone.
	config := gone.Config()
	gone.Close()
	config.ConnConfig.Host, config.ConnConfig.Port = "secret.invalid", 1
	config.ConnConfig.Fallbacks = nil
	gone.Pool, err = pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer gone.Close()
	good := doctor.River{Schema: "public", Applied: 6, Newest: 6}

	for _, f := range doctor.Examine(t.Context(), doctor.Config{DB: db.DB, Followers: []doctor.Follower{{DB: gone}}, Clock: pace.SystemClock{}, River: good, Discreet: true}) {
		require.NotContains(t, f.Sentence+f.Fix, "secret")
		if f.ID == "follower" {
			require.Equal(t, doctor.Failure, f.Level)
		}
	}
	_, said := of(doctor.Examine(t.Context(), doctor.Config{DB: db.DB, Followers: []doctor.Follower{{DB: gone}}, Clock: pace.SystemClock{}, River: good}), "follower")
	require.Contains(t, said, "secret.invalid", "the command says where it has looked")

	findings := doctor.Examine(t.Context(), doctor.Config{DB: gone, Clock: pace.SystemClock{}, River: good, Discreet: true})
	require.Len(t, findings, 1)
	require.Equal(t, doctor.Failure, findings[0].Level)
	require.NotContains(t, findings[0].Sentence, "secret")
}

// A caller that no longer waits gets the last result.
func TestExamineInterrupted(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	findings := doctor.Examine(ctx, doctor.Config{DB: db.DB, Clock: pace.SystemClock{}})
	require.Len(t, findings, 1)
	require.Contains(t, findings[0].Sentence, "took too long")
}
