// Package audit is the record of who did what, when, and from where. Entries are only ever appended, in the transaction
// that did it. Requests for dates write themselves down, by a trigger: most of them come from elsewhere.
package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Where something was done from.
const (
	ViaAPI  = "api"
	ViaCLI  = "cli"
	ViaCron = "cron"
	ViaWeb  = "web"
)

// Who did something.
type Who struct {
	Actor string // a user of the page; the database's role where empty
	Via   string
}

// Entry is one thing that was done.
type Entry struct {
	Who

	Action string         // a verb and its noun: cancel backfill
	Target string         // what it was done to, as a person names it
	Detail map[string]any // in JSON; may be nil
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
