DROP VIEW analytics.date_states;
DROP TABLE analytics.schedules;
DROP TABLE analytics.rollup_requests;
DROP FUNCTION analytics.notify_request();
DROP TABLE analytics.backfill_dates;
DROP TABLE analytics.backfills;
DROP TABLE analytics.rollup_runs;
DROP TABLE analytics.rollup_dates;
