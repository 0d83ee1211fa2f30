-- An intent stays for a while after it was sent: Redis may lose what it has just been given (asynchronous
-- writes to disk, failover), and sending again is harmless.
ALTER TABLE outbox ADD COLUMN sent_at INTEGER;
DROP INDEX outbox_route;
CREATE INDEX outbox_unsent ON outbox (route, id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
