package chain

import (
	"context"
	"errors"
	"fmt"

	"github.com/daymill/daymill/internal/postgres"
)

// ErrOther says that a database is not the archive's.
var ErrOther = errors.New("give the archive's own database with --database-url")

// ErrRemoved says that an archive was removed from its database.
var ErrRemoved = errors.New("the archive was removed from its database: run daymill archive init with another place, or stop archiving")

// Present returns [ErrRemoved] if the database has neither the slot nor the publication of the archive. A slot that is lost leaves the publication.
func (m *Manifest) Present(ctx context.Context, source postgres.DBTX) error {
	var there bool
	err := source.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1)
			OR EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1)`, m.Slot).Scan(&there)
	switch {
	case err != nil:
		return fmt.Errorf("check that the database has the archive's slot or publication: %w", err)
	case !there:
		return ErrRemoved
	}
	return nil
}

// Belongs returns [ErrOther] unless a database is the archive's. The slot belongs to its database, also after ALTER DATABASE RENAME; without the
// slot, the publication tells, and then the name.
func (m *Manifest) Belongs(ctx context.Context, source postgres.DBTX) error {
	var system, database, owner string
	var published bool
	err := source.QueryRow(ctx, `
		SELECT (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c), pg_catalog.current_database()::text,
			coalesce((SELECT s.database::text FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1), ''),
			EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1)`, m.Slot,
	).Scan(&system, &database, &owner, &published)
	switch {
	case err != nil:
		return fmt.Errorf("check that the database is the archive's: %w", err)
	case system != m.SystemID:
		return fmt.Errorf("the archive belongs to database %s in another cluster: %w", m.Database, ErrOther)
	case owner != "" && owner != database:
		return fmt.Errorf("the archive belongs to database %s, and not to %s: %w", owner, database, ErrOther)
	case owner == "" && !published && database != m.Database:
		return fmt.Errorf("the archive belongs to database %s, and not to %s: %w", m.Database, database, ErrOther)
	}
	return nil
}
