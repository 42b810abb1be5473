package alert_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// receiver is an HTTP server that receives messages.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	status   int
	received []string                    // the id, the type and the finding of each
	before   func(w http.ResponseWriter) // called before it answers; may be nil
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{status: http.StatusOK}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		what := "test"
		for _, event := range []string{"alert.open", "alert.close"} {
			if strings.Contains(string(body), event) {
				what = event
			}
		}
		for _, finding := range []string{"failed", "workers"} {
			if strings.Contains(string(body), `"finding":"`+finding+`"`) {
				what += " " + finding
			}
		}
		r.received = append(r.received, request.Header.Get("Webhook-Id")+" "+what)
		if r.before != nil {
			r.before(w)
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

// all returns what was received, without the ids.
func (r *receiver) all() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.received {
		_, what, _ := strings.Cut(one, " ")
		all = append(all, what)
	}
	return all
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// state is the verdict of a test.
type state struct {
	mu       sync.Mutex
	findings []health.Finding
}

func (s *state) set(findings ...health.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findings = findings
}

func (s *state) read(context.Context) ([]health.Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findings, nil
}

var (
	failed = health.Finding{Check: "failed", Level: health.Bad, Rank: health.Broken, Sentence: "A date failed.", Link: health.Link{Label: "See", Parts: []string{"dates"}}}
	stale  = health.Finding{Check: "stale", Level: health.Wait, Rank: health.Broken, Sentence: "A date is stale."}
	lost   = health.Finding{Check: "workers", Level: health.Bad, Rank: health.Standstill, Sentence: "No worker is alive."}
	busy   = health.Finding{Check: "running", Level: health.Busy, Rank: health.Working, Sentence: "Work is under way."}
)

type testBundle struct {
	db     *pgtest.DB
	to     *receiver
	state  *state
	keeper *alert.Keeper
}

func setup(t *testing.T, lasting, noWorker time.Duration) *testBundle {
	t.Helper()
	b := &testBundle{db: pgtest.Database(t, pgtest.Installed{}), to: receive(t), state: &state{}}
	b.keeper = b.process(b.db.DB)
	require.NoError(t, b.db.Tx(t.Context(), func(tx pgx.Tx) error {
		_, err := alert.Apply(t.Context(), tx, alert.Wanted{Lasting: lasting, NoWorker: noWorker, Channels: []alert.Channel{
			{Name: "ops", Kind: channel.Webhook, Level: health.Wait, Settings: channel.Settings{URL: "$OPS", AllowPrivate: true}},
		}}, audit.Who{Via: audit.ViaCLI})
		return err
	}))
	return b
}

// process returns the keeper of another process.
func (b *testBundle) process(db *postgres.DB) *alert.Keeper {
	return &alert.Keeper{
		DB: db, Findings: b.state.read, Every: time.Microsecond,
		Env: channel.Environment{Clock: pace.SystemClock{}, Lookup: func(name string) (string, bool) { return b.to.URL, name == "OPS" }},
	}
}

func (b *testBundle) round(t *testing.T) []string {
	t.Helper()
	require.NoError(t, b.keeper.Round(t.Context()))
	return b.to.all()
}

func TestKeeper(t *testing.T) {
	t.Parallel()

	// A process that dies after it has sent a message leaves it to another, which sends it with the same id.
	t.Run("KilledBetweenSendAndRecord", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		b.state.set(failed)
		dying, err := postgres.Open(t.Context(), postgres.Config{URL: b.db.URL, ApplicationName: "dying"})
		require.NoError(t, err)
		b.to.before = func(http.ResponseWriter) {
			b.to.before = nil
			dying.Close() // The process can record nothing any more.
		}
		require.Error(t, b.process(dying).Round(t.Context()))
		require.Equal(t, []string{"alert.open failed"}, b.round(t), "it is still taken")
		b.db.Do(t, "UPDATE daymill.alert_messages SET due_at = now()") // The lease is over.
		require.Equal(t, []string{"alert.open failed", "alert.open failed"}, b.round(t))
		require.Equal(t, b.to.received[0], b.to.received[1], "the receiver can drop the repeat")
		b.db.Do(t, "UPDATE daymill.alert_messages SET due_at = now()")
		require.Len(t, b.round(t), 2)
	})

	t.Run("Levels", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		b.db.Do(t, "UPDATE daymill.alert_channels SET level = 'bad'")
		b.state.set(stale, busy)
		require.Empty(t, b.round(t))
		b.state.set(stale, failed)
		require.Equal(t, []string{"alert.open failed"}, b.round(t))
	})

	// Messages begin once a finding has lasted, and once it has been gone for as long.
	t.Run("Lasting", func(t *testing.T) {
		t.Parallel()
		b := setup(t, time.Hour, alert.DefaultNoWorker)
		b.state.set(failed)
		require.Empty(t, b.round(t))
		b.db.Do(t, "UPDATE daymill.alerts SET began_at = began_at - interval '59 minutes'")
		require.Empty(t, b.round(t))
		b.db.Do(t, "UPDATE daymill.alerts SET began_at = began_at - interval '2 minutes'")
		require.Equal(t, []string{"alert.open failed"}, b.round(t))
		b.state.set()
		require.Len(t, b.round(t), 1)
		b.db.Do(t, "UPDATE daymill.alerts SET seen_at = seen_at - interval '61 minutes'")
		require.Equal(t, []string{"alert.open failed", "alert.close failed"}, b.round(t))
		require.Len(t, b.round(t), 2)
	})

	// The check of workers itself waits for two minutes.
	t.Run("NoWorker", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, 10*time.Minute)
		b.state.set(lost)
		require.Empty(t, b.round(t))
		b.db.Do(t, "UPDATE daymill.alerts SET began_at = began_at - interval '7 minutes'")
		require.Empty(t, b.round(t))
		b.db.Do(t, "UPDATE daymill.alerts SET began_at = began_at - interval '1 minute'")
		require.Equal(t, []string{"alert.open workers"}, b.round(t))
	})

	// Several processes look and send at the same time, and nothing is sent twice.
	t.Run("Once", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		const times = 5
		for i := range times {
			for _, findings := range [][]health.Finding{{failed}, {}} {
				b.state.set(findings...)
				var processes sync.WaitGroup
				errs := make(chan error, 4)
				for range cap(errs) {
					processes.Go(func() { errs <- b.process(b.db.DB).Round(t.Context()) })
				}
				processes.Wait()
				close(errs)
				for err := range errs {
					require.NoError(t, err)
				}
				// The look that ended last may have begun before the change.
				want := 2*i + 2 - len(findings)
				require.Eventually(t, func() bool { return b.process(b.db.DB).Round(t.Context()) == nil && len(b.to.all()) >= want },
					5*time.Minute, 10*time.Millisecond)
			}
		}
		ids := map[string]bool{}
		for _, one := range b.to.received {
			require.False(t, ids[one], one)
			ids[one] = true
		}
		require.Len(t, ids, 2*times)
	})

	t.Run("Retries", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		b.to.answer(http.StatusInternalServerError)
		b.state.set(failed)
		require.Len(t, b.round(t), 1)
		b.state.set()
		require.Len(t, b.round(t), 1, "the next attempt is not due, and what is wrong is told first")
		channels, err := alert.List(t.Context(), b.db)
		require.NoError(t, err)
		require.Contains(t, channels[0].Trouble(time.Now()), "the webhook answered 500")
		require.Equal(t, doctor.Warning, look(t, b.db).Level)
		b.to.answer(http.StatusOK)
		b.db.Do(t, "UPDATE daymill.alert_messages SET due_at = now()")
		require.Equal(t, []string{"alert.open failed", "alert.open failed", "alert.close failed"}, b.round(t))
		require.Equal(t, doctor.OK, look(t, b.db).Level)

		// After a day, a message is given up.
		b.to.answer(http.StatusInternalServerError)
		b.state.set(failed)
		b.round(t)
		b.db.Do(t, "UPDATE daymill.alert_messages SET due_at = now(), created_at = created_at - interval '25 hours' WHERE sent_at IS NULL")
		b.round(t)
		b.db.Do(t, "UPDATE daymill.alert_messages SET due_at = now()")
		require.Len(t, b.round(t), 5)
	})

	t.Run("Test", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		require.ErrorIs(t, b.keeper.Test(t.Context(), "none", audit.Who{Via: audit.ViaWeb}), alert.ErrNone)
		require.NoError(t, b.keeper.Test(t.Context(), "ops", audit.Who{Actor: "anna", Via: audit.ViaWeb}))
		require.ErrorIs(t, b.keeper.Test(t.Context(), "ops", audit.Who{Via: audit.ViaWeb}), alert.ErrTested)
		require.Equal(t, []string{"test"}, b.to.all())
		b.to.answer(http.StatusNotFound)
		b.db.Do(t, "UPDATE daymill.alert_messages SET created_at = created_at - interval '11 seconds'")
		err := b.keeper.Test(t.Context(), "ops", audit.Who{Via: audit.ViaWeb})
		var unsent *alert.SendError
		require.ErrorAs(t, err, &unsent)
		require.Len(t, b.round(t), 2, "a test is not repeated")
		var actor string
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT actor FROM daymill.audit WHERE action = 'test alert' ORDER BY id LIMIT 1").Scan(&actor))
		require.Equal(t, "anna", actor)
	})

	// A process without a channel's variable leaves its messages to others.
	t.Run("Variable", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0, alert.DefaultNoWorker)
		b.state.set(failed)
		blind := b.process(b.db.DB)
		blind.Env.Lookup = func(string) (string, bool) { return "", false }
		require.NoError(t, blind.Round(t.Context()))
		require.Empty(t, b.to.all())
		channels, err := alert.List(t.Context(), b.db)
		require.NoError(t, err)
		require.Contains(t, channels[0].Trouble(time.Now().Add(time.Hour)), "has been waiting")
		require.Len(t, b.round(t), 1)
	})
}

// TestApply: the channels become those that are wanted.
func TestApply(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	apply := func(channels ...alert.Channel) (done []string) {
		require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) (err error) {
			done, err = alert.Apply(t.Context(), tx, alert.Wanted{Lasting: time.Minute, NoWorker: time.Hour, Channels: channels}, audit.Who{Via: audit.ViaCLI})
			return err
		}))
		return done
	}
	require.Equal(t, doctor.Note, look(t, db).Level)
	one := alert.Channel{Name: "one", Kind: channel.Slack, Level: health.Bad, Settings: channel.Settings{URL: "$A"}}
	two := alert.Channel{Name: "two", Kind: channel.Mail, Level: health.Wait, Settings: channel.Settings{URL: "$B", From: "a@b", To: []string{"c@d"}}}
	require.Equal(t, []string{"set channel one", "set channel two"}, apply(one, two))
	require.Empty(t, apply(one, two))
	channels, err := alert.List(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, []alert.Channel{one, two}, []alert.Channel{channels[0].Channel, channels[1].Channel})
	one.Level = health.Wait
	require.Equal(t, []string{"set channel one", "remove channel two"}, apply(one))
}

// look returns what the doctor finds of alerts.
func look(t *testing.T, db *pgtest.DB) doctor.Finding {
	t.Helper()
	for _, found := range doctor.Examine(t.Context(), doctor.Config{DB: db.DB, Clock: pace.SystemClock{}, Checks: alert.Checks()}) {
		if found.ID == "alerts" {
			return found
		}
	}
	require.Fail(t, "the doctor has not looked")
	return doctor.Finding{}
}
