-- What each service is built of and when, as JSON; the empty object is all defaults.
ALTER TABLE services ADD COLUMN recipe TEXT NOT NULL DEFAULT '{}';

-- What a build is about: a ref, or pull/<number>. Builds of one service about one thing may supersede each other.
ALTER TABLE builds ADD COLUMN about TEXT;
-- The build that took its place.
ALTER TABLE builds ADD COLUMN superseded_by INTEGER REFERENCES builds (id);
-- Why it is not queued before somebody approves it.
ALTER TABLE builds ADD COLUMN held TEXT;
-- Which build it repeats, the first of them.
ALTER TABLE builds ADD COLUMN rerun_of INTEGER REFERENCES builds (id);
CREATE INDEX builds_about ON builds (service_id, about, id);
CREATE INDEX webhooks_received ON webhooks (received_at, delivery);
CREATE INDEX builds_rerun ON builds (rerun_of) WHERE rerun_of IS NOT NULL;
