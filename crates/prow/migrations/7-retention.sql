-- The webhook itself, for as long as it may be replayed.
ALTER TABLE webhooks ADD COLUMN message TEXT;
CREATE INDEX webhooks_message ON webhooks (received_at) WHERE message IS NOT NULL;
CREATE INDEX builds_finished ON builds (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX builds_superseded ON builds (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX deployments_build ON deployments (build_id) WHERE build_id IS NOT NULL;
CREATE INDEX audit_at ON audit (at);
