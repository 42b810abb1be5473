-- Which entities have drifted: a verification's figures say how much is wrong, and whoever fixes it needs to know where. The first
-- of them are stored with it, in key order. If all were, a date in which every row differs would be written twice.
ALTER TABLE analytics.verifications ADD COLUMN drifts jsonb NOT NULL DEFAULT '[]';

-- For lists of what has drifted, which is rare among years of what has not.
CREATE INDEX verifications_result ON analytics.verifications (result, id);
