-- +goose Up

-- What is kept of a cluster beside its own record, whatever its origin.
CREATE TABLE fleet (
    cluster_id            TEXT NOT NULL PRIMARY KEY REFERENCES clusters (id),
    description           TEXT NOT NULL,
    prometheus_url        TEXT NOT NULL,
    disabled              INTEGER NOT NULL,
    is_default            INTEGER NOT NULL,
    credential            TEXT NOT NULL,
    sealed                BLOB NOT NULL,
    credential_expires_at INTEGER,
    updated_at            INTEGER NOT NULL,
    version               INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX fleet_default_key ON fleet (is_default) WHERE is_default;

-- How much there is in a cluster. It is written often and read with lists.
CREATE TABLE fleet_contents (
    cluster_id TEXT NOT NULL PRIMARY KEY REFERENCES clusters (id),
    namespaces INTEGER NOT NULL,
    pods       INTEGER NOT NULL,
    counted_at INTEGER NOT NULL
) STRICT;

-- The fleet is listed by number.
CREATE INDEX clusters_live_number_idx ON clusters (number) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_number_idx ON clusters (owner_user_id, number) WHERE deleted_at IS NULL;
