-- Which entities have drifted. The figures of a verification say how much is wrong, and these rows say where. It stores only the first
-- of them, in key order: all of them would be a second copy of a date in which every row differs.
ALTER TABLE analytics.verifications ADD COLUMN drifts jsonb NOT NULL DEFAULT '[]';

-- For lists of what has drifted, which is rare among years of what has not.
CREATE INDEX verifications_result ON analytics.verifications (result, id);
