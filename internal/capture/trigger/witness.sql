-- Shows that the source has everything that was read from it: see witness.go.
CREATE SEQUENCE IF NOT EXISTS daymill_capture.witness CACHE 1;
SELECT pg_catalog.setval('daymill_capture.witness', 1 + (pg_catalog.random() * 1e18)::bigint) FROM daymill_capture.witness AS w WHERE NOT w.is_called;
