-- Times are milliseconds since the Unix epoch; JSON is TEXT.
CREATE TABLE projects (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE services (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE builds (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    uid            TEXT NOT NULL UNIQUE,
    project_id     INTEGER NOT NULL REFERENCES projects (id),
    service_id     INTEGER NOT NULL REFERENCES services (id),
    message        TEXT NOT NULL,            -- the BuildQueueMessage, exactly as it is on the list
    status         TEXT NOT NULL,
    reason         TEXT,                     -- why it waits, or why it ended
    failure        TEXT,
    image_tag      TEXT NOT NULL,
    digest         TEXT,
    stage          TEXT,
    progress       INTEGER NOT NULL DEFAULT 0,
    stages         TEXT NOT NULL DEFAULT '[]',
    attempt        INTEGER NOT NULL DEFAULT 0,
    sequence       INTEGER NOT NULL DEFAULT 0,
    version        INTEGER NOT NULL DEFAULT 1,
    correlation_id TEXT,
    log_seq        INTEGER NOT NULL DEFAULT 0, -- last chunk in the log file
    log_bytes      INTEGER NOT NULL DEFAULT 0, -- length of the log file up to that chunk
    log_done       INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    finished_at    INTEGER,
    updated_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX builds_open ON builds (updated_at) WHERE finished_at IS NULL;
CREATE INDEX builds_log_open ON builds (id) WHERE log_done = 0;
CREATE INDEX builds_service ON builds (service_id, id);

CREATE TABLE webhooks (
    delivery    TEXT PRIMARY KEY,
    provider    TEXT NOT NULL,
    event       TEXT NOT NULL,
    action      TEXT,
    repository  TEXT,
    received_at INTEGER NOT NULL,
    result      TEXT NOT NULL,
    build_uid   TEXT
) STRICT, WITHOUT ROWID;

-- What others must be told; written in the transaction that makes it true.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    route      TEXT NOT NULL,
    message_id TEXT NOT NULL,
    priority   TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_route ON outbox (route, id);
CREATE INDEX outbox_message ON outbox (message_id);
