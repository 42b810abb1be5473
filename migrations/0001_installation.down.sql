DROP VIEW analytics.events;
DROP TABLE analytics.source;
DROP FUNCTION analytics.date_of(timestamptz);
DROP FUNCTION analytics.date_start(date);
DROP FUNCTION analytics.time_zone();
DROP TABLE analytics.installation;
DROP DOMAIN analytics.entity_id;
