-- A log is stored in segments; each is one object of the log store.
CREATE TABLE log_segments (
    build_id INTEGER NOT NULL REFERENCES builds (id),
    at       INTEGER NOT NULL,            -- bytes of the log before it
    bytes    INTEGER NOT NULL,            -- bytes of it, unpacked
    lines    INTEGER NOT NULL,
    name     TEXT NOT NULL,
    PRIMARY KEY (build_id, at)
) STRICT, WITHOUT ROWID;
-- Logs were plain files before; nobody counted their lines.
INSERT INTO log_segments (build_id, at, bytes, lines, name)
SELECT id, 0, log_bytes, 0, uid || '.log' FROM builds WHERE log_bytes > 0;
-- Which prow stores a log that still grows, and until when nobody else does.
ALTER TABLE builds ADD COLUMN log_holder TEXT;
ALTER TABLE builds ADD COLUMN log_until INTEGER NOT NULL DEFAULT 0;
