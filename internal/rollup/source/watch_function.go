package source

import (
	"context"
	"crypto/md5" //nolint:gosec // Postgres computes the same digest.
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
)

// watchBody is the body of the triggers' function. Texts between percent signs are replaced.
//
// Most statements insert rows of today. They only cost the lookup of the smallest instant in the transition table, and of where today
// begins, once per statement. Rows of today and later need no request, because the daily job requests every date once it is over. The
// function uses the current time and not the start of the transaction, because a transaction that stays open across midnight writes
// late events after that.
//
// An error in this function must not fail the application's statement, so the function catches errors. This costs a subtransaction
// per statement, which gets its own transaction id only if there are late events. Dates that could not be requested are recorded in
// analytics.watch_faults, and the reconciler requests them. If even that fails, the application's session and the server's log get a
// warning. If the statement is cancelled, the function does not catch that.
//
// If the column was renamed, the function looks up its new name, as the view does.
//
// The function has the rights of Daymill's owner and names columns, whose owner may exchange them: rename one, and give its name to a
// new column. So the function evaluates no column before it knows that it still is the one for which it was created. The value of
// another type could bring a cast along that runs with these rights, and another column may have other entities than the view shows.
// In that case, it requests whole dates.
//
// Instants before our era and infinity have no date that can be requested.
const watchBody = `
#variable_conflict use_column
DECLARE
    daymill_clock timestamptz := clock_timestamp();
    daymill_zone text;
    daymill_today date;
    daymill_today_from timestamptz;
    daymill_earliest timestamptz;
    daymill_first_at timestamptz[];
    daymill_last_at timestamptz[];
    daymill_scopes jsonb[];
    daymill_few boolean;
    daymill_typed boolean;
    daymill_counted boolean;
    daymill_instant text;
    daymill_error text;
BEGIN
    <<asking>>
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            daymill_instant := analytics.watch_instant(TG_RELID, TG_ARGV[0], TG_ARGV[1]::integer, TG_ARGV[2]);
            IF daymill_instant IS NOT NULL THEN
                EXECUTE format('
                    SELECT array_agg(analytics.date_start(d.metric_date))
                    FROM analytics.rollup_dates AS d
                    WHERE EXISTS (
                        SELECT FROM %1$s AS e
                        WHERE %2$s >= analytics.date_start(d.metric_date) AND %2$s < analytics.date_start(d.metric_date + 1)
                    )', TG_RELID::regclass, daymill_instant)
                INTO daymill_first_at;
                daymill_last_at := daymill_first_at;
                PERFORM analytics.request_late(daymill_first_at, daymill_last_at, analytics.time_zone());
            END IF;
            RETURN NULL;
        END IF;

        SELECT i.time_zone INTO daymill_zone FROM analytics.installation AS i;
        daymill_today := (daymill_clock AT TIME ZONE daymill_zone)::date;
        daymill_today_from := (daymill_today + 1)::timestamp AT TIME ZONE daymill_zone;
        IF daymill_clock < daymill_today_from THEN
            daymill_today_from := daymill_today::timestamp AT TIME ZONE daymill_zone;
        END IF;
        IF daymill_today_from IS NULL THEN
            RAISE EXCEPTION 'analytics.installation has no reporting zone';
        END IF;
        IF TG_OP = 'DELETE' THEN
            SELECT %typed% INTO daymill_typed FROM deleted LIMIT 1;
        ELSE
            SELECT %typed% INTO daymill_typed FROM inserted LIMIT 1;
        END IF;
        IF NOT daymill_typed THEN
            EXIT asking;
        END IF;

        IF TG_OP = 'INSERT' THEN
            SELECT min(%instant%) INTO daymill_earliest FROM inserted;
        ELSIF TG_OP = 'DELETE' THEN
            SELECT min(%instant%) INTO daymill_earliest FROM deleted;
        ELSE
            SELECT least((SELECT min(%instant%) FROM inserted), (SELECT min(%instant%) FROM deleted)) INTO daymill_earliest;
        END IF;
        IF daymill_earliest IS NULL OR daymill_earliest >= daymill_today_from THEN
            RETURN NULL;
        END IF;
        daymill_counted := %counted%;
        IF %scoped% AND NOT daymill_counted THEN
            EXIT asking;
        END IF;
        IF TG_OP = 'INSERT' THEN
            daymill_few := daymill_counted AND (SELECT count(*) <= 10000 FROM (SELECT FROM inserted LIMIT 10001) AS few);
            SELECT %gathered% INTO daymill_first_at, daymill_last_at, daymill_scopes FROM (
                %scopes% FROM (SELECT %instant% AS at, %entity% AS entity FROM inserted) AS r %late%
            ) AS s;
        ELSIF TG_OP = 'DELETE' THEN
            daymill_few := daymill_counted AND (SELECT count(*) <= 10000 FROM (SELECT FROM deleted LIMIT 10001) AS few);
            SELECT %gathered% INTO daymill_first_at, daymill_last_at, daymill_scopes FROM (
                %scopes% FROM (SELECT %instant% AS at, %entity% AS entity FROM deleted) AS r %late%
            ) AS s;
        ELSIF daymill_counted THEN
            daymill_few := (SELECT count(*) <= 5000 FROM (SELECT FROM inserted LIMIT 5001) AS few);
            SELECT %gathered% INTO daymill_first_at, daymill_last_at, daymill_scopes FROM (
                %scopes% FROM (%changed%) AS r %late%
            ) AS s;
        ELSE
            SELECT array_agg(s.first_at), array_agg(s.last_at) INTO daymill_first_at, daymill_last_at FROM (
                %dates% FROM (SELECT %instant% AS at FROM inserted UNION ALL SELECT %instant% FROM deleted) AS r %late%
            ) AS s;
        END IF;
        IF daymill_first_at IS NOT NULL THEN
            PERFORM analytics.request_late(daymill_first_at, daymill_last_at, daymill_zone, daymill_scopes);
        END IF;
        RETURN NULL;
    EXCEPTION
        WHEN undefined_column THEN
            daymill_error := SQLERRM;
        WHEN OTHERS THEN
            daymill_error := SQLERRM;
            daymill_instant := '';
    END;

    BEGIN
        daymill_error := coalesce(daymill_error, 'its column with the instant is missing, or has another type');
        IF daymill_instant IS NULL AND daymill_today_from IS NOT NULL THEN
            daymill_instant := analytics.watch_instant(TG_RELID, TG_ARGV[0], TG_ARGV[1]::integer, TG_ARGV[2]);
            IF daymill_instant IS NOT NULL THEN
                EXECUTE format(
                    'SELECT array_agg(s.first_at), array_agg(s.last_at) FROM (%dates% FROM (' || CASE TG_OP
                        WHEN 'INSERT' THEN 'SELECT %1$s AS at FROM inserted'
                        WHEN 'DELETE' THEN 'SELECT %1$s AS at FROM deleted'
                        ELSE 'SELECT %1$s AS at FROM inserted UNION ALL SELECT %1$s FROM deleted'
                    END || ') AS r %late_dynamic%) AS s', daymill_instant)
                INTO daymill_first_at, daymill_last_at USING daymill_zone, daymill_today_from;
                IF daymill_first_at IS NOT NULL THEN
                    PERFORM analytics.request_late(daymill_first_at, daymill_last_at, daymill_zone);
                END IF;
                RETURN NULL;
            END IF;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        daymill_error := SQLERRM;
    END;

    RAISE WARNING 'daymill: late events in % could not be asked for at once: %', TG_RELID::regclass, daymill_error
    USING HINT = 'The statement is not affected. daymill doctor says more.';
    BEGIN
        PERFORM analytics.watch_fault(TG_RELID, daymill_first_at, daymill_last_at, daymill_error);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'daymill: nor could that be recorded: %', SQLERRM;
    END;
    RETURN NULL;
END
`

// Rows are grouped by local date, which is cheap. Only for the first and the last instant of each group does the function ask to
// which date it belongs.
const (
	watchDates = "SELECT min(r.at) AS first_at, max(r.at) AS last_at"
	// The entities of each group, if there are few.
	watchScopes = watchDates +
		", to_jsonb(array_agg(DISTINCT r.entity) FILTER (WHERE daymill_few AND r.entity IS NOT NULL)) AS scope"
	watchGathered = "array_agg(s.first_at), array_agg(s.last_at), array_agg(s.scope)"
	watchLate     = "WHERE r.at < daymill_today_from AND r.at >= '0001-01-03 00:00+00' GROUP BY (r.at AT TIME ZONE daymill_zone)::date"
)

// template returns a digest that distinguishes functions of this version from those of other versions.
func template() string { return digest(watchBody + watchScopes + watchGathered + watchLate) }

// digest returns the MD5 as Postgres computes it, to compare a function's text with the recorded digest. It protects no secret.
func digest(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // See above.
	return hex.EncodeToString(sum[:])
}

// function returns the function's body.
func (w *watch) function(ctx context.Context, tx pgx.Tx) (string, error) {
	queries := db.New(tx)
	version, err := queries.WatchViewVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("read the version of analytics.events: %w", err)
	}
	literals, err := queries.SourceLiterals(ctx, []string{w.zone, version})
	if err != nil {
		return "", fmt.Errorf("quote the zone: %w", err)
	}
	instant := w.time.Quoted
	if w.zone != "" {
		// Near the limits of Postgres's range, a timestamp may have no instant in some zones. Its date cannot be requested.
		instant = "(CASE WHEN " + instant + " > '0001-01-02' AND " + instant + " < '9999-12-30' THEN " + instant +
			" AT TIME ZONE " + literals[0] + " END)"
	}
	unchanged, err := w.unchanged(ctx, tx)
	if err != nil {
		return "", err
	}
	dynamic := strings.NewReplacer("daymill_zone", "$1", "daymill_today_from", "$2", "'", "''").Replace(watchLate)
	counted, changed := w.changed(instant, literals[1], unchanged)
	body := strings.NewReplacer("%instant%", instant, "%dates%", watchDates, "%scopes%", watchScopes, "%gathered%", watchGathered,
		"%entity%", w.entity(), "%late%", watchLate, "%late_dynamic%", dynamic, "%typed%", w.typed(),
		"%scoped%", strconv.FormatBool(len(w.counted) > 0), "%counted%", counted, "%changed%", changed).Replace(watchBody)
	return body, nil
}

// entity returns the expression for the entity of a row as a request names it. It returns NULL if the view may show the row under
// another entity.
func (w *watch) entity() string {
	if w.entityID == "" {
		return "NULL::pg_catalog.text"
	}
	return "(" + w.entityID + ")::pg_catalog.text"
}

// typed returns a condition that tells whether the column with the instant still has its type. It has no parameter, so each session plans it
// once.
func (w *watch) typed() string {
	return fmt.Sprintf("pg_catalog.pg_typeof(%s)::oid = %d", w.time.Quoted, w.time.TypeID)
}

// unchanged returns a condition that tells whether the names of the columns that the view counts still mean the same columns of the table,
// with the same types. It is false after a restore, which gives tables other numbers.
func (w *watch) unchanged(ctx context.Context, tx pgx.Tx) (string, error) {
	columns := map[string]db.SourceColumnsRow{}
	for _, column := range w.columns {
		columns[column.Name] = column
	}
	names := slices.Sorted(maps.Keys(columns))
	literals, err := db.New(tx).SourceLiterals(ctx, names)
	if err != nil {
		return "", fmt.Errorf("quote the columns' names: %w", err)
	}
	parts, numbers := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("(%s, %d, %d)", literals[i], columns[name].Number, columns[name].TypeID)
		numbers[i] = strconv.Itoa(int(columns[name].Number))
	}
	return fmt.Sprintf("(SELECT count(*) = %d FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = %d AND a.attnum IN (%s) "+
		"AND (a.attname, a.attnum, a.atttypid) IN (%s))", len(names), w.table.ID, strings.Join(numbers, ", "), strings.Join(parts, ", ")), nil
}

// changed returns a query for the instants of rows whose counted columns an update has changed, and a condition that tells whether
// the query may be used: only while the view is the one for which the function was created, and its columns are, too. If somebody has
// replaced the view by hand, any column may count. Replacing a view writes its rule again, in another transaction.
func (w *watch) changed(instant, version, unchanged string) (counted, query string) {
	if len(w.counted) == 0 {
		return "false", "SELECT " + instant + " AS at, NULL::pg_catalog.text AS entity FROM inserted"
	}
	counted = "EXISTS (SELECT FROM pg_catalog.pg_rewrite AS v WHERE v.ev_class = to_regclass('analytics.events') " +
		"AND v.xmin = " + version + "::xid) AND " + unchanged
	row := "SELECT " + instant + " AS at, " + w.entity() + " AS entity, " + w.counted[0] + " AS entity_id, " + w.counted[1] +
		" AS event_type FROM "
	return counted, "(" + row + "inserted EXCEPT ALL " + row + "deleted) UNION ALL (" + row + "deleted EXCEPT ALL " + row + "inserted)"
}
