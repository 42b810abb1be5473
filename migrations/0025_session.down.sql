DROP TABLE daymill.session_key;
