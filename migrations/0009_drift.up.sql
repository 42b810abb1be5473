-- Which entities have drifted: a verification's figures say how much is wrong, and whoever mends it asks where. The first of
-- them are kept with it, in key order; a date whose every row differs would else be written twice.
ALTER TABLE analytics.verifications ADD COLUMN drifts jsonb NOT NULL DEFAULT '[]';

-- For lists of what has drifted, which is rare among years of what has not.
CREATE INDEX verifications_result ON analytics.verifications (result, id);
