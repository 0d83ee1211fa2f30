CREATE TABLE deployments (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL REFERENCES projects (id),
    service_id  INTEGER NOT NULL REFERENCES services (id),
    build_id    INTEGER REFERENCES builds (id), -- whose image it is, where that is known
    message     TEXT NOT NULL,            -- the DeploymentQueueMessage, exactly as it is on the list
    image_tag   TEXT NOT NULL,            -- as it was asked for
    image       TEXT,                     -- what runs, by its digest
    container   TEXT,
    status      TEXT NOT NULL,
    reason      TEXT,                     -- why somebody asked for it
    detail      TEXT,                     -- why it waits, or why it ended
    failure     TEXT,
    progress    INTEGER NOT NULL DEFAULT 0,
    attempt     INTEGER NOT NULL DEFAULT 0,
    sequence    INTEGER NOT NULL DEFAULT 0,
    version     INTEGER NOT NULL DEFAULT 1,
    rollback_of INTEGER REFERENCES deployments (id), -- whose image it takes the place of
    rollback_to INTEGER REFERENCES deployments (id), -- whose image it brings back
    queued      INTEGER NOT NULL DEFAULT 0, -- whether it was given to forgery; one of each service is
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_service ON deployments (service_id, id);
CREATE INDEX deployments_open ON deployments (updated_at) WHERE finished_at IS NULL;
CREATE INDEX builds_image ON builds (service_id, image_tag);
