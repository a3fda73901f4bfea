-- +goose Up

-- Messages are claimed a channel at a time, so that one that hangs is not asked about.
DROP INDEX deliveries_due_idx;
CREATE INDEX deliveries_due_idx ON deliveries (channel, due_at, id) WHERE status = 'pending';
DROP INDEX deliveries_leased_idx;
CREATE INDEX deliveries_leased_idx ON deliveries (channel, leased_until) WHERE status = 'pending' AND leased_until IS NOT NULL;
-- What may be sent again by hand, for a while.
CREATE INDEX deliveries_dead_idx ON deliveries (updated_at) WHERE status = 'dead' AND length(sealed) > 0;
