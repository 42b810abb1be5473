package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// defaultEvery is how often a process looks for work.
	defaultEvery = 15 * time.Second
	// lease is how long a process has to send a message and record that, before another may send it.
	lease = 2 * time.Minute
	// patience is how long a message is tried.
	patience = 24 * time.Hour
	// Pauses between attempts: each is twice as long as the one before.
	firstPause, longestPause = 15 * time.Second, 15 * time.Minute
	// testPause is the least time between two tests of a channel.
	testPause = 10 * time.Second
	// lookTimeout bounds a look, and one round of messages.
	lookTimeout = time.Minute
)

// Keeper looks, and sends what is due.
type Keeper struct {
	DB *postgres.DB
	// Findings reads the verdict.
	Findings func(ctx context.Context) ([]health.Finding, error)
	Env      channel.Environment
	// Listeners receive a signal for each attempt and each failure.
	Listeners telemetry.Listeners
	Every     time.Duration // how often to look; 15 s if 0
}

// Run looks and sends until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	for {
		k.round(ctx)
		timer := time.NewTimer(k.every())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (k *Keeper) every() time.Duration {
	if k.Every > 0 {
		return k.Every
	}
	return defaultEvery
}

func (k *Keeper) round(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := k.Round(within); err != nil && ctx.Err() == nil {
		telemetry.Tell(ctx, k.Listeners, Error{Err: err})
	}
}

// Round looks once, unless another process just has, and sends the messages that are due. Without channels, it only finds that out.
func (k *Keeper) Round(ctx context.Context) error {
	var channels []State
	err := k.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		channels, err = List(ctx, on)
		return err
	})
	if err != nil || len(channels) == 0 {
		return err
	}
	return errors.Join(k.look(ctx), k.send(ctx, channels))
}

func (k *Keeper) look(ctx context.Context) error {
	var look int64
	err := k.DB.Tx(ctx, func(tx pgx.Tx) (err error) {
		look, err = db.New(tx).AlertLook(ctx, k.every())
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("begin a look: %w", err)
	}
	findings, err := k.Findings(ctx)
	if err != nil {
		return fmt.Errorf("read the verdict: %w", err)
	}
	return k.DB.Tx(ctx, func(tx pgx.Tx) error { return Observe(ctx, tx, look, findings, presence.Alive) })
}

// send sends all messages that are due, of the channels that this process can send to.
func (k *Keeper) send(ctx context.Context, channels []State) error {
	senders, names := map[string]channel.Sender{}, []string{}
	for _, one := range channels {
		sender, err := channel.Sending(one.Kind, one.Settings, k.Env)
		if errors.Is(err, channel.ErrVariable) {
			continue // A process that knows the variable sends. The doctor says if there is none.
		}
		if err != nil {
			sender = refusing{err}
		}
		senders[one.Name], names = sender, append(names, one.Name)
	}
	for range most {
		claimed, err := k.claim(ctx, names)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		message, err := k.message(ctx, claimed)
		if err != nil {
			return err
		}
		if err := k.attempt(ctx, senders[claimed.Channel], message, claimed); err != nil {
			return err
		}
	}
	return nil
}

// refusing is the sender of a channel that cannot be used.
type refusing struct{ err error }

func (r refusing) Send(context.Context, channel.Message) error { return r.err }

func (k *Keeper) claim(ctx context.Context, names []string) (claimed db.AlertClaimRow, err error) {
	err = k.DB.Tx(ctx, func(tx pgx.Tx) error {
		claimed, err = db.New(tx).AlertClaim(ctx, db.AlertClaimParams{Lease: lease, Channels: names})
		return err
	})
	if err != nil {
		err = fmt.Errorf("take a message: %w", err)
	}
	return claimed, err
}

// message returns the content of a message.
func (k *Keeper) message(ctx context.Context, claimed db.AlertClaimRow) (channel.Message, error) {
	message := channel.Message{ID: claimed.ID, Event: claimed.Event, CreatedAt: claimed.CreatedAt}
	if claimed.Alert == nil {
		return message, nil
	}
	err := k.DB.Read(ctx, func(on postgres.DBTX) error {
		queries := db.New(on)
		a, err := queries.AlertGet(ctx, *claimed.Alert)
		if err != nil {
			return err
		}
		settings, err := queries.AlertSettingsGet(ctx)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		message.Alert = channel.Alert{
			ID: a.ID, Finding: a.Finding, Level: health.Level(a.Level), Sentence: a.Sentence, Command: a.Command, BeganAt: a.BeganAt,
		}
		if claimed.Event == channel.Close {
			message.Alert.EndedAt = a.EndedAt
		}
		if settings.Pages != "" && a.Path != "" {
			message.Alert.Link = settings.Pages + a.Path
		}
		return nil
	})
	if err != nil {
		return message, fmt.Errorf("read the alert of a message: %w", err)
	}
	return message, nil
}

// attempt sends a message that this process has claimed, and records the outcome.
func (k *Keeper) attempt(ctx context.Context, sender channel.Sender, message channel.Message, claimed db.AlertClaimRow) error {
	failure := sender.Send(ctx, message)
	telemetry.Tell(ctx, k.Listeners, Send{
		Channel: claimed.Channel, Event: message.Event, Finding: message.Alert.Finding, Message: message.ID, Attempt: int(claimed.Attempts), Err: failure,
	})
	// Record the outcome even if the process is told to stop, so that the message is not sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	err := k.DB.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if failure == nil {
			_, err := queries.AlertSent(ctx, db.AlertSentParams{ID: message.ID, Attempts: claimed.Attempts})
			return err
		}
		_, err := queries.AlertFailed(ctx, db.AlertFailedParams{
			ID: message.ID, Attempts: claimed.Attempts, Error: failure.Error(), After: pause(int(claimed.Attempts), failure), Patience: patience,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("record a message: %w", err)
	}
	return nil
}

// pause returns how long to wait before the next attempt.
func pause(attempts int, failure error) time.Duration {
	pause := firstPause
	for range min(attempts-1, 10) {
		pause *= 2
	}
	pause = min(pause, longestPause)
	if busy, ok := errors.AsType[*channel.BusyError](failure); ok {
		pause = max(pause, busy.After)
	}
	return pause
}

// ErrTested says that the channel was tested a moment ago.
var ErrTested = errors.New("this channel was tested a moment ago: wait ten seconds")

// SendError is the error of a test that could not be sent.
type SendError struct{ Err error }

func (e *SendError) Error() string { return e.Err.Error() }

func (e *SendError) Unwrap() error { return e.Err }

// Test sends a test to a channel from this process, at most one in ten seconds over all processes. It returns ErrNone, ErrTested, or a
// *SendError if the message could not be sent.
func (k *Keeper) Test(ctx context.Context, name string, who audit.Who) error {
	channels, err := List(ctx, k.DB)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(channels, func(one State) bool { return one.Name == name })
	if at < 0 {
		return ErrNone
	}
	claimed := db.AlertClaimRow{Channel: name, Event: channel.Test, Attempts: 1}
	err = k.DB.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if _, err := queries.AlertChannelLock(ctx, name); err != nil {
			return err
		}
		row, err := queries.AlertTestInsert(ctx, db.AlertTestInsertParams{Channel: name, Lease: lease, Pause: testPause})
		if err != nil {
			return err
		}
		claimed.ID, claimed.CreatedAt = row.ID, row.CreatedAt
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "test alert", Target: name})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrTested
	}
	if err != nil {
		return fmt.Errorf("begin a test: %w", err)
	}
	sender, failure := channel.Sending(channels[at].Kind, channels[at].Settings, k.Env)
	if failure != nil {
		sender = refusing{failure}
	}
	kept := &keeping{Sender: sender}
	err = k.attempt(ctx, kept, channel.Message{ID: claimed.ID, Event: channel.Test, CreatedAt: claimed.CreatedAt}, claimed)
	if kept.err != nil {
		return &SendError{kept.err}
	}
	return err
}

// keeping keeps the error of an attempt.
type keeping struct {
	channel.Sender

	err error
}

func (k *keeping) Send(ctx context.Context, message channel.Message) error {
	k.err = k.Sender.Send(ctx, message)
	return k.err
}
