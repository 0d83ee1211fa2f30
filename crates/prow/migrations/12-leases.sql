-- What one prow does for all, and until when no other does.
CREATE TABLE leases (
    name  TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
