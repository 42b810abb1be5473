// Package checkup has the archive's checks for the doctor: how schema changes come into the archive, and whether this machine has the
// programs that make a base. Package standing finds what is wrong with an existing archive.
package checkup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/doctor"
)

// Checks returns the archive's checks for [doctor.Config]. archive returns the archive; nil if the process was given none.
func Checks(archive func(ctx context.Context) (*standing.Source, error)) []doctor.Check {
	return []doctor.Check{{ID: "archive", Do: func(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
		source, err := archive(ctx)
		if err != nil {
			return err
		}
		database, err := read(ctx, tx)
		if err != nil {
			return err
		}
		if source == nil {
			if database.there {
				e.Addf(doctor.Note, "the database has the event triggers or the publication of an archive, but DAYMILL_ARCHIVE is not set for this process").
					Fixf("set DAYMILL_ARCHIVE; or, if you no longer want the archive, run daymill archive remove")
			}
			return nil
		}
		manifest, err := chain.ReadManifest(ctx, source.Store)
		switch {
		case errors.Is(err, chain.ErrNone):
			database.begin(e)
		case errors.Is(err, chain.ErrUnfinished):
			e.Addf(doctor.Failure, "the archive has no base: daymill archive init runs, or was interrupted").Fixf("daymill archive init, if it does not run")
		case err != nil:
			return err
		case manifest.Detection:
			e.Addf(doctor.Note, "schema changes are detected, and a new base of the archive follows each: the role may not create the event triggers that archive them").
				Fixf("to archive them without a gap: daymill archive remove, then daymill archive init as a superuser, with another place")
		case !database.triggers:
			e.Addf(doctor.Failure, "the archive's event triggers are missing or disabled, so changes of the schema are not archived").
				Fixf("daymill archive remove, then daymill archive init with another place")
		default:
			e.Addf(doctor.OK, "event triggers write each schema change to the archive")
		}
		programs(ctx, e, database.major)
		return nil
	}}}
}

type database struct {
	level      string
	may, there bool // whether the role may replicate, and whether the database has objects of an archive
	triggers   bool // whether all event triggers exist and are enabled
	major      int
}

func read(ctx context.Context, tx pgx.Tx) (d database, err error) {
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('wal_level'), r.rolsuper OR r.rolreplication, `+base.There+`,
			pg_catalog.current_setting('server_version_num')::integer / 10000
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user`).Scan(&d.level, &d.may, &d.there, &d.major)
	if err != nil {
		return d, fmt.Errorf("read what the database allows: %w", err)
	}
	d.triggers, err = ddl.Installed(ctx, tx)
	return d, err
}

// begin checks whether this role can begin an archive.
func (d database) begin(e *doctor.Examination) {
	switch {
	case d.level != "logical":
		e.Addf(doctor.Warning, "an archive cannot be begun: wal_level is %s", d.level).
			Fixf("ALTER SYSTEM SET wal_level = logical; then restart Postgres")
	case !d.may:
		e.Addf(doctor.Warning, "this role may not replicate, so it cannot begin an archive").
			Fixf("ALTER ROLE … REPLICATION; or daymill archive init --database-url URL, with the URL of a superuser")
	default:
		e.Addf(doctor.Warning, "there is no archive yet at the URL in DAYMILL_ARCHIVE").Fixf("daymill archive init")
	}
}

// programs checks the programs that make and restore a base.
func programs(ctx context.Context, e *doctor.Examination, server int) {
	for _, name := range []string{"pg_dump", "pg_dumpall", "psql"} {
		output, err := exec.CommandContext(ctx, name, "--version").Output() // pg_dump (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)
		major, known := version(string(output))
		switch {
		case err != nil:
			e.Addf(doctor.Warning, "%s is not on this machine, so this machine can neither make a base of the archive nor restore one", name).
				Fixf("install Postgres's client programs, of version %d or later", server)
		case known && major < server:
			e.Addf(doctor.Warning, "%s on this machine is of version %d, and refuses a server of version %d", name, major, server).
				Fixf("install Postgres's client programs, of version %d or later", server)
		}
	}
}

// version returns the major version that a program of Postgres prints.
func version(text string) (major int, known bool) {
	for field := range strings.FieldsSeq(text) {
		end := strings.IndexFunc(field, func(r rune) bool { return r < '0' || r > '9' }) // 15.16, 18beta1
		if end < 0 {
			end = len(field)
		}
		if major, err := strconv.Atoi(field[:end]); err == nil {
			return major, true
		}
	}
	return 0, false
}
