ALTER TABLE view.task DROP COLUMN stage, DROP COLUMN copied;
