package job

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/job"
)

func TestNoJobs(t *testing.T) {
	t.Parallel()
	require.Equal(t, "There are no jobs.", noJobs(job.Filter{}))
	require.Equal(t, "There are no discarded jobs.", noJobs(job.Filter{State: "discarded"}))
}
