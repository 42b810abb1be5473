// Package standing judges the state of an archive. Its checks are the archive's contribution to package health, to the doctor and to the
// archive's page.
package standing

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
)

// Late is the name of the check that finds that nobody archives, or that the slot or a disk fills up.
const Late = "archive_late"

const (
	// late is how far the archive may be behind while its slot holds back WAL.
	late = 15 * time.Minute
	// baseAge and proofAge are the ages of the last base and the last proof from which on a check warns.
	baseAge  = 14 * 24 * time.Hour
	proofAge = 30 * 24 * time.Hour
	// retained is how much WAL the slot may hold back before a check warns, in bytes.
	retained = 4 << 30
)

// Facts are what the checks are based on.
type Facts struct {
	Chain      chain.Chain
	Slot       wal.Slot
	HasSlot    bool
	Published  bool // whether the publication exists
	Triggers   bool // whether all exist and are enabled
	Used       int  // of the disk, in percent; 0 for a bucket
	Now        time.Time
	Unreadable error
}

// Source reads the facts of one archive, repeatedly.
type Source struct {
	Store  *store.Store
	reader chain.Reader
}

// Read reads the facts. An archive that cannot be read is one of them, and not an error.
func (s *Source) Read(ctx context.Context, db *postgres.DB, now time.Time) (f Facts, err error) {
	f.Now = now
	if f.Chain, f.Unreadable = s.reader.Read(ctx, s.Store); f.Unreadable != nil {
		return f, nil //nolint:nilerr // The error is one of the facts.
	}
	f.Used, _ = s.Store.Used()
	err = db.Read(ctx, func(on postgres.DBTX) (err error) {
		if f.Slot, f.HasSlot, err = wal.FindSlot(ctx, on, f.Chain.Manifest.Slot); err != nil {
			return err
		}
		if f.Published, err = published(ctx, on, f.Chain.Manifest.Slot); err != nil {
			return err
		}
		f.Triggers, err = ddl.Installed(ctx, on)
		return err
	})
	return f, err
}

func published(ctx context.Context, on postgres.DBTX, name string) (is bool, err error) {
	if err := on.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1)", name).Scan(&is); err != nil {
		return false, fmt.Errorf("find the archive's publication: %w", err)
	}
	return is, nil
}

// untriggered says that [ddl.Installed] is false. Since when is not known, so the archive cannot go on with a gap.
const untriggered = "the archive's event triggers are missing or disabled, so changes of the schema are not archived: " + anew

// anew is what begins an archive again.
const anew = "run daymill archive remove, and then init with another place"

const status = "daymill archive status"

// Checks returns the archive's checks.
func (f Facts) Checks() []health.Check {
	check := func(name string, rank health.Rank, level health.Level, judge func() string) health.Check {
		return health.Check{Name: name, Rank: rank, Judge: func() (health.Finding, bool) {
			sentence := judge()
			return health.Finding{Level: level, Sentence: sentence, Command: status, Link: health.Link{Label: "Archive", Parts: []string{"archive"}}}, sentence != ""
		}}
	}
	return []health.Check{
		check("archive", health.Broken, health.Bad, f.broken),
		check("archive_proof", health.Broken, health.Bad, f.refuted),
		check(Late, health.Behind, health.Wait, f.late),
		check("archive_old", health.Behind, health.Wait, f.old),
	}
}

// broken returns why the archive cannot be relied on; empty if it can.
func (f Facts) broken() string {
	switch {
	case f.Unreadable != nil:
		return "the archive cannot be read: " + f.Unreadable.Error()
	case !f.HasSlot && !f.Published:
		return chain.ErrRemoved.Error()
	case !f.HasSlot:
		return "the archive's slot is gone, so transactions are missing: daymill archive run, or a worker with DAYMILL_ARCHIVE, makes a new base"
	case f.Slot.Lost():
		return "the archive's slot was invalidated, so transactions are missing: daymill archive run, or a worker with DAYMILL_ARCHIVE, makes a new base"
	case !f.Published:
		return "the archive's publication is missing, so nothing can be archived: " + anew
	case !f.Chain.Manifest.Detection && !f.Triggers:
		return untriggered
	case f.Chain.Gapped():
		gap := f.Chain.Gaps[len(f.Chain.Gaps)-1]
		return fmt.Sprintf("the archive has a gap from %s on, and no base after it yet: %s", gap.At.Format(time.RFC3339), gap.Reason)
	}
	if err := f.Chain.Check(); err != nil {
		return "the archive is not complete: " + err.Error()
	}
	return ""
}

// refuted returns why the last proof failed; empty if it did not.
func (f Facts) refuted() string {
	if n := len(f.Chain.Proofs); n > 0 && f.Chain.Proofs[n-1].Failure != "" {
		return "the last proof of the archive failed: " + f.Chain.Proofs[n-1].Failure
	}
	return ""
}

func (f Facts) late() string {
	if f.Unreadable != nil || !f.HasSlot {
		return ""
	}
	_, last := f.Chain.Written()
	switch {
	case !f.Slot.Active:
		return "no process archives the database: start daymill archive run, or a worker with DAYMILL_ARCHIVE"
	case f.Slot.Retained > retained:
		return fmt.Sprintf("the archive's slot holds back %d MiB of WAL, and is dropped before it fills the disk", f.Slot.Retained>>20)
	case f.Used >= store.Full:
		return fmt.Sprintf("%d %% of the archive's disk is used: prune the archive, or move it", f.Used)
	case f.Slot.Behind > retained/4 && f.Now.Sub(last) > late:
		return fmt.Sprintf("the archive is %s behind", f.Now.Sub(last).Truncate(time.Second))
	}
	return ""
}

func (f Facts) old() string {
	bases, proofs := len(f.Chain.Bases), len(f.Chain.Proofs)
	switch {
	case f.Unreadable != nil || bases == 0:
		return ""
	case f.Now.Sub(f.Chain.Bases[bases-1].At) > baseAge:
		return fmt.Sprintf("the archive's last base is from %s: run daymill archive base", f.Chain.Bases[bases-1].At.Format(time.DateOnly))
	case proofs == 0 && f.Now.Sub(f.Chain.Manifest.CreatedAt) > proofAge:
		return "the archive has never been restored: run daymill archive prove"
	case proofs > 0 && f.Now.Sub(f.Chain.Proofs[proofs-1].At) > proofAge:
		return fmt.Sprintf("the archive was last restored on %s: run daymill archive prove", f.Chain.Proofs[proofs-1].At.Format(time.DateOnly))
	}
	return ""
}
