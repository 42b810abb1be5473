DROP INDEX analytics.backfills_untold;
ALTER TABLE analytics.backfills DROP COLUMN cancel_told;
