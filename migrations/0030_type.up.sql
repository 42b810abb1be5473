-- How many events of each type a date has, over all entities, for the page of totals. A date may have a million rows, so nobody adds them up
-- while a person waits for a page: the run that completes a date has counted them all, and records the sums. A date that was completed by an
-- older version has none until it is rolled up again.
CREATE TABLE analytics.date_types (
    metric_date date PRIMARY KEY,
    -- views, clicks, saves and skips; other by the name of the event type, the fifty most frequent; and rest, the sum of all others.
    counts jsonb NOT NULL
);
