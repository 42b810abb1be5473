package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
	"github.com/daymill/daymill/internal/view/signal"
)

// Drift is a change of a view's tables since the view was created.
type Drift struct {
	ID        int64      `json:"id"`
	View      int64      `json:"-"`
	Kind      string     `json:"kind"`
	Table     int        `json:"-"` // index
	Number    int        `json:"-"` // of the column; 0 if it is not about a column
	Sentence  string     `json:"sentence"`
	State     string     `json:"state"`
	CreatedAt time.Time  `json:"created_at"`
	DecidedAt *time.Time `json:"decided_at"`
	DecidedBy string     `json:"decided_by"`
}

// States of drift.
const (
	Open     = "open"
	Followed = "followed"
	Accepted = "accepted"
	Rejected = "rejected"
)

// Kinds of drift.
const (
	renamed      = "renamed"
	dropped      = "dropped"
	added        = "added"
	retyped      = "retyped"
	nullable     = "nullable"
	tableRenamed = "table_renamed"
	tableDropped = "table_dropped"
	keyChanged   = "key"
)

// Drifts returns a view's drift, newest first.
func Drifts(ctx context.Context, on postgres.DBTX, view int64, most int) ([]Drift, error) {
	rows, err := db.New(on).DriftList(ctx, db.DriftListParams{ViewID: view, MaxRows: int32(min(most, maxList))}) //nolint:gosec // Bounded.
	if err != nil {
		return nil, fmt.Errorf("list drift: %w", err)
	}
	list := make([]Drift, len(rows))
	for i, row := range rows {
		list[i] = Drift{
			ID: row.ID, View: row.ViewID, Kind: row.Kind, Table: int(row.TableIndex), Number: int(row.ColumnNumber), Sentence: row.Sentence,
			State: row.State, CreatedAt: row.CreatedAt, DecidedAt: row.DecidedAt, DecidedBy: row.DecidedBy,
		}
	}
	return list, nil
}

// Follow compares a view's tables with the catalog, and follows changes if nothing is lost: a column that was renamed or dropped, a type that
// became wider. If something would be lost, or if the definition says so, it pauses the view.
func (e *Engine) Follow(ctx context.Context, view int64) error {
	versions, err := Versions(ctx, e.DB, view)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Stale != "" {
			continue
		}
		d, err := e.differ(ctx, v)
		if err != nil {
			return err
		}
		if len(d.entries) == 0 {
			if err := e.unseen(ctx, v, d); err != nil {
				return err
			}
			continue
		}
		if err := e.settle(ctx, v, d, v.Plan.Definition.Drift == definition.Ask); err != nil {
			return err
		}
	}
	return nil
}

// settle records drift, and then follows it or pauses the view.
func (e *Engine) settle(ctx context.Context, version Version, found *difference, ask bool) error {
	var made *plan.Plan
	if found.stop == "" {
		var err error
		if made, err = plan.With(ctx, e.DB, found.definition, found.sources); err != nil {
			found.stop = sentences(err).Error() + ": change the definition"
			found.entries[len(found.entries)-1].State = Open
		}
	}
	var told []signal.Drift
	err := e.DB.Tx(ctx, func(tx pgx.Tx) error {
		told = nil
		if err := lock(ctx, tx, version.View); err != nil {
			return err
		}
		versions, err := Versions(ctx, tx, version.View)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(versions, func(now Version) bool { return now.ID == version.ID && now.Revision == version.Revision }) {
			return nil // Another process has followed it.
		}
		row, err := db.New(tx).ViewByID(ctx, version.View)
		if err != nil {
			return fmt.Errorf("read a view: %w", err)
		}
		if found.stop == "" && ask && (found.rebuild || found.fill || slices.ContainsFunc(found.entries, func(entry Drift) bool { return entry.Kind == renamed || entry.Kind == tableRenamed })) {
			for i := range found.entries {
				found.entries[i].State = Open
			}
			found.stop = found.entries[0].Sentence
		}
		if told, err = e.write(ctx, tx, View(row), found); err != nil {
			return err
		}
		if found.stop != "" {
			if row.PausedAt != nil {
				return nil
			}
			return Pause(ctx, tx, View(row), found.stop, audit.Who{Via: audit.ViaCron})
		}
		return e.follow(ctx, tx, View(row), version, made, found)
	})
	if err != nil {
		return err
	}
	for _, event := range told {
		telemetry.Tell(ctx, e.Listeners, event)
	}
	return nil
}

// sentences returns an error without places in a file, because the definition does not come from a file.
func sentences(err error) error {
	mistakes, is := errors.AsType[document.Mistakes](err)
	if !is {
		return err
	}
	texts := make([]string, len(mistakes))
	for i, mistake := range mistakes {
		texts[i] = mistake.Text
	}
	return refusef("%s", strings.Join(texts, "; "))
}

// write records drift, and returns the new entries.
func (*Engine) write(ctx context.Context, tx pgx.Tx, of View, d *difference) (told []signal.Drift, err error) {
	for _, entry := range d.entries {
		count, err := db.New(tx).DriftInsert(ctx, db.DriftInsertParams{
			ViewID: of.ID, Kind: entry.Kind, TableIndex: int32(entry.Table), ColumnNumber: int32(entry.Number), Sentence: entry.Sentence, State: entry.State, //nolint:gosec // Small numbers.
		})
		if err != nil {
			return nil, fmt.Errorf("record drift: %w", err)
		}
		if count > 0 {
			told = append(told, signal.Drift{View: of.Name, Kind: entry.Kind, State: entry.State})
		}
	}
	return told, nil
}

// follow gives a version a new plan, or builds the next version.
func (e *Engine) follow(ctx context.Context, tx pgx.Tx, view View, version Version, made *plan.Plan, d *difference) error {
	queries := db.New(tx)
	if d.columns && !d.rebuild {
		return e.change(ctx, tx, view, made, audit.Who{Via: audit.ViaCron})
	}
	if d.rebuild {
		if version.State == Serving {
			if err := queries.VersionStale(ctx, db.VersionStaleParams{ID: version.ID, Stale: d.entries[0].Sentence}); err != nil {
				return fmt.Errorf("record that a table is stale: %w", err)
			}
		}
		_, err := e.replace(ctx, tx, view, made, audit.Who{Via: audit.ViaCron})
		return err
	}
	made.Keep(version.Plan)
	made.Filling = version.Plan.Filling
	if err := e.replan(ctx, tx, version, made); err != nil {
		return fmt.Errorf("follow drift: %w", err)
	}
	if d.compare {
		if err := whole(ctx, tx, version, TaskVerify); err != nil {
			return err
		}
	}
	if !d.fill {
		return nil
	}
	_, err := queries.ViewTaskInsert(ctx, db.ViewTaskInsertParams{ViewID: version.View, VersionID: &version.ID, Kind: TaskBuild, Via: audit.ViaCron})
	if err != nil {
		return fmt.Errorf("insert a task: %w", err)
	}
	return nil
}

// Decide accepts or rejects open drift; all of it if no ids are given. The view follows accepted drift, adds new columns, and continues if the drift
// had paused it. If nothing is open, Decide can accept drift that was rejected, except for new columns. A view that drift has paused stays so if that is
// rejected.
func (e *Engine) Decide(ctx context.Context, name string, accept bool, ids []int64, who audit.Who) (int, error) {
	existing, err := Get(ctx, e.DB, name)
	if err != nil {
		return 0, err
	}
	versions, err := Versions(ctx, e.DB, existing.ID)
	if err != nil || len(versions) == 0 {
		return 0, err
	}
	last := versions[len(versions)-1]
	state := Rejected
	var d *difference
	var made *plan.Plan
	outdated := map[int64]string{}
	if accept {
		state = Accepted
		if made, d, err = e.accepted(ctx, existing, last, ids); err != nil {
			return 0, err
		}
		if outdated, err = e.outdated(ctx, versions[:len(versions)-1]); err != nil {
			return 0, err
		}
	}
	count := 0
	if ids == nil {
		ids = []int64{}
	}
	err = e.DB.Tx(ctx, func(tx pgx.Tx) error {
		if count, err = decide(ctx, tx, existing, state, ids, who); err != nil || count == 0 {
			return err
		}
		if accept {
			for id, why := range outdated {
				if err := db.New(tx).VersionStale(ctx, db.VersionStaleParams{ID: id, Stale: why}); err != nil {
					return fmt.Errorf("record that a table is stale: %w", err)
				}
			}
			if err := e.follow(ctx, tx, existing, last, made, d); err != nil {
				return err
			}
			if existing.PausedAt != nil {
				if err := resume(ctx, tx, existing, who); err != nil {
					return err
				}
			}
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: map[bool]string{true: "accept drift", false: "reject drift"}[accept], Target: name, Detail: map[string]any{"entries": count}})
	})
	return count, err
}

// outdated returns which tables of a view cannot follow its drift, and why. One that serves while another one is built would pause the view again and again.
func (e *Engine) outdated(ctx context.Context, versions []Version) (map[int64]string, error) {
	outdated := map[int64]string{}
	for _, v := range versions {
		if v.Stale != "" {
			continue
		}
		found, err := e.differ(ctx, v)
		if err != nil {
			return nil, err
		}
		if found.stop != "" {
			outdated[v.ID] = found.stop
		}
	}
	return outdated, nil
}

// decide records a decision, and returns how many entries it is about.
func decide(ctx context.Context, tx pgx.Tx, of View, state string, ids []int64, who audit.Who) (count int, err error) {
	params := db.DriftDecideParams{ViewID: of.ID, Ids: ids, State: state, Former: Open, DecidedBy: who.Actor}
	decided, err := db.New(tx).DriftDecide(ctx, params)
	if err == nil && len(decided) == 0 && state == Accepted {
		params.Former = Rejected
		decided, err = db.New(tx).DriftDecide(ctx, params)
	}
	if err != nil {
		return 0, fmt.Errorf("decide on drift: %w", err)
	}
	return len(decided), nil
}

// held reports whether drift that nobody has accepted is why a view is paused.
func (v View) held(ctx context.Context, on postgres.DBTX) (bool, error) {
	is, err := db.New(on).DriftHolds(ctx, v.ID)
	if err != nil {
		return false, fmt.Errorf("read the drift of view %s: %w", v.Name, err)
	}
	return is, nil
}

// redefine gives a view that drift has paused another definition, and resumes it. Its present table, which cannot follow the drift, serves unchanged until the
// new one is complete.
func (e *Engine) redefine(ctx context.Context, tx pgx.Tx, v View, made *plan.Plan, who audit.Who) error {
	versions, err := Versions(ctx, tx, v.ID)
	if err != nil {
		return err
	}
	queries := db.New(tx)
	if alteration(versions, made) == nil {
		for _, version := range versions {
			if version.State != Serving {
				continue
			}
			if err := queries.VersionStale(ctx, db.VersionStaleParams{ID: version.ID, Stale: v.PausedBecause}); err != nil {
				return fmt.Errorf("record that a table is stale: %w", err)
			}
		}
	}
	if err := e.change(ctx, tx, v, made, who); err != nil {
		return err
	}
	if _, err := decide(ctx, tx, v, Accepted, []int64{}, who); err != nil {
		return err
	}
	return resume(ctx, tx, v, who)
}

// accepted returns the plan for accepted drift.
func (e *Engine) accepted(ctx context.Context, of View, last Version, ids []int64) (*plan.Plan, *difference, error) {
	found, err := e.differ(ctx, last)
	if err != nil {
		return nil, nil, err
	}
	list, err := Drifts(ctx, e.DB, of.ID, maxList)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range list {
		if entry.State != Open || entry.Kind != added || len(ids) > 0 && !slices.Contains(ids, entry.ID) {
			continue
		}
		source := found.sources[entry.Table]
		at := slices.IndexFunc(source.Columns, func(c plan.Column) bool { return c.Number == entry.Number })
		if at < 0 {
			continue
		}
		t := &found.definition.Tables[entry.Table]
		t.Columns = append(t.Columns, definition.Column{Name: source.Columns[at].Name})
		found.columns = true
	}
	if slices.ContainsFunc(found.entries, func(entry Drift) bool {
		return entry.Kind == tableDropped || entry.Kind == tableRenamed && entry.State == Open
	}) { // Another table has the name.
		made, err := plan.Make(ctx, e.DB, e.Databases, found.definition)
		found.rebuild = true
		return made, found, sentences(err)
	}
	if len(found.entries) == 0 {
		found.entries = []Drift{{Sentence: "new columns were accepted"}}
	}
	made, err := plan.With(ctx, e.DB, found.definition, found.sources)
	return made, found, sentences(err)
}
