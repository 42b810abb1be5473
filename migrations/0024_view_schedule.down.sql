ALTER TABLE view.version DROP COLUMN looks;
DELETE FROM view.task WHERE kind IN ('poll', 'compare');
DROP INDEX view.task_standing;
ALTER TABLE view.task
    DROP COLUMN since,
    DROP COLUMN mark,
    DROP COLUMN mark_at,
    DROP COLUMN looked_at,
    DROP CONSTRAINT task_kind_check,
    ADD CONSTRAINT task_kind_check CHECK (kind IN ('build', 'refresh', 'verify'));
