package chaos_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// dawdleSQL delays statements that read events, and statements that write metrics.
const dawdleSQL = `
CREATE SCHEMA chaos;
CREATE TABLE chaos.pace (kind text PRIMARY KEY, seconds double precision NOT NULL);
INSERT INTO chaos.pace VALUES ('read', 0), ('write', 0);
CREATE FUNCTION chaos.dawdle(what text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM pg_sleep(p.seconds) FROM chaos.pace AS p WHERE p.kind = what AND p.seconds > 0;
	RETURN true;
END
$$;
GRANT USAGE ON SCHEMA chaos TO daymill;`

const eventsSQL = `
CREATE SCHEMA app AUTHORIZATION daymill;
CREATE TABLE app.events (
	id bigserial PRIMARY KEY,
	entity_id bigint NOT NULL,
	event_type text NOT NULL,
	created_at timestamptz NOT NULL
);
CREATE INDEX events_created_at ON app.events (created_at);
CREATE INDEX events_entity ON app.events (entity_id, id);
ALTER TABLE app.events OWNER TO daymill;`

// auditSQL watches the runs from within the database. A run uses one connection, which stores the run's number in a setting of its session.
// Later writes of that session are compared with the ledger, which has the owner of the date. This is independent of the fence: the audit does
// not prevent a run from writing.
const auditSQL = `
CREATE TABLE chaos.violations (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), what text);

-- Whose transaction this is, for each date that it has taken: a session's settings are reset between transactions, and a run may take another session.
CREATE FUNCTION chaos.run_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM set_config('chaos.run_' || to_char(NEW.metric_date, 'YYYYMMDD'), NEW.run_id::text, true);
	PERFORM set_config('chaos.token_' || to_char(NEW.metric_date, 'YYYYMMDD'), NEW.token::text, true);
	RETURN NULL;
END
$$;
CREATE TRIGGER chaos_held AFTER INSERT OR UPDATE ON analytics.rollup_dates FOR EACH ROW EXECUTE FUNCTION chaos.run_held();

CREATE FUNCTION chaos.hold(day date, deed text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	writer bigint := nullif(current_setting('chaos.run_' || to_char(day, 'YYYYMMDD'), true), '')::bigint;
	token uuid := nullif(current_setting('chaos.token_' || to_char(day, 'YYYYMMDD'), true), '')::uuid;
	owner record;
BEGIN
	SELECT d.run_id, d.token, d.state, d.scan_run_id INTO owner FROM analytics.rollup_dates AS d WHERE d.metric_date = day;
	IF writer IS DISTINCT FROM owner.run_id OR token IS DISTINCT FROM owner.token OR owner.state <> 'running' THEN
		INSERT INTO chaos.violations (what) VALUES (format('run %s %s of %s, which is %s under run %s',
			coalesce(writer::text, '?'), deed, day, owner.state, owner.run_id));
	END IF;
END
$$;

CREATE FUNCTION chaos.metric_written() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM chaos.hold(coalesce(NEW.metric_date, OLD.metric_date), 'wrote metrics');
	RETURN NULL;
END
$$;
CREATE TRIGGER chaos_written AFTER INSERT OR UPDATE OR DELETE ON analytics.daily_entity_metrics
FOR EACH ROW EXECUTE FUNCTION chaos.metric_written();

CREATE FUNCTION chaos.metric_dawdle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM chaos.dawdle('write');
	RETURN NULL;
END
$$;
CREATE TRIGGER chaos_dawdle BEFORE INSERT OR UPDATE OR DELETE ON analytics.daily_entity_metrics
FOR EACH STATEMENT EXECUTE FUNCTION chaos.metric_dawdle();

-- A request is claimed before anything of the scan is published, and satisfied by the date's own scan.
CREATE FUNCTION chaos.request_moved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	owner analytics.rollup_dates;
BEGIN
	SELECT * INTO owner FROM analytics.rollup_dates AS d WHERE d.metric_date = NEW.metric_date;
	IF NEW.run_id IS DISTINCT FROM OLD.run_id THEN
		PERFORM chaos.hold(NEW.metric_date, 'claimed a request');
		IF owner.cursor IS NOT NULL OR owner.scan_run_id <> NEW.run_id THEN
			INSERT INTO chaos.violations (what) VALUES (format('request %s of %s was claimed by run %s in the middle of a scan (of run %s)',
				NEW.id, NEW.metric_date, NEW.run_id, owner.scan_run_id));
		END IF;
	END IF;
	IF NEW.resolution = 'satisfied' AND OLD.resolution IS NULL THEN
		IF NEW.run_id IS DISTINCT FROM owner.scan_run_id THEN
			INSERT INTO chaos.violations (what) VALUES (format('request %s of %s, claimed by run %s, was satisfied by the scan of run %s',
				NEW.id, NEW.metric_date, coalesce(NEW.run_id::text, '?'), owner.scan_run_id));
		END IF;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER chaos_moved AFTER UPDATE ON analytics.rollup_requests FOR EACH ROW EXECUTE FUNCTION chaos.request_moved();

-- Triggers after a row run at the end of the statement, and the one that satisfies the requests of a small date also completes the date. A trigger
-- before the row sees the date as the previous statement left it: the run has to hold the date by then.
CREATE FUNCTION chaos.request_satisfied() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF NEW.resolution = 'satisfied' AND OLD.resolution IS NULL THEN
		PERFORM chaos.hold(NEW.metric_date, 'satisfied a request');
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER chaos_satisfied BEFORE UPDATE ON analytics.rollup_requests FOR EACH ROW EXECUTE FUNCTION chaos.request_satisfied();`

// findings are queries for what is wrong at the end. Every request has to be satisfied, because nobody cancels anything here. Only a sweep's
// request may be protected: its run saw events that were deleted after it began, and the request for their deletion caused a later run.
var findings = []string{
	"SELECT what FROM chaos.violations ORDER BY id LIMIT 5",
	`SELECT format('request %s of %s is %s', q.id, q.metric_date, coalesce(q.resolution, 'open')) FROM analytics.rollup_requests AS q
		WHERE q.resolution IS DISTINCT FROM 'satisfied' AND NOT (q.resolution = 'protected' AND q.may_lose = 'none' AND EXISTS (
			SELECT FROM analytics.rollup_runs AS r WHERE r.metric_date = q.metric_date AND r.state = 'complete' AND r.finished_at > q.resolved_at
		)) ORDER BY q.id LIMIT 5`,
	// The run that completed the date claimed the request, or resumed the scan that did, and ended after the request.
	`SELECT format('request %s of %s was followed by no run', q.id, q.metric_date) FROM analytics.rollup_requests AS q
		WHERE q.resolution = 'satisfied' AND NOT EXISTS (
			WITH RECURSIVE heirs (id, state, finished_at) AS (
				SELECT r.id, r.state, r.finished_at FROM analytics.rollup_runs AS r WHERE r.id = q.run_id AND r.metric_date = q.metric_date
				UNION
				SELECT r.id, r.state, r.finished_at FROM analytics.rollup_runs AS r INNER JOIN heirs AS h ON r.resumed_run_id = h.id
			)
			SELECT FROM heirs AS h WHERE h.state = 'complete' AND h.finished_at >= q.requested_at
		) ORDER BY q.id LIMIT 5`,
	`SELECT format('job %s of %s is %s', j.id, j.args ->> 'date', j.state) FROM river.river_job AS j
		WHERE j.kind = 'rollup_day' AND j.state <> 'completed' ORDER BY j.id LIMIT 5`,
	`SELECT format('the date %s is %s', d.metric_date, d.state) FROM analytics.rollup_dates AS d WHERE d.state <> 'complete' ORDER BY 1 LIMIT 5`,
	`SELECT format('run %s of %s is %s', r.id, r.metric_date, r.state) FROM analytics.rollup_runs AS r
		WHERE r.state = 'running' ORDER BY r.id LIMIT 5`,
}

// quietSQL returns whether nothing is left to do.
const quietSQL = `SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)
	AND NOT EXISTS (SELECT FROM river.river_job WHERE kind = 'rollup_day' AND finalized_at IS NULL)`

// patience is how long a seed may take to become quiet. Dead workers' jobs whose dates have no other request
// are found only every half minute. Otherwise it takes some seconds.
const patience = 2 * time.Minute

// judge waits until the seed is quiet, and returns what is wrong.
func (x *trial) judge(ctx context.Context) (wrong []string) {
	for begun := time.Now(); ; {
		var quiet bool
		if err := x.db.QueryRow(ctx, quietSQL).Scan(&quiet); err == nil && quiet {
			break
		}
		if time.Since(begun) > patience {
			wrong = append(wrong, fmt.Sprintf("it is not quiet after %s", patience))
			break
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return []string{"interrupted"}
		}
	}
	for _, sql := range findings {
		rows, err := x.db.Query(ctx, sql)
		if err != nil {
			return append(wrong, err.Error())
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return append(wrong, err.Error())
		}
		wrong = append(wrong, found...)
	}
	if recount, err := pgtest.Exact(ctx, x.db); err != nil {
		wrong = append(wrong, err.Error())
	} else if recount.Events == 0 {
		wrong = append(wrong, "there are no events")
	}
	return wrong
}
