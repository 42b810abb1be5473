DROP INDEX analytics.verifications_result;
ALTER TABLE analytics.verifications DROP COLUMN drifts;
