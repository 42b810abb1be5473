// Package presence keeps which worker processes are alive, with their settings, in daymill.workers. Each worker writes a sign of life;
// pages, commands and the verdict read them.
package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

// Alive is how long a worker process counts as alive after its last sign of life, which it gives about every half minute.
const Alive = 2 * time.Minute

// most is how many worker processes are listed.
const most = 100

// Worker is a worker process with its settings.
type Worker struct {
	Name       string    `json:"name"`
	StartedAt  time.Time `json:"started_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	Version    string    `json:"version"`
	// Workers is how many dates the process rolls up at a time.
	Workers int `json:"workers"`
	// Pace is the least pace of the process. CurrentPace and PaceReason are the pace that its governor had at the last sign of life, and a
	// clause that says why; nil and empty if it has no governor.
	Pace        float64  `json:"pace"`
	CurrentPace *float64 `json:"current_pace,omitempty"`
	PaceReason  string   `json:"pace_reason,omitempty"`
	MaxEntities int      `json:"max_entities"`
	// DailyHour is the local hour of the daily job, and Lookback how many days before yesterday the job requests.
	DailyHour int `json:"daily_hour"`
	Lookback  int `json:"lookback"`
	// Retention is how long the ledger is kept; 0 means forever.
	Retention time.Duration `json:"retention_ns"`
	// Follower reports whether the process reads events from a follower.
	Follower bool `json:"follower"`
	// Followers are the followers as the process has last seen them; empty if it reads from none.
	Followers []Follower `json:"followers"`
	// Trouble describes in sentences what keeps the process from its work; empty if nothing does.
	Trouble string `json:"trouble,omitempty"`
}

// pace returns the pace at the last sign of life.
func (w Worker) pace() float64 {
	if w.CurrentPace != nil {
		return *w.CurrentPace
	}
	return w.Pace
}

// PaceNow returns the pace at the last sign of life, with two digits.
func (w Worker) PaceNow() string { return strconv.FormatFloat(w.pace(), 'g', 2, 64) }

// PaceText returns a sentence without a period that explains the pace; empty if the process has no governor.
func (w Worker) PaceText() string {
	if w.CurrentPace == nil {
		return ""
	}
	return "pace " + w.PaceNow() + ": " + w.PaceReason
}

// Follower is a follower as a process has last seen it.
type Follower struct {
	// Number is its place in --source-url, from 1. Users of the pages may not be allowed to know its host.
	Number int `json:"number"`
	// Problem continues the sentence "Follower 1 …" and says why runs do not read from it; empty if they may.
	Problem string `json:"problem,omitempty"`
	// Late reports that it lacks what was committed a few seconds ago. Behind says how many bytes of WAL it has not replayed yet,
	// and Delay, if it is late, how old the last transaction is that it has replayed.
	Late   bool          `json:"late"`
	Behind int64         `json:"behind"`
	Delay  time.Duration `json:"delay_ns"`
}

// String returns a sentence without a period.
func (f Follower) String() string {
	switch state := fmt.Sprintf("follower %d ", f.Number); {
	case f.Problem != "":
		return state + f.Problem
	case f.Late:
		return state + fmt.Sprintf("is %s bytes and %s behind", text.Number(f.Behind), text.Duration(f.Delay))
	default:
		return state + "keeps up"
	}
}

// Unread returns a sentence if there are followers and none of them can be read.
func Unread(followers []Follower) string {
	sentences := make([]string, len(followers))
	for i, f := range followers {
		if f.Problem == "" {
			return ""
		}
		sentences[i] = f.String()
	}
	if len(followers) == 0 {
		return ""
	}
	return "it can read events from no follower of --source-url: " + strings.Join(sentences, ", ")
}

// See records that a worker process is alive, and deletes processes that were not seen for a week. It ignores StartedAt and
// LastSeenAt: the database sets them.
func See(ctx context.Context, on postgres.DBTX, worker Worker) error {
	queries := db.New(on)
	followers, err := json.Marshal(slices.Concat([]Follower{}, worker.Followers)) // Not null.
	if err != nil {
		return fmt.Errorf("record the followers: %w", err)
	}
	err = queries.WorkerSee(ctx, db.WorkerSeeParams{
		Name: worker.Name, Version: worker.Version, Workers: int32(worker.Workers), Pace: worker.Pace, //nolint:gosec // At most 100.
		MaxEntities: int64(worker.MaxEntities), DailyHour: int32(worker.DailyHour), Lookback: int32(worker.Lookback), //nolint:gosec // At most 366.
		RetentionSeconds: int64(worker.Retention.Seconds()), Follower: worker.Follower, Trouble: worker.Trouble,
		Followers: followers, CurrentPace: worker.CurrentPace, PaceReason: worker.PaceReason,
	})
	if err == nil {
		err = queries.WorkerPrune(ctx)
	}
	if err != nil {
		return fmt.Errorf("record the worker: %w", err)
	}
	return nil
}

// Inspect reports whether a worker process should compare what is installed with what should be: no other one has begun to within a span of
// time. It records that this one begins.
func Inspect(ctx context.Context, on postgres.DBTX, name string, within time.Duration) (bool, error) {
	mine, err := db.New(on).WorkerInspect(ctx, db.WorkerInspectParams{Name: name, Within: within})
	if err != nil {
		return false, fmt.Errorf("begin to compare what is installed: %w", err)
	}
	return mine > 0, nil
}

// Forget records that a worker process has stopped.
func Forget(ctx context.Context, on postgres.DBTX, name string) error {
	if err := db.New(on).WorkerForget(ctx, name); err != nil {
		return fmt.Errorf("forget the worker: %w", err)
	}
	return nil
}

// List lists at most a hundred worker processes that were seen within a span of time, such as Alive, latest started
// first.
func List(ctx context.Context, on postgres.DBTX, within time.Duration) ([]Worker, error) {
	rows, err := db.New(on).WorkerList(ctx, db.WorkerListParams{Within: within, MaxRows: most})
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	all := make([]Worker, len(rows))
	for i, w := range rows {
		all[i] = Worker{
			Name: w.Name, StartedAt: w.StartedAt, LastSeenAt: w.LastSeenAt, Version: w.Version, Workers: int(w.Workers),
			Pace: w.Pace, CurrentPace: w.CurrentPace, PaceReason: w.PaceReason, MaxEntities: int(w.MaxEntities), DailyHour: int(w.DailyHour), Lookback: int(w.Lookback),
			Retention: time.Duration(w.RetentionSeconds) * time.Second, Follower: w.Follower, Trouble: w.Trouble,
		}
		if err := json.Unmarshal(w.Followers, &all[i].Followers); err != nil {
			return nil, fmt.Errorf("read the followers of the worker %s: %w", w.Name, err)
		}
	}
	return all, nil
}
