DROP FUNCTION analytics.metric_month(date);
