-- +goose Up

-- The trace of the request that asked for a job, so that whoever works on it,
-- in whatever process, adds to the same one.
ALTER TABLE jobs ADD COLUMN trace text NOT NULL DEFAULT '';
