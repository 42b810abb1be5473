DROP TABLE capture.letter;
DROP TABLE capture.shard;
DROP TABLE capture.consumer;
DROP SCHEMA capture;
