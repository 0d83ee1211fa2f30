-- Whether a pull request may be merged: its newest commit, and what reviews and checks say.
ALTER TABLE workflows ADD COLUMN head TEXT;
-- When that was so, by the forge's clock: an older word does not bring an older commit back.
ALTER TABLE workflows ADD COLUMN head_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workflows ADD COLUMN draft INTEGER NOT NULL DEFAULT 0;
-- What is passed on of it, as JSON.
ALTER TABLE workflows ADD COLUMN pull TEXT;

CREATE TABLE reviews (
    workflow_id INTEGER NOT NULL,
    reviewer    TEXT NOT NULL,
    verdict     TEXT NOT NULL,            -- approved, rejected, none
    at          INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, reviewer)
) STRICT, WITHOUT ROWID;

-- What others than Forge have checked; a check may be told of before the pull request is.
CREATE TABLE checks (
    repository TEXT NOT NULL,
    hash       TEXT NOT NULL,
    name       TEXT NOT NULL,
    suite      TEXT NOT NULL,             -- tells it from others of its name
    state      TEXT NOT NULL,             -- pending, passed, failed
    at         INTEGER NOT NULL,
    PRIMARY KEY (repository, hash, name, suite)
) STRICT, WITHOUT ROWID;
CREATE INDEX checks_at ON checks (at);
