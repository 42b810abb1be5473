DROP TABLE daymill.calls;
