ALTER TABLE analytics.rollup_requests ALTER may_lose SET DEFAULT
    CASE WHEN current_setting('daymill.sweep', true) = 'on' THEN 'none' ELSE 'all' END;
DROP TABLE analytics.source_reads;
