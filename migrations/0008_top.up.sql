-- The entities that a date has most of, for its page. A date may have a million rows, and there is no cheap way to the
-- largest of them: sorting them takes most of a second, and an index on each count would make every write of metrics
-- dearer, five times over. But a run has all the counts in its memory before it publishes any, so it keeps the ten
-- largest of each as it goes, and records them when the date is complete, in a row of its own: the ledger's rows of
-- dates are written every second of a run, and read by the year.
CREATE TABLE analytics.top_entities (
    metric_date date PRIMARY KEY,
    -- Lists of {"id", "count"} by events, views, clicks, saves and skips, the largest first.
    top jsonb NOT NULL
);
