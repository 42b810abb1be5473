DROP VIEW analytics.daily_entity_metrics_live;
DROP TABLE analytics.daily_entity_metrics;
