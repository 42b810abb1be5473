package ui_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui/door"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		access door.Access
		want   string // of the error
		weak   int
	}{
		"Control":   {access: door.Access{APIToken: "abcdefgh\x00ijkl"}, want: "DAYMILL_API_TOKEN has a control character"},
		"Equal":     {access: door.Access{AdminPassword: "correct horse", MetricsToken: "correct horse"}, want: "DAYMILL_ADMIN_PASSWORD and DAYMILL_METRICS_TOKEN are equal"},
		"LineBreak": {access: door.Access{CronSecret: "correct horse\n"}, want: "CRON_SECRET begins or ends with a space or a line break"},
		"None":      {},
		"Short":     {access: door.Access{ViewerPassword: "secret"}, want: "DAYMILL_VIEWER_PASSWORD has fewer than 8 characters"},
		"Strong":    {access: door.Access{AdminPassword: "correct horse battery staple", APIToken: "8f2c0d9a41b7e6355a1c9d0e7f3b2a64"}},
		"Weak":      {access: door.Access{AdminPassword: "correct horse", APIToken: strings.Repeat("ab", 20)}, weak: 2},
	} {
		warnings, err := c.access.Check()
		require.Len(t, warnings, c.weak, name)
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "horse")
	}
}
