-- Views of databases whose changes cannot be captured are refreshed by schedule, by tasks that never end: "poll" reads the rows
-- that have changed by a column that says so, and "compare" reads all rows, which finds those that were deleted. Between two
-- rounds such a task is queued until retry_at.
ALTER TABLE view.task
    DROP CONSTRAINT task_kind_check,
    ADD CONSTRAINT task_kind_check CHECK (kind IN ('build', 'refresh', 'verify', 'poll', 'compare')),
    -- A poll begins at the value since. mark was the greatest value at mark_at: it takes the place of since once transactions
    -- that were open then are over.
    ADD COLUMN since text,
    ADD COLUMN mark text,
    ADD COLUMN mark_at timestamptz,
    -- When the last complete round began.
    ADD COLUMN looked_at timestamptz;
CREATE UNIQUE INDEX task_standing ON view.task (version_id, kind, table_index) WHERE kind IN ('poll', 'compare');

-- Rows that are read by schedule get positions, taken before they are read: of two readings of a row the later one wins.
ALTER TABLE view.version ADD COLUMN looks bigint NOT NULL DEFAULT 0;
