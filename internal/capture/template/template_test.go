package template_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/template"
)

func render(t *testing.T, source string, row string) (string, error) {
	t.Helper()
	parsed, err := template.Parse(source)
	require.NoError(t, err)
	data, err := template.Data(change.Change{
		Position: 7, Stream: "app", Op: change.Update, Schema: "public", Table: "orders", Key: json.RawMessage(`{"id": 12345678901234567890}`),
		New: json.RawMessage(row),
	})
	require.NoError(t, err)
	return parsed.Render(data)
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"order-count:{{ .new.user_id }}":                                     "order-count:9007199254740993",
		"{{ .schema }}.{{ .table }}:{{ .key.id }}":                           "public.orders:12345678901234567890",
		`{{ if eq .op "delete" }}gone{{ else }}here{{ end }}`:                "here",
		`{{ upper .new.name }} {{ query .new.name }}`:                        "A&B {{ .OLD }} a%26b+%7B%7B+.old+%7D%7D",
		`{{ index .new "a column" }}`:                                        "1.50",
		`{{ if .old }}old{{ else if .new.none }}some{{ else }}none{{ end }}`: "none",
		`{{ .new.mark }}`: "<no value>",
		`{{ .new.tags }}`: `["a","b"]`,
		`{{ with .new.name }}{{ . }}{{ end }}{{/* a comment */}}`:   "a&b {{ .old }}",
		`{{ if and .new.yes (not .new.no) }}{{ .position }}{{end}}`: "7",
	} {
		text, err := render(t, source, `{"user_id": 9007199254740993, "name": "a&b {{ .old }}", "a column": 1.50, "tags": ["a", "b"], "yes": true, "no": false, "none": null, "mark": "<no value>"}`)
		require.NoError(t, err, source)
		require.Equal(t, want, text)
	}
}

func TestTemplate_Missing(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"k:{{ .new.user_id }}", "k:{{ .new.nothing }}", "k:{{ .old.id }}", "k:{{ .nothing }}", "{{ .new.empty }}"} {
		text, err := render(t, source, `{"user_id": null, "empty": ""}`)
		require.ErrorIs(t, err, template.ErrRender, "%s makes %q", source, text)
	}
	_, err := render(t, "{{ .new.long }}", `{"long": "`+strings.Repeat("x", template.MaxOutput+1)+`"}`)
	require.ErrorContains(t, err, "longer than")
}

// TestParse_Hostile: templates that run for a long time, or that use much memory for a short text, are refused.
func TestParse_Hostile(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"", " ", "{{ .new.id", "{{ printf \"%1000000d\" 1 }}", "{{ range .new }}x{{ end }}", "{{ range 1000000000 }}x{{ end }}",
		`{{ define "a" }}x{{ end }}`, `{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, `{{ block "a" . }}{{ end }}`,
		"{{ call .new }}", "{{ html .new.id }}", "{{ js .new.id }}", "{{ print .new }}", "{{ slice .new.id 1 }}", "{{ len .new }}",
		"{{ if true }}{{ println 1 }}{{ end }}", "{{ with (printf \"%d\" 1) }}{{ end }}", "{{ if (print 1) }}{{ end }}", "{{ break }}",
		"{{ (print 1).x }}", strings.Repeat("x", template.MaxSource+1),
	} {
		_, err := template.Parse(source)
		require.ErrorIs(t, err, template.ErrTemplate, source)
	}
}
