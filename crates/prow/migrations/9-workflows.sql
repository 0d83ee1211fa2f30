-- One change of a repository: a pull request, a branch, a tag, or a commit of the main branch; with everything that
-- happened about it. Events and builds outlive it, so they refer to it by a number that may be gone.
CREATE TABLE workflows (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    key        TEXT NOT NULL,             -- pull/<number>, a ref, or commit/<hash>
    branch     TEXT,
    title      TEXT,
    merged_as  TEXT,                      -- the commit that a pull request became
    closed_at  INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (repository, key)
) STRICT;
CREATE INDEX workflows_updated ON workflows (updated_at);
CREATE INDEX workflows_branch ON workflows (repository, branch, id);

-- The commits that it brought.
CREATE TABLE workflow_commits (
    workflow_id INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    PRIMARY KEY (workflow_id, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_commits_hash ON workflow_commits (hash, workflow_id);

ALTER TABLE webhooks ADD COLUMN workflow_id INTEGER;
ALTER TABLE webhooks ADD COLUMN sender TEXT;
ALTER TABLE builds ADD COLUMN workflow_id INTEGER;
-- Builds from before have none: nobody asks for checks of theirs.
ALTER TABLE builds ADD COLUMN commit_hash TEXT;
CREATE INDEX builds_commit ON builds (project_id, commit_hash);
CREATE INDEX webhooks_workflow ON webhooks (workflow_id, received_at) WHERE workflow_id IS NOT NULL;
CREATE INDEX builds_workflow ON builds (workflow_id, id) WHERE workflow_id IS NOT NULL;

-- What others were told of a build or a deployment.
CREATE TABLE notices (
    event_id TEXT PRIMARY KEY,
    what     TEXT NOT NULL,
    about    TEXT NOT NULL,               -- the uid of what it is about
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_about ON notices (about, at);
CREATE INDEX notices_at ON notices (at);
