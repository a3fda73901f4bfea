-- +goose Up

-- The installation's settings, a row a section; sealed holds their secrets.
CREATE TABLE settings (
    name       TEXT NOT NULL PRIMARY KEY,
    value      BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Messages on their way, and the log of those that are over.
CREATE TABLE deliveries (
    id           TEXT NOT NULL PRIMARY KEY,
    key          TEXT NOT NULL CONSTRAINT deliveries_key_key UNIQUE,
    template     TEXT NOT NULL,
    channel      TEXT NOT NULL,
    user_id      TEXT REFERENCES users (id),
    target       TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    status       TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    holder       TEXT NOT NULL,
    leased_until INTEGER,
    last_error   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    delivered_at INTEGER
) STRICT;
-- What is claimed, and when the next one can be.
CREATE INDEX deliveries_due_idx ON deliveries (due_at, id) WHERE status = 'pending';
CREATE INDEX deliveries_leased_idx ON deliveries (leased_until) WHERE status = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX deliveries_over_idx ON deliveries (created_at, id) WHERE status <> 'pending';
-- The log. A filtered list reads the newest of each kind that the filter lets
-- through, so that two indexes serve every combination of filters.
CREATE INDEX deliveries_user_idx ON deliveries (user_id, id);
CREATE INDEX deliveries_kind_idx ON deliveries (channel, template, status, id);
CREATE INDEX deliveries_user_kind_idx ON deliveries (user_id, channel, template, status, id);

-- Every kind of delivery that there has been: a few dozen.
CREATE TABLE delivery_kinds (
    channel  TEXT NOT NULL,
    template TEXT NOT NULL,
    PRIMARY KEY (channel, template)
) STRICT;
