-- +goose Up

-- Identifiers sort by age: every column that holds one compares bytes, whatever
-- the database's locale, and so do names that lists are ordered by.

CREATE TABLE users (
    id            text COLLATE "C" PRIMARY KEY,
    email         text COLLATE "C" NOT NULL CONSTRAINT users_email_key UNIQUE,
    name          text             NOT NULL,
    avatar_url    text             NOT NULL,
    role          text             NOT NULL,
    status        text             NOT NULL,
    password_hash text             NOT NULL,
    created_at    timestamptz(3)   NOT NULL,
    updated_at    timestamptz(3)   NOT NULL,
    last_login_at timestamptz(3),
    version       bigint           NOT NULL
);
CREATE INDEX users_role_idx ON users (role);

CREATE TABLE sessions (
    id         text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL REFERENCES users (id),
    token_hash bytea            NOT NULL CONSTRAINT sessions_token_hash_key UNIQUE,
    created_at timestamptz(3)   NOT NULL,
    expires_at timestamptz(3)   NOT NULL,
    ends_at    timestamptz(3)   NOT NULL,
    ip         text             NOT NULL,
    user_agent text             NOT NULL
);
CREATE INDEX sessions_user_idx ON sessions (user_id);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_ends_idx ON sessions (ends_at);

CREATE TABLE api_keys (
    id             text COLLATE "C" PRIMARY KEY,
    user_id        text COLLATE "C" NOT NULL REFERENCES users (id),
    name           text             NOT NULL,
    display_prefix text             NOT NULL,
    value_hash     bytea            NOT NULL CONSTRAINT api_keys_value_hash_key UNIQUE,
    created_at     timestamptz(3)   NOT NULL,
    expires_at     timestamptz(3),
    last_used_at   timestamptz(3)
);
CREATE INDEX api_keys_user_idx ON api_keys (user_id, id);

-- A number is used once, whatever becomes of the cluster that got it.
CREATE SEQUENCE cluster_numbers;

-- search_text is what a search looks through, in lower case.
CREATE TABLE clusters (
    id                               text COLLATE "C" PRIMARY KEY,
    number                           bigint           NOT NULL CONSTRAINT clusters_number_key UNIQUE,
    owner_user_id                    text COLLATE "C" NOT NULL REFERENCES users (id),
    origin                           text             NOT NULL,
    name                             text             NOT NULL,
    vcluster_name                    text COLLATE "C" NOT NULL,
    namespace                        text             NOT NULL,
    control_plane_host               text             NOT NULL,
    former_hosts                     jsonb            NOT NULL,
    kubernetes_version               text             NOT NULL,
    workload_cpu_limit_milli         bigint           NOT NULL,
    workload_memory_limit_mib        bigint           NOT NULL,
    control_plane_cpu_request_milli  bigint           NOT NULL,
    control_plane_memory_request_mib bigint           NOT NULL,
    public_access_enabled            boolean          NOT NULL,
    public_access_mode               text             NOT NULL,
    public_access_port               bigint           NOT NULL,
    managed_ingress_enabled          boolean          NOT NULL,
    api_endpoint                     text             NOT NULL,
    status                           text             NOT NULL,
    connection_status                text             NOT NULL,
    kubeconfig_available_at          timestamptz(3),
    last_observed_at                 timestamptz(3),
    last_error_message               text             NOT NULL,
    generation                       bigint           NOT NULL,
    observed_generation              bigint           NOT NULL,
    created_at                       timestamptz(3)   NOT NULL,
    updated_at                       timestamptz(3)   NOT NULL,
    deleted_at                       timestamptz(3),
    version                          bigint           NOT NULL,
    search_text                      text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX clusters_live_vcluster_name_key ON clusters (vcluster_name) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_idx ON clusters (id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_idx ON clusters (owner_user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_status_idx ON clusters (status, id) WHERE deleted_at IS NULL;

CREATE TABLE operations (
    id                   text COLLATE "C" PRIMARY KEY,
    cluster_id           text COLLATE "C" NOT NULL REFERENCES clusters (id),
    type                 text             NOT NULL,
    status               text             NOT NULL,
    stage                text             NOT NULL,
    requested_by_user_id text COLLATE "C",
    error_message        text             NOT NULL,
    generation           bigint           NOT NULL,
    started_at           timestamptz(3),
    finished_at          timestamptz(3),
    created_at           timestamptz(3)   NOT NULL,
    updated_at           timestamptz(3)   NOT NULL
);
CREATE INDEX operations_cluster_idx ON operations (cluster_id, id);

CREATE TABLE jobs (
    id            text COLLATE "C" PRIMARY KEY,
    cluster_id    text COLLATE "C" NOT NULL REFERENCES clusters (id),
    operation_id  text COLLATE "C" NOT NULL REFERENCES operations (id),
    type          text             NOT NULL,
    status        text             NOT NULL,
    attempt_count bigint           NOT NULL,
    published_at  timestamptz(3),
    not_before    timestamptz(3)   NOT NULL,
    leased_until  timestamptz(3),
    worker_id     text COLLATE "C" NOT NULL,
    last_error    text             NOT NULL,
    started_at    timestamptz(3),
    finished_at   timestamptz(3),
    created_at    timestamptz(3)   NOT NULL,
    updated_at    timestamptz(3)   NOT NULL
);
-- The last guard against two workers on one cluster, when both have looked
-- before either has written.
CREATE UNIQUE INDEX jobs_one_running_key ON jobs (cluster_id) WHERE status = 'running';
CREATE INDEX jobs_queue_idx ON jobs (id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_queue_idx ON jobs (cluster_id, id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_idx ON jobs (cluster_id, id);
CREATE INDEX jobs_status_idx ON jobs (status, id);
CREATE INDEX jobs_operation_idx ON jobs (operation_id);

CREATE TABLE tokens (
    id                    text COLLATE "C" PRIMARY KEY,
    cluster_id            text COLLATE "C" NOT NULL REFERENCES clusters (id),
    value_hash            bytea            NOT NULL CONSTRAINT tokens_value_hash_key UNIQUE,
    display_prefix        text             NOT NULL,
    bootstrap_id          text COLLATE "C" NOT NULL,
    bootstrap_secret_name text             NOT NULL,
    status                text             NOT NULL,
    claimed_node_name     text COLLATE "C" NOT NULL,
    claimed_key_hash      text             NOT NULL,
    secret_in_tenant      boolean          NOT NULL,
    created_by_user_id    text COLLATE "C",
    used_by_node_id       text COLLATE "C",
    expires_at            timestamptz(3)   NOT NULL,
    created_at            timestamptz(3)   NOT NULL,
    used_at               timestamptz(3),
    revoked_at            timestamptz(3),
    revoked_by_user_id    text COLLATE "C",
    version               bigint           NOT NULL,
    CONSTRAINT tokens_bootstrap_id_key UNIQUE (cluster_id, bootstrap_id)
);
CREATE INDEX tokens_claim_idx ON tokens (cluster_id, claimed_node_name, id) WHERE claimed_node_name <> '';
CREATE INDEX tokens_leftover_idx ON tokens (cluster_id, id) WHERE secret_in_tenant;

CREATE TABLE nodes (
    id                            text COLLATE "C" PRIMARY KEY,
    cluster_id                    text COLLATE "C" NOT NULL REFERENCES clusters (id),
    name                          text COLLATE "C" NOT NULL,
    uid                           text             NOT NULL,
    status                        text             NOT NULL,
    unschedulable                 boolean          NOT NULL,
    internal_ip                   text             NOT NULL,
    pod_cidr                      text             NOT NULL,
    os_image                      text             NOT NULL,
    kubelet_version               text             NOT NULL,
    container_runtime_version     text             NOT NULL,
    labels                        jsonb            NOT NULL,
    cpu_allocatable_milli         bigint           NOT NULL,
    memory_allocatable_bytes      bigint           NOT NULL,
    ephemeral_storage_allocatable bigint           NOT NULL,
    source                        text             NOT NULL,
    last_seen_at                  timestamptz(3),
    ready_at                      timestamptz(3),
    offline_at                    timestamptz(3),
    created_at                    timestamptz(3)   NOT NULL,
    updated_at                    timestamptz(3)   NOT NULL,
    search_text                   text COLLATE "C" NOT NULL,
    CONSTRAINT nodes_name_key UNIQUE (cluster_id, name)
);
CREATE INDEX nodes_cluster_idx ON nodes (cluster_id, id);
CREATE INDEX nodes_status_idx ON nodes (status, id);

CREATE TABLE node_events (
    id          text COLLATE "C" PRIMARY KEY,
    cluster_id  text COLLATE "C" NOT NULL REFERENCES clusters (id),
    node_id     text COLLATE "C" NOT NULL,
    node_name   text             NOT NULL,
    type        text             NOT NULL,
    old_status  text             NOT NULL,
    new_status  text             NOT NULL,
    message     text             NOT NULL,
    observed_at timestamptz(3)   NOT NULL
);
CREATE INDEX node_events_cluster_idx ON node_events (cluster_id, id);
CREATE INDEX node_events_node_idx ON node_events (node_id, id);
CREATE INDEX node_events_type_idx ON node_events (type, id);

-- What happened outlives whom it happened to: no references.
CREATE TABLE audit_events (
    id            text COLLATE "C" PRIMARY KEY,
    occurred_at   timestamptz(3)   NOT NULL,
    actor_user_id text COLLATE "C",
    actor_type    text             NOT NULL,
    actor_method  text             NOT NULL,
    resource_type text             NOT NULL,
    resource_id   text             NOT NULL,
    action        text             NOT NULL,
    result        text             NOT NULL,
    message       text             NOT NULL,
    cluster_id    text COLLATE "C",
    cluster_name  text             NOT NULL,
    node_name     text             NOT NULL,
    security      boolean          NOT NULL
);
CREATE INDEX audit_events_actor_idx ON audit_events (actor_user_id, id);
CREATE INDEX audit_events_security_idx ON audit_events (id) WHERE security;
CREATE INDEX audit_events_resource_idx ON audit_events (resource_type, id);
CREATE INDEX audit_events_action_idx ON audit_events (action, id);

-- seq, not id, is the order: two messages of one millisecond have ids in any.
CREATE TABLE outbox (
    seq  bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id   text COLLATE "C" NOT NULL CONSTRAINT outbox_id_key UNIQUE,
    type text             NOT NULL,
    key  text             NOT NULL,
    at   timestamptz(3)   NOT NULL,
    body bytea            NOT NULL
);

CREATE TABLE replies (
    user_id      text COLLATE "C" NOT NULL,
    operation    text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    request_hash bytea            NOT NULL,
    sealed       bytea            NOT NULL,
    created_at   timestamptz(3)   NOT NULL,
    PRIMARY KEY (user_id, operation, key)
);
CREATE INDEX replies_created_idx ON replies (created_at);

CREATE TABLE leases (
    name       text COLLATE "C" PRIMARY KEY,
    holder     text COLLATE "C" NOT NULL,
    held_until timestamptz(3)   NOT NULL
);

CREATE TABLE facts (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea            NOT NULL
);
