// Package alert tells people what the verdict finds wrong, and when it is well again.
//
// [Keeper] runs in every web and worker process, because a process that has died tells nobody. One process at a time looks: it reads the
// findings of package health and records them as alerts. A finding that lasts becomes a message of each channel, and another one when it is gone.
//
//	findings ─look─▶ alerts ──lasting──▶ messages ─claim─▶ send ─▶ record
//	                   │                    ▲                        │
//	                   └─────── gone ───────┘◀──── again, later ─────┘
//
// A message is unique per channel, alert and event, and one process sends it at a time. If that process is killed after it has sent the message
// and before it has recorded that, the message is sent again: at least once, always with the same id.
package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
)

// Defaults of Wanted.
const (
	DefaultLasting  = 2 * time.Minute
	DefaultNoWorker = 5 * time.Minute
)

// most is how many channels there may be, and how many alerts and messages are listed.
const most = 100

// Channel is a place that messages go to.
type Channel struct {
	Name     string
	Kind     string
	Level    health.Level // Bad for what needs a person at once, Wait for everything
	Settings channel.Settings
}

// Wanted is how alerts should be configured.
type Wanted struct {
	Lasting  time.Duration // how long a finding must last, and be gone, before people are told
	NoWorker time.Duration // how long no worker may be alive
	Pages    string        // the address of the pages, for links; empty for none
	Channels []Channel
}

// Apply makes channels and settings equal to what is wanted, and returns what it has done in words. Messages of removed channels are deleted.
func Apply(ctx context.Context, tx pgx.Tx, wanted Wanted, who audit.Who) (done []string, err error) {
	queries := db.New(tx)
	err = queries.AlertSettingsSet(ctx, db.AlertSettingsSetParams{
		Lasting: wanted.Lasting, NoWorker: wanted.NoWorker, Pages: strings.TrimSuffix(wanted.Pages, "/"),
	})
	if err != nil {
		return nil, fmt.Errorf("store the settings of alerts: %w", err)
	}
	kept := []string{}
	for _, one := range wanted.Channels {
		settings, err := json.Marshal(one.Settings) //nolint:gosec // The secret is the name of an environment variable.
		if err != nil {
			return nil, fmt.Errorf("write settings: %w", err)
		}
		changed, err := queries.AlertChannelPut(ctx, db.AlertChannelPutParams{
			Name: one.Name, Kind: one.Kind, Settings: settings, Level: string(one.Level),
		})
		if err != nil {
			return nil, fmt.Errorf("store the channel %s: %w", one.Name, err)
		}
		kept = append(kept, one.Name)
		if changed > 0 {
			done = append(done, "set channel "+one.Name)
		}
	}
	removed, err := queries.AlertChannelRemove(ctx, kept)
	if err != nil {
		return nil, fmt.Errorf("remove channels: %w", err)
	}
	for _, name := range removed {
		done = append(done, "remove channel "+name)
	}
	if len(done) == 0 {
		return nil, nil
	}
	return done, audit.Record(ctx, tx, audit.Entry{Who: who, Action: "apply alerts", Target: strings.Join(done, ", ")})
}

// path returns the path of a finding's page; empty if there is none.
func path(link health.Link) string {
	if link.Label == "" {
		return ""
	}
	var address strings.Builder
	for _, part := range link.Parts {
		address.WriteString("/" + url.PathEscape(part))
	}
	if len(link.Query) > 0 {
		address.WriteString("?" + link.Query.Encode())
	}
	return address.String()
}

// unwell reports whether people are told of a finding.
func unwell(finding health.Finding) bool {
	return (finding.Level == health.Bad || finding.Level == health.Wait) && finding.Rank < health.Working
}

// workers is the name of the check that finds that no worker is alive.
const workers = "workers"

// Observe records the findings of a look, unless a later look has begun. It makes the messages of alerts that open and close.
func Observe(ctx context.Context, tx pgx.Tx, look int64, findings []health.Finding, alive time.Duration) error {
	queries := db.New(tx)
	settings, err := queries.AlertFence(ctx, look)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // The next look saw something newer.
	}
	if err != nil {
		return fmt.Errorf("record a look: %w", err)
	}
	for _, finding := range findings {
		if !unwell(finding) {
			continue
		}
		err := queries.AlertSee(ctx, db.AlertSeeParams{
			Finding: finding.Check, Level: string(finding.Level), Sentence: finding.Sentence, Command: finding.Command, Path: path(finding.Link),
		})
		if err != nil {
			return fmt.Errorf("record a finding: %w", err)
		}
		lasting := settings.Lasting
		if finding.Check == workers {
			lasting = max(0, settings.NoWorker-alive) // The check waits that long itself.
		}
		if err := queries.AlertTell(ctx, db.AlertTellParams{Finding: finding.Check, Lasting: lasting}); err != nil {
			return fmt.Errorf("open an alert: %w", err)
		}
	}
	for _, do := range []func() error{
		func() error { return queries.AlertOpenInsert(ctx) },
		func() error { return queries.AlertForget(ctx, settings.Lasting) },
		func() error { return queries.AlertEnd(ctx, settings.Lasting) },
		func() error { return queries.AlertPrune(ctx) },
		func() error { return queries.AlertTestPrune(ctx) },
	} {
		if err := do(); err != nil {
			return fmt.Errorf("record alerts: %w", err)
		}
	}
	return nil
}

// ErrNone says that a channel does not exist.
var ErrNone = errors.New("there is no such channel: `daymill alert list` lists them, and `daymill apply` adds them")

// State is how a channel stands.
type State struct {
	Channel

	SentAt   *time.Time // of its latest message; nil if there was none
	Waiting  int64      // messages that are not sent yet
	Oldest   *time.Time // of them
	Error    string     // why the latest message could not be sent; empty if it was
	FailedAt *time.Time // when that message was given up
}

// List returns the channels.
func List(ctx context.Context, on postgres.DBTX) ([]State, error) {
	rows, err := db.New(on).AlertChannelList(ctx, most)
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	all := make([]State, len(rows))
	for i, r := range rows {
		all[i] = State{
			Channel: Channel{Name: r.Name, Kind: r.Kind, Level: health.Level(r.Level)},
			SentAt:  since(r.SentAt), Waiting: r.Waiting, Oldest: since(r.Oldest), Error: r.Error, FailedAt: r.FailedAt,
		}
		if err := json.Unmarshal(r.Settings, &all[i].Settings); err != nil {
			return nil, fmt.Errorf("read the settings of channel %s: %w", r.Name, err)
		}
	}
	return all, nil
}

// since returns a time; nil for the epoch, which stands for none.
func since(at time.Time) *time.Time {
	if at.Unix() == 0 {
		return nil
	}
	return &at
}

// Alert is a finding that people were told of.
type Alert struct {
	channel.Alert

	Path string // of the page that fixes or shows it
}

// Alerts returns the latest alerts, those that last first.
func Alerts(ctx context.Context, on postgres.DBTX) ([]Alert, error) {
	rows, err := db.New(on).AlertList(ctx, most)
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	all := make([]Alert, len(rows))
	for i, r := range rows {
		all[i] = Alert{Path: r.Path, Alert: channel.Alert{
			ID: r.ID, Finding: r.Finding, Level: health.Level(r.Level), Sentence: r.Sentence, Command: r.Command, BeganAt: r.BeganAt, EndedAt: r.EndedAt,
		}}
	}
	return all, nil
}

// Message is a message with its state.
type Message struct {
	ID, Channel, Event string
	Finding            string // empty in a test
	CreatedAt, DueAt   time.Time
	Attempts           int
	Error              string
	SentAt, FailedAt   *time.Time
}

// Messages returns the latest messages, newest first.
func Messages(ctx context.Context, on postgres.DBTX) ([]Message, error) {
	rows, err := db.New(on).AlertMessageList(ctx, most)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	all := make([]Message, len(rows))
	for i, r := range rows {
		all[i] = Message{
			ID: r.ID, Channel: r.Channel, Event: r.Event, Finding: r.Finding, CreatedAt: r.CreatedAt, DueAt: r.DueAt, Attempts: int(r.Attempts),
			Error: r.Error, SentAt: r.SentAt, FailedAt: r.FailedAt,
		}
	}
	return all, nil
}
