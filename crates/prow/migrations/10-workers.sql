-- What each worker said last.
CREATE TABLE workers (
    name   TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,              -- by its own clock
    heard  INTEGER NOT NULL,              -- by ours
    report TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX workers_heard ON workers (heard);
