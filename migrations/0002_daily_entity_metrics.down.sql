DROP VIEW analytics.daily_entity_metrics_live;
DROP FUNCTION analytics.live_dates();
DROP TABLE analytics.daily_entity_metrics;
