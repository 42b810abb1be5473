package ui_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/ui"
)

func TestDoctor(t *testing.T) {
	t.Parallel()

	// counted returns a doctor that always has the same findings, and counts how often it was called.
	counted := func(times *atomic.Int64, findings ...doctor.Finding) func(*ui.Config) {
		return func(c *ui.Config) {
			c.Doctor = func(context.Context) doctor.Report {
				times.Add(1)
				return doctor.Report{Findings: findings, Role: "app", Database: "shop"}
			}
		}
	}
	again := regexp.MustCompile(`name="after" value="(\d+)"`)

	t.Run("API", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		answer := a.call(t, "GET", "/api/doctor", "", basic("viewer", viewerPassword))
		require.Equal(t, http.StatusOK, answer.status)
		require.NotEmpty(t, answer.header.Get("Last-Modified"))
		var findings []doctor.Finding
		require.NoError(t, json.Unmarshal([]byte(answer.body), &findings))
		require.Greater(t, len(findings), 15)
		require.Equal(t, "version", findings[0].ID)
		require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", "/api/doctor", "", header("Authorization", "")).status)
		require.Equal(t, http.StatusMethodNotAllowed, a.call(t, "POST", "/api/doctor", "{}").status)
		none := newAPI(t, database(t), func(c *ui.Config) { c.Doctor = nil })
		require.Equal(t, http.StatusNotFound, none.call(t, "GET", "/api/doctor", "").status)
		require.Equal(t, http.StatusNotFound, none.get(t, "/doctor").status)
	})

	t.Run("Hostile", func(t *testing.T) {
		t.Parallel()
		var times atomic.Int64
		s := serve(t, database(t), counted(&times, doctor.Finding{
			ID: "watch", Level: doctor.Failure, Sentence: `public."<script>" is odd`, Fix: `daymill source watch --table '<script>'`,
		}))
		body := s.get(t, "/doctor?after=<script>").body
		require.NotContains(t, body, "<script>\"")
		require.Contains(t, body, "public.&#34;&lt;script&gt;&#34; is odd.")
	})

	t.Run("Once", func(t *testing.T) {
		t.Parallel()
		var times atomic.Int64
		s := serve(t, database(t), counted(&times, doctor.Finding{ID: "version", Level: doctor.OK, Sentence: "all is well"}))
		now := time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC)
		s.clock.set(now)
		// Neither a user who is not logged in nor a fragment that refreshes itself starts an examination.
		require.Equal(t, http.StatusUnauthorized, s.do(t, s.request(t, "", http.MethodGet, "/doctor", "")).status)
		poll := s.request(t, "admin", http.MethodGet, "/doctor", "")
		poll.Header.Set("Hx-Request", "true")
		poll.Header.Set("Hx-Request-Type", "partial")
		poll.Header.Set("Hx-Target", "div#doctor")
		require.Equal(t, http.StatusOK, s.do(t, poll).status)
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "admin", http.MethodHead, "/doctor", "")).status)
		require.Zero(t, times.Load())

		body := s.get(t, "/doctor").body
		require.Contains(t, body, "All is well.")
		s.do(t, s.request(t, "viewer", http.MethodGet, "/doctor", ""))
		after := again.FindStringSubmatch(body)[1]
		s.get(t, "/doctor?after="+after)
		require.EqualValues(t, 1, times.Load(), "the last examination is too recent")
		s.clock.set(now.Add(10 * time.Second))
		s.get(t, "/doctor")
		require.EqualValues(t, 1, times.Load())
		for range 3 {
			s.do(t, s.request(t, "viewer", http.MethodGet, "/doctor?after="+after, ""))
		}
		require.EqualValues(t, 2, times.Load(), "loading the answer again shows the same")
		s.clock.set(now.Add(2 * time.Minute))
		s.get(t, "/doctor")
		require.EqualValues(t, 3, times.Load())
	})

	t.Run("WorstFirst", func(t *testing.T) {
		t.Parallel()
		var times atomic.Int64
		var findings []doctor.Finding
		for i, level := range []doctor.Level{doctor.OK, doctor.Warning, doctor.Note, doctor.Failure, doctor.Warning} {
			findings = append(findings, doctor.Finding{ID: "time_zone", Level: level, Sentence: fmt.Sprintf("finding %d", i), Fix: fmt.Sprintf("fix %d", i)})
		}
		body := serve(t, database(t), counted(&times, findings...)).get(t, "/doctor").body
		require.Equal(t, []string{"3", "1", "4", "2", "0"}, func() (order []string) {
			for _, found := range regexp.MustCompile(`Finding (\d)\.`).FindAllStringSubmatch(body, -1) {
				order = append(order, found[1])
			}
			return order
		}())
		require.Contains(t, body, `<code class="hostile">fix 3</code>`)
		require.NotContains(t, body, "fix 0", "an OK finding needs no fix")
		require.Regexp(t, `(?s)✕ failure</span></dt><dd>1</dd>.*! warning</span></dt><dd>2</dd>`, body)
		require.Contains(t, body, "as the role app, in the database shop, without a pooler")
		require.Contains(t, body, "time zone")
	})

	// If the database is unreachable, viewers must still not learn where it is.
	t.Run("Unreachable", func(t *testing.T) {
		t.Parallel()
		db := database(t)
		s := serve(t, db, nil)
		host := db.Config().ConnConfig.Host
		db.Close()
		body := s.do(t, s.request(t, "viewer", http.MethodGet, "/doctor", "")).body
		require.Contains(t, body, "ould not be ")
		require.NotContains(t, body, host)
		require.NotContains(t, strings.ToLower(body), "postgres://")
	})
}
