-- Whether an older build about the same has not ended is asked all the time.
CREATE INDEX builds_turn ON builds (service_id, about, id) WHERE finished_at IS NULL;
-- Deliveries that never arrived and were asked for again, with when they should have come: what came since is newer.
CREATE TABLE redeliveries (
    delivery TEXT PRIMARY KEY,
    due_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX redeliveries_due ON redeliveries (due_at);
