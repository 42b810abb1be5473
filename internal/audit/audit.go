// Package audit is the record of who did what, when, and from where. Entries are only ever appended, in the transaction of
// the action. A trigger records requests for dates, because most of them come from elsewhere.
package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Where an action came from.
const (
	ViaAPI  = "api"
	ViaCLI  = "cli"
	ViaCron = "cron"
	ViaWeb  = "web"
	// ViaWorker is what a worker does on its own, without a person.
	ViaWorker = "worker"
)

// Who is who did something, and from where.
type Who struct {
	Actor string // a user of the pages; the database's role if empty
	Via   string
}

// Entry is one action.
type Entry struct {
	Who

	Action string         // a verb and its noun: cancel backfill
	Target string         // its target, in words for a person
	Detail map[string]any // stored as JSON; may be nil
}

// Record appends an entry in the caller's transaction.
func Record(ctx context.Context, on postgres.DBTX, entry Entry) error {
	detail := []byte("{}")
	if len(entry.Detail) > 0 {
		var err error
		if detail, err = json.Marshal(entry.Detail); err != nil {
			return fmt.Errorf("write the audit: %w", err)
		}
	}
	err := db.New(on).AuditAppend(ctx, db.AuditAppendParams{
		Actor: entry.Actor, Via: entry.Via, Action: entry.Action, Target: entry.Target, Detail: detail,
	})
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}
