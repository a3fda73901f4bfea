-- +goose Up

-- The same tables as PostgreSQL's. Times are milliseconds since 1970, truth is 0
-- or 1, and text compares by its bytes.

CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL CONSTRAINT users_email_key UNIQUE,
    name          TEXT    NOT NULL,
    avatar_url    TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    last_login_at INTEGER,
    version       INTEGER NOT NULL
) STRICT;
CREATE INDEX users_role_idx ON users (role);

CREATE TABLE sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id),
    token_hash BLOB    NOT NULL CONSTRAINT sessions_token_hash_key UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    ip         TEXT    NOT NULL,
    user_agent TEXT    NOT NULL
) STRICT;
CREATE INDEX sessions_user_idx ON sessions (user_id);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_ends_idx ON sessions (ends_at);

CREATE TABLE api_keys (
    id             TEXT    NOT NULL PRIMARY KEY,
    user_id        TEXT    NOT NULL REFERENCES users (id),
    name           TEXT    NOT NULL,
    display_prefix TEXT    NOT NULL,
    value_hash     BLOB    NOT NULL CONSTRAINT api_keys_value_hash_key UNIQUE,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    last_used_at   INTEGER
) STRICT;
CREATE INDEX api_keys_user_idx ON api_keys (user_id, id);

-- A number is used once, whatever becomes of the cluster that got it.
CREATE TABLE cluster_numbers (last INTEGER NOT NULL) STRICT;
INSERT INTO cluster_numbers (last) VALUES (0);

-- search_text is what a search looks through, in lower case.
CREATE TABLE clusters (
    id                               TEXT    NOT NULL PRIMARY KEY,
    number                           INTEGER NOT NULL CONSTRAINT clusters_number_key UNIQUE,
    owner_user_id                    TEXT    NOT NULL REFERENCES users (id),
    origin                           TEXT    NOT NULL,
    name                             TEXT    NOT NULL,
    vcluster_name                    TEXT    NOT NULL,
    namespace                        TEXT    NOT NULL,
    control_plane_host               TEXT    NOT NULL,
    former_hosts                     TEXT    NOT NULL,
    kubernetes_version               TEXT    NOT NULL,
    workload_cpu_limit_milli         INTEGER NOT NULL,
    workload_memory_limit_mib        INTEGER NOT NULL,
    control_plane_cpu_request_milli  INTEGER NOT NULL,
    control_plane_memory_request_mib INTEGER NOT NULL,
    public_access_enabled            INTEGER NOT NULL CHECK (public_access_enabled IN (0, 1)),
    public_access_mode               TEXT    NOT NULL,
    public_access_port               INTEGER NOT NULL,
    managed_ingress_enabled          INTEGER NOT NULL CHECK (managed_ingress_enabled IN (0, 1)),
    api_endpoint                     TEXT    NOT NULL,
    status                           TEXT    NOT NULL,
    connection_status                TEXT    NOT NULL,
    kubeconfig_available_at          INTEGER,
    last_observed_at                 INTEGER,
    last_error_message               TEXT    NOT NULL,
    generation                       INTEGER NOT NULL,
    observed_generation              INTEGER NOT NULL,
    created_at                       INTEGER NOT NULL,
    updated_at                       INTEGER NOT NULL,
    deleted_at                       INTEGER,
    version                          INTEGER NOT NULL,
    search_text                      TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX clusters_live_vcluster_name_key ON clusters (vcluster_name) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_idx ON clusters (id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_idx ON clusters (owner_user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_status_idx ON clusters (status, id) WHERE deleted_at IS NULL;

CREATE TABLE operations (
    id                   TEXT    NOT NULL PRIMARY KEY,
    cluster_id           TEXT    NOT NULL REFERENCES clusters (id),
    type                 TEXT    NOT NULL,
    status               TEXT    NOT NULL,
    stage                TEXT    NOT NULL,
    requested_by_user_id TEXT,
    error_message        TEXT    NOT NULL,
    generation           INTEGER NOT NULL,
    started_at           INTEGER,
    finished_at          INTEGER,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX operations_cluster_idx ON operations (cluster_id, id);

CREATE TABLE jobs (
    id            TEXT    NOT NULL PRIMARY KEY,
    cluster_id    TEXT    NOT NULL REFERENCES clusters (id),
    operation_id  TEXT    NOT NULL REFERENCES operations (id),
    type          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    attempt_count INTEGER NOT NULL,
    published_at  INTEGER,
    not_before    INTEGER NOT NULL,
    leased_until  INTEGER,
    worker_id     TEXT    NOT NULL,
    last_error    TEXT    NOT NULL,
    started_at    INTEGER,
    finished_at   INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
-- The last guard against two workers on one cluster, when both have looked
-- before either has written.
CREATE UNIQUE INDEX jobs_one_running_key ON jobs (cluster_id) WHERE status = 'running';
CREATE INDEX jobs_queue_idx ON jobs (id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_queue_idx ON jobs (cluster_id, id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_idx ON jobs (cluster_id, id);
CREATE INDEX jobs_status_idx ON jobs (status, id);
CREATE INDEX jobs_operation_idx ON jobs (operation_id);

CREATE TABLE tokens (
    id                    TEXT    NOT NULL PRIMARY KEY,
    cluster_id            TEXT    NOT NULL REFERENCES clusters (id),
    value_hash            BLOB    NOT NULL CONSTRAINT tokens_value_hash_key UNIQUE,
    display_prefix        TEXT    NOT NULL,
    bootstrap_id          TEXT    NOT NULL,
    bootstrap_secret_name TEXT    NOT NULL,
    status                TEXT    NOT NULL,
    claimed_node_name     TEXT    NOT NULL,
    claimed_key_hash      TEXT    NOT NULL,
    secret_in_tenant      INTEGER NOT NULL CHECK (secret_in_tenant IN (0, 1)),
    created_by_user_id    TEXT,
    used_by_node_id       TEXT,
    expires_at            INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    used_at               INTEGER,
    revoked_at            INTEGER,
    revoked_by_user_id    TEXT,
    version               INTEGER NOT NULL,
    CONSTRAINT tokens_bootstrap_id_key UNIQUE (cluster_id, bootstrap_id)
) STRICT;
CREATE INDEX tokens_claim_idx ON tokens (cluster_id, claimed_node_name, id) WHERE claimed_node_name <> '';
CREATE INDEX tokens_leftover_idx ON tokens (cluster_id, id) WHERE secret_in_tenant;

CREATE TABLE nodes (
    id                            TEXT    NOT NULL PRIMARY KEY,
    cluster_id                    TEXT    NOT NULL REFERENCES clusters (id),
    name                          TEXT    NOT NULL,
    uid                           TEXT    NOT NULL,
    status                        TEXT    NOT NULL,
    unschedulable                 INTEGER NOT NULL CHECK (unschedulable IN (0, 1)),
    internal_ip                   TEXT    NOT NULL,
    pod_cidr                      TEXT    NOT NULL,
    os_image                      TEXT    NOT NULL,
    kubelet_version               TEXT    NOT NULL,
    container_runtime_version     TEXT    NOT NULL,
    labels                        TEXT    NOT NULL,
    cpu_allocatable_milli         INTEGER NOT NULL,
    memory_allocatable_bytes      INTEGER NOT NULL,
    ephemeral_storage_allocatable INTEGER NOT NULL,
    source                        TEXT    NOT NULL,
    last_seen_at                  INTEGER,
    ready_at                      INTEGER,
    offline_at                    INTEGER,
    created_at                    INTEGER NOT NULL,
    updated_at                    INTEGER NOT NULL,
    search_text                   TEXT    NOT NULL,
    CONSTRAINT nodes_name_key UNIQUE (cluster_id, name)
) STRICT;
CREATE INDEX nodes_cluster_idx ON nodes (cluster_id, id);
CREATE INDEX nodes_status_idx ON nodes (status, id);

CREATE TABLE node_events (
    id          TEXT    NOT NULL PRIMARY KEY,
    cluster_id  TEXT    NOT NULL REFERENCES clusters (id),
    node_id     TEXT    NOT NULL,
    node_name   TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    old_status  TEXT    NOT NULL,
    new_status  TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    observed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX node_events_cluster_idx ON node_events (cluster_id, id);
CREATE INDEX node_events_node_idx ON node_events (node_id, id);
CREATE INDEX node_events_type_idx ON node_events (type, id);

-- What happened outlives whom it happened to: no references.
CREATE TABLE audit_events (
    id            TEXT    NOT NULL PRIMARY KEY,
    occurred_at   INTEGER NOT NULL,
    actor_user_id TEXT,
    actor_type    TEXT    NOT NULL,
    actor_method  TEXT    NOT NULL,
    resource_type TEXT    NOT NULL,
    resource_id   TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    result        TEXT    NOT NULL,
    message       TEXT    NOT NULL,
    cluster_id    TEXT,
    cluster_name  TEXT    NOT NULL,
    node_name     TEXT    NOT NULL,
    security      INTEGER NOT NULL CHECK (security IN (0, 1))
) STRICT;
CREATE INDEX audit_events_actor_idx ON audit_events (actor_user_id, id);
CREATE INDEX audit_events_security_idx ON audit_events (id) WHERE security;
CREATE INDEX audit_events_resource_idx ON audit_events (resource_type, id);
CREATE INDEX audit_events_action_idx ON audit_events (action, id);

-- seq, not id, is the order: two messages of one millisecond have ids in any.
CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    id   TEXT    NOT NULL CONSTRAINT outbox_id_key UNIQUE,
    type TEXT    NOT NULL,
    key  TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    body BLOB    NOT NULL
) STRICT;

CREATE TABLE replies (
    user_id      TEXT    NOT NULL,
    operation    TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    sealed       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, operation, key)
) STRICT;
CREATE INDEX replies_created_idx ON replies (created_at);

CREATE TABLE leases (
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;

CREATE TABLE facts (
    name  TEXT    NOT NULL PRIMARY KEY,
    value BLOB    NOT NULL
) STRICT;
