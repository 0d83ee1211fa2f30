-- Who may use the API. Of a token only its digest is kept; it is found by its first part.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    prefix     TEXT NOT NULL UNIQUE,
    digest     TEXT NOT NULL,
    role       TEXT NOT NULL,
    projects   TEXT,                      -- JSON array of numbers; all projects without it
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER
) STRICT;

-- Who changed what. A row without a status is of a change that its prow did not live to tell the end of.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    who    TEXT NOT NULL,
    peer   TEXT NOT NULL,
    method TEXT NOT NULL,
    path   TEXT NOT NULL,
    status INTEGER
) STRICT;

-- What was answered to requests that may be sent again.
CREATE TABLE replies (
    who        TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     TEXT NOT NULL,             -- of the request
    status     INTEGER,                   -- none while it is being done
    body       TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (who, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX replies_created ON replies (created_at);
CREATE INDEX builds_project ON builds (project_id, id);
CREATE INDEX webhooks_repository ON webhooks (repository, received_at, delivery);
