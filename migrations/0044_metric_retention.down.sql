DROP FUNCTION analytics.drop_metric_month(text);
DROP FUNCTION analytics.metric_months();
DROP FUNCTION analytics.metrics_from(timestamptz);
ALTER TABLE analytics.installation DROP COLUMN metric_months;
