DROP FUNCTION analytics.request_late(timestamptz [], timestamptz [], text, jsonb []);
DROP FUNCTION analytics.enqueue_entities(date, text [], text);

ALTER TABLE analytics.rollup_runs DROP COLUMN scope;

-- What was about some entities is about the whole date again.
ALTER TABLE analytics.rollup_requests DROP COLUMN entities;
