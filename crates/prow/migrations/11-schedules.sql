-- Since when the recipe of a service is as it is; none since it was added.
ALTER TABLE services ADD COLUMN changed_at INTEGER;
