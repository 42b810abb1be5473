DROP FUNCTION analytics.right_jobs();
ALTER TABLE analytics.workers DROP COLUMN trouble;
DROP TABLE analytics.marks;
ALTER TABLE analytics.rollup_dates DROP COLUMN token, DROP COLUMN life, DROP COLUMN beat;
ALTER TABLE analytics.rollup_runs DROP COLUMN token, DROP COLUMN life;
DROP FUNCTION analytics.life();
