-- +goose Up

-- What is kept of a cluster beside its own record, whatever its origin.
CREATE TABLE fleet (
    cluster_id            text COLLATE "C" PRIMARY KEY REFERENCES clusters (id),
    description           text             NOT NULL,
    prometheus_url        text             NOT NULL,
    disabled              boolean          NOT NULL,
    is_default            boolean          NOT NULL,
    credential            text             NOT NULL,
    sealed                bytea            NOT NULL,
    credential_expires_at timestamptz(3),
    updated_at            timestamptz(3)   NOT NULL,
    version               bigint           NOT NULL
);
CREATE UNIQUE INDEX fleet_default_key ON fleet (is_default) WHERE is_default;

-- How much there is in a cluster. It is written often and read with lists.
CREATE TABLE fleet_contents (
    cluster_id text COLLATE "C" PRIMARY KEY REFERENCES clusters (id),
    namespaces bigint           NOT NULL,
    pods       bigint           NOT NULL,
    counted_at timestamptz(3)   NOT NULL
);

-- The fleet is listed by number.
CREATE INDEX clusters_live_number_idx ON clusters (number) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_number_idx ON clusters (owner_user_id, number) WHERE deleted_at IS NULL;
