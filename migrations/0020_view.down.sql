-- The tables of the views go with what keeps them right.
DROP FUNCTION views.refresh(text, text[]);
DROP FUNCTION view.fits(text, text);
DO $$
DECLARE
    the_table text;
BEGIN
    FOR the_table IN SELECT v.table_name FROM view.version AS v LOOP
        EXECUTE format('DROP TABLE IF EXISTS views.%I', the_table);
    END LOOP;
END
$$;
DROP TABLE view.drift;
DROP TABLE view.task;
DROP TABLE view.version;
DROP TABLE view.view;
DROP TABLE view.database;
DROP SCHEMA view;
DO $$
BEGIN
    DROP SCHEMA views;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL; -- Somebody keeps tables of their own in it.
END
$$;
ALTER TABLE capture.stream DROP COLUMN view_tables;
DELETE FROM capture.consumer WHERE kind = 'view';
