-- name: InstallationGet :one
-- The settings of the installation.
SELECT
    i.entity_type,
    i.time_zone,
    i.river_schema,
    i.installed_at
FROM analytics.installation AS i;

-- name: InstallationSetTimeZone :exec
UPDATE analytics.installation SET time_zone = @time_zone::text;

-- name: InstallationRetention :one
-- How long the application keeps events; 0 if that is not set.
SELECT coalesce(i.event_retention, interval '0')::interval AS retention FROM analytics.installation AS i;

-- name: InstallationSetRetention :exec
UPDATE analytics.installation SET event_retention = nullif(cast(@retention AS interval), interval '0');

-- name: InstallationHasMetrics :one
-- Whether any date has metrics or a run, so that the reporting zone can no longer change.
SELECT
    (EXISTS(SELECT 1 FROM analytics.daily_entity_metrics LIMIT 1) OR EXISTS(SELECT FROM analytics.rollup_dates))::boolean;

-- name: TimeZoneName :one
-- The name of a time zone as the tz database spells it.
SELECT z.name::text FROM pg_catalog.pg_timezone_names AS z WHERE lower(z.name) = lower(@name::text);

-- name: SessionKey :one
-- The key that signs sessions.
SELECT s.key FROM daymill.session_key AS s;
