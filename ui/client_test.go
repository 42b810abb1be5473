package ui_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oapi-codegen/runtime/types"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui/api/client"
)

// TestClient: the generated client calls the API.
func TestClient(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	c, err := client.NewClientWithResponses(a.URL, client.WithToken("token"))
	require.NoError(t, err)
	ctx := t.Context()
	day := func(d int) types.Date {
		return types.Date{Time: time.Date(2026, time.February, d, 0, 0, 0, 0, time.UTC)}
	}

	started, err := c.StartBackfillWithResponse(ctx, nil, client.BackfillRequest{From: day(1), To: day(3)})
	require.NoError(t, err)
	require.NotNil(t, started.JSON201, string(started.Body))
	require.Equal(t, "2026-02-03", started.JSON201.LastDate.String())
	paused, err := c.PauseBackfillWithResponse(ctx, started.JSON201.Id, nil, client.PauseBackfillJSONRequestBody{})
	require.NoError(t, err)
	require.EqualValues(t, "paused", paused.JSON200.State)
	refused, err := c.StartBackfillWithResponse(ctx, nil, client.BackfillRequest{From: day(3), To: day(1)})
	require.NoError(t, err)
	require.NotEmpty(t, refused.ApplicationproblemJSON422.Detail)

	a.db.Do(t, "INSERT INTO river_job (kind, args, max_attempts, queue) SELECT 'rollup_day', jsonb_build_object('date', '2026-03-01'::date + i), 10, 'daymill' FROM generate_series(0, 4) AS i")
	var dates []string
	params := &client.ListJobsParams{Kind: new("rollup_day"), Limit: new(2)}
	for {
		listed, err := c.ListJobsWithResponse(ctx, params)
		require.NoError(t, err)
		for _, job := range listed.JSON200.Jobs {
			dates = append(dates, job.Date.String())
		}
		if params.Cursor = listed.JSON200.NextCursor; params.Cursor == nil {
			break
		}
	}
	require.Equal(t, []string{"2026-03-05", "2026-03-04", "2026-03-03", "2026-03-02", "2026-03-01"}, dates)

	stranger, err := client.NewClientWithResponses(a.URL, client.WithToken("another"))
	require.NoError(t, err)
	status, err := stranger.ShowStatusWithResponse(ctx)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status.StatusCode())
	require.Nil(t, status.JSON200)
}
