-- A build first copies tables of other databases, one after another, and a verification also compares these copies. The stage says where the
-- cursor is. A build that has begun to fill its table has passed the stages of its copies.
ALTER TABLE view.task
    ADD COLUMN stage integer NOT NULL DEFAULT 0,
    -- Rows of other databases that were copied or compared.
    ADD COLUMN copied bigint NOT NULL DEFAULT 0;
UPDATE view.task SET stage = 1000 WHERE kind = 'build' AND cursor IS NOT NULL AND state IN ('queued', 'running');
