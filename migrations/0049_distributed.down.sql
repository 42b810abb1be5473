DROP FUNCTION analytics.has_metrics(date);
