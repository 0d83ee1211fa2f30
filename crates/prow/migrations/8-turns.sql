-- When a build was given to forgery. Until then it waits for its turn, and Redis does not know it.
ALTER TABLE builds ADD COLUMN released_at INTEGER;
UPDATE builds SET released_at = created_at WHERE held IS NULL;
-- Whether older builds about the same go first.
ALTER TABLE builds ADD COLUMN in_turn INTEGER NOT NULL DEFAULT 0;
-- Its priority; a lower number goes first.
ALTER TABLE builds ADD COLUMN lane INTEGER NOT NULL DEFAULT 1;
-- Why it is to end, once that is decided.
ALTER TABLE builds ADD COLUMN ending TEXT;
UPDATE builds SET ending = 'a build of a newer commit takes its place'
WHERE superseded_by IS NOT NULL AND finished_at IS NULL;
-- Most builds of it at a time.
ALTER TABLE projects ADD COLUMN max_builds INTEGER;
CREATE INDEX builds_unended ON builds (project_id, lane, id) WHERE finished_at IS NULL;
