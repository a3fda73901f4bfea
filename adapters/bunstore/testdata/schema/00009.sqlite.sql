CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
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
, removed_at INTEGER, search_text TEXT NOT NULL DEFAULT '') STRICT;
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
CREATE TABLE api_keys (
    id             TEXT    NOT NULL PRIMARY KEY,
    user_id        TEXT    NOT NULL REFERENCES users (id),
    name           TEXT    NOT NULL,
    display_prefix TEXT    NOT NULL,
    value_hash     BLOB    NOT NULL CONSTRAINT api_keys_value_hash_key UNIQUE,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    last_used_at   INTEGER
, number INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE cluster_numbers (last INTEGER NOT NULL) STRICT;
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
, trace TEXT NOT NULL DEFAULT '') STRICT;
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
    search_text                   TEXT    NOT NULL, owner_user_id TEXT NOT NULL DEFAULT '',
    CONSTRAINT nodes_name_key UNIQUE (cluster_id, name)
) STRICT;
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
, owner_user_id TEXT NOT NULL DEFAULT '') STRICT;
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
CREATE TABLE leases (
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;
CREATE TABLE facts (
    name  TEXT    NOT NULL PRIMARY KEY,
    value BLOB    NOT NULL
) STRICT;
CREATE TABLE audit_kinds (
    resource_type TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    security      INTEGER NOT NULL,
    PRIMARY KEY (resource_type, action, security)
) STRICT;
CREATE TABLE search_texts (
    number INTEGER PRIMARY KEY,
    id     TEXT NOT NULL CONSTRAINT search_texts_id_key UNIQUE,
    text   TEXT NOT NULL
) STRICT;
CREATE TABLE node_totals (
    cluster_id               TEXT    NOT NULL,
    status                   TEXT    NOT NULL,
    nodes                    INTEGER NOT NULL,
    cpu_allocatable_milli    INTEGER NOT NULL,
    memory_allocatable_bytes INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, status)
) STRICT;
CREATE TABLE control_plane_samples (
    cluster_id         TEXT    NOT NULL,
    at                 INTEGER NOT NULL,
    resolution_seconds INTEGER NOT NULL,
    measurements       INTEGER NOT NULL,
    cpu_milli          INTEGER NOT NULL,
    memory_mib         INTEGER NOT NULL,
    pods_ready         INTEGER NOT NULL,
    pods_total         INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, at, resolution_seconds)
) STRICT;
CREATE TABLE codes (
    address    TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    PRIMARY KEY (address, purpose)
) STRICT;
CREATE TABLE sso_identities (
    provider     TEXT    NOT NULL,
    subject_hash BLOB    NOT NULL,
    user_id      TEXT    NOT NULL REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (provider, subject_hash),
    CONSTRAINT sso_identities_user_key UNIQUE (user_id, provider)
) STRICT;
CREATE TABLE sign_ins (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    REFERENCES users (id),
    at         INTEGER NOT NULL,
    ip         TEXT    NOT NULL,
    user_agent TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    result     TEXT    NOT NULL
) STRICT;
CREATE TABLE avatars (
    user_id      TEXT    NOT NULL PRIMARY KEY REFERENCES users (id),
    tag          TEXT    NOT NULL,
    content_type TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE TABLE preferences (
    user_id          TEXT    NOT NULL PRIMARY KEY REFERENCES users (id),
    email            INTEGER NOT NULL CHECK (email IN (0, 1)),
    slack            INTEGER NOT NULL CHECK (slack IN (0, 1)),
    slack_target     TEXT    NOT NULL,
    telegram         INTEGER NOT NULL CHECK (telegram IN (0, 1)),
    telegram_chat_id TEXT    NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT;
CREATE TABLE settings (
    name       TEXT NOT NULL PRIMARY KEY,
    value      BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
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
CREATE TABLE delivery_kinds (
    channel  TEXT NOT NULL,
    template TEXT NOT NULL,
    PRIMARY KEY (channel, template)
) STRICT;
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
CREATE TABLE fleet_contents (
    cluster_id TEXT NOT NULL PRIMARY KEY REFERENCES clusters (id),
    namespaces INTEGER NOT NULL,
    pods       INTEGER NOT NULL,
    counted_at INTEGER NOT NULL
) STRICT;
DELETE FROM sqlite_sequence;
DELETE FROM goose_db_version;
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (1, 0, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (2, 1, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (3, 2, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (4, 3, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (5, 4, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (6, 5, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (7, 6, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (8, 7, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (9, 8, 1, '2026-11-21 22:14:38');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (10, 9, 1, '2026-11-21 22:14:38');
INSERT INTO users (id, email, name, avatar_url, role, status, password_hash, created_at, updated_at, last_login_at, version, removed_at, search_text) VALUES ('usr_06gzvektec0000000000000004', 'ann@example.com', 'Ann Zoë 日本', 'https://example.com/a.png', 'admin', 'active', '$argon2id$ann', 1795258218123, 1795261818123, 1795261818123, 1, NULL, 'ann@example.comann zoë 日本');
INSERT INTO users (id, email, name, avatar_url, role, status, password_hash, created_at, updated_at, last_login_at, version, removed_at, search_text) VALUES ('usr_06gzvekybc0000000000000008', 'bob@example.com', 'Bob', '', 'user', 'banned', '', 1795258218123, 1795258218123, NULL, 1, NULL, 'bob@example.combob');
INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, ends_at, ip, user_agent) VALUES ('ses_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', X'73657373696F6E2000FF', 1795258218123, 1795261818123, 1795261818123, '::1', 'curl/8');
INSERT INTO api_keys (id, user_id, name, display_prefix, value_hash, created_at, expires_at, last_used_at, number) VALUES ('key_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', 'ci', 'kbk_ab', X'6B65792031', 1795258218123, 1795261818123, 1795261818123, 1);
INSERT INTO api_keys (id, user_id, name, display_prefix, value_hash, created_at, expires_at, last_used_at, number) VALUES ('key_06gzvekybc0000000000000008', 'usr_06gzvekybc0000000000000008', 'for ever', 'kbk_cd', X'6B65792032', 1795258218123, NULL, NULL, 1);
INSERT INTO cluster_numbers (last) VALUES (2);
INSERT INTO clusters (id, number, owner_user_id, origin, name, vcluster_name, namespace, control_plane_host, former_hosts, kubernetes_version, workload_cpu_limit_milli, workload_memory_limit_mib, control_plane_cpu_request_milli, control_plane_memory_request_mib, public_access_enabled, public_access_mode, public_access_port, managed_ingress_enabled, api_endpoint, status, connection_status, kubeconfig_available_at, last_observed_at, last_error_message, generation, observed_generation, created_at, updated_at, deleted_at, version, search_text) VALUES ('cl_06gzvektec0000000000000004', 1, 'usr_06gzvektec0000000000000004', 'console', 'Demo', 'vc-Demo', 'tenant-Demo', 'Demo.example.com', '["old.example.com","älter.example.com"]', 'v1.34.1', 2500, 4096, 200, 512, 1, 'direct', 6443, 0, 'https://127.0.0.1:6443', 'ready', 'reachable', 1795258218123, 1795261818123, 'it''s "100%" _ ? ?0 $1 \ 日本 🙂
--', 3, 2, 1795258218123, 1795261818123, NULL, 1, 'demovc-democl_06gzvektec0000000000000004');
INSERT INTO clusters (id, number, owner_user_id, origin, name, vcluster_name, namespace, control_plane_host, former_hosts, kubernetes_version, workload_cpu_limit_milli, workload_memory_limit_mib, control_plane_cpu_request_milli, control_plane_memory_request_mib, public_access_enabled, public_access_mode, public_access_port, managed_ingress_enabled, api_endpoint, status, connection_status, kubeconfig_available_at, last_observed_at, last_error_message, generation, observed_generation, created_at, updated_at, deleted_at, version, search_text) VALUES ('cl_06gzvekybc0000000000000008', 2, 'usr_06gzvekybc0000000000000008', 'console', 'gone', 'vc-gone', 'tenant-gone', 'gone.example.com', '["old.example.com","älter.example.com"]', 'v1.34.1', 2500, 4096, 200, 512, 1, 'direct', 6443, 0, 'https://127.0.0.1:6443', 'deleted', 'reachable', 1795258218123, 1795261818123, 'it''s "100%" _ ? ?0 $1 \ 日本 🙂
--', 3, 2, 1795258218123, 1795261818123, 1795261818123, 1, 'gonevc-gonecl_06gzvekybc0000000000000008');
INSERT INTO operations (id, cluster_id, type, status, stage, requested_by_user_id, error_message, generation, started_at, finished_at, created_at, updated_at) VALUES ('op_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'create', 'succeeded', 'done', 'usr_06gzvektec0000000000000004', '', 1, 1795258218123, 1795261818123, 1795258218123, 1795261818123);
INSERT INTO operations (id, cluster_id, type, status, stage, requested_by_user_id, error_message, generation, started_at, finished_at, created_at, updated_at) VALUES ('op_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'update', 'pending', 'queued', NULL, 'not yet', 2, NULL, NULL, 1795261818123, 1795261818123);
INSERT INTO jobs (id, cluster_id, operation_id, type, status, attempt_count, published_at, not_before, leased_until, worker_id, last_error, started_at, finished_at, created_at, updated_at, trace) VALUES ('job_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'op_06gzvektec0000000000000004', 'create', 'succeeded', 2, 1795258218123, 1795258218123, NULL, 'dev/0', 'once', 1795258218123, 1795261818123, 1795258218123, 1795261818123, '');
INSERT INTO jobs (id, cluster_id, operation_id, type, status, attempt_count, published_at, not_before, leased_until, worker_id, last_error, started_at, finished_at, created_at, updated_at, trace) VALUES ('job_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'op_06gzvekybc0000000000000008', 'update', 'pending', 0, NULL, 1795261818123, NULL, '', '', NULL, NULL, 1795261818123, 1795261818123, '');
INSERT INTO tokens (id, cluster_id, value_hash, display_prefix, bootstrap_id, bootstrap_secret_name, status, claimed_node_name, claimed_key_hash, secret_in_tenant, created_by_user_id, used_by_node_id, expires_at, created_at, used_at, revoked_at, revoked_by_user_id, version) VALUES ('tok_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', X'746F6B656E2031', 'kbt_ab', 'abcdef', 'bootstrap-token-abcdef', 'used', 'worker-1', 'sha256:00', 0, 'usr_06gzvektec0000000000000004', 'node_06gzvektec0000000000000004', 1795261818123, 1795258218123, 1795261818123, NULL, NULL, 1);
INSERT INTO tokens (id, cluster_id, value_hash, display_prefix, bootstrap_id, bootstrap_secret_name, status, claimed_node_name, claimed_key_hash, secret_in_tenant, created_by_user_id, used_by_node_id, expires_at, created_at, used_at, revoked_at, revoked_by_user_id, version) VALUES ('tok_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', X'746F6B656E2032', 'kbt_cd', 'ghijkl', '', 'active', '', '', 1, NULL, NULL, 1795261818123, 1795258218123, NULL, NULL, NULL, 1);
INSERT INTO nodes (id, cluster_id, name, uid, status, unschedulable, internal_ip, pod_cidr, os_image, kubelet_version, container_runtime_version, labels, cpu_allocatable_milli, memory_allocatable_bytes, ephemeral_storage_allocatable, source, last_seen_at, ready_at, offline_at, created_at, updated_at, search_text, owner_user_id) VALUES ('node_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'worker-1', 'uid', 'ready', 0, '10.0.0.1', '10.1.0.0/24', 'Debian', 'v1.34.1', 'containerd://2', '{"a/b":"ü"}', 4000, 8589934592, 1099511627776, 'watch', 1795261818123, 1795261818123, NULL, 1795258218123, 1795261818123, 'worker-110.0.0.1', 'usr_06gzvektec0000000000000004');
INSERT INTO nodes (id, cluster_id, name, uid, status, unschedulable, internal_ip, pod_cidr, os_image, kubelet_version, container_runtime_version, labels, cpu_allocatable_milli, memory_allocatable_bytes, ephemeral_storage_allocatable, source, last_seen_at, ready_at, offline_at, created_at, updated_at, search_text, owner_user_id) VALUES ('node_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'worker-2', '', 'offline', 1, '', '', '', '', '', '{}', 1000, 0, 0, '', NULL, NULL, 1795261818123, 1795258218123, 1795261818123, 'worker-2', 'usr_06gzvektec0000000000000004');
INSERT INTO node_events (id, cluster_id, node_id, node_name, type, old_status, new_status, message, observed_at, owner_user_id) VALUES ('nevt_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'node_06gzvektec0000000000000004', 'worker-1', 'joined', '', 'ready', 'It has joined.', 1795258218123, 'usr_06gzvektec0000000000000004');
INSERT INTO node_events (id, cluster_id, node_id, node_name, type, old_status, new_status, message, observed_at, owner_user_id) VALUES ('nevt_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'node_06gzvekybc0000000000000008', 'worker-2', 'offline', 'ready', 'offline', 'It is gone.', 1795261818123, 'usr_06gzvektec0000000000000004');
INSERT INTO audit_events (id, occurred_at, actor_user_id, actor_type, actor_method, resource_type, resource_id, action, result, message, cluster_id, cluster_name, node_name, security) VALUES ('aud_06gzvektec0000000000000004', 1795258218123, 'usr_06gzvektec0000000000000004', 'person', 'session', 'cluster', 'cl_06gzvektec0000000000000004', 'create', 'success', 'Asked for it.', 'cl_06gzvektec0000000000000004', 'Demo', 'n', 0);
INSERT INTO audit_events (id, occurred_at, actor_user_id, actor_type, actor_method, resource_type, resource_id, action, result, message, cluster_id, cluster_name, node_name, security) VALUES ('aud_06gzvekybc0000000000000008', 1795261818123, NULL, 'process', '', 'session', '', 'login', 'failure', 'No.', NULL, '', '', 1);
INSERT INTO outbox (seq, id, type, key, at, body) VALUES (1, 'msg_06gzvekybc0000000000000008', 'job', 'cl_06gzvektec0000000000000004', 1795261818123, X'7B2261223A225C7530303030227D');
INSERT INTO outbox (seq, id, type, key, at, body) VALUES (2, 'msg_06gzvektec0000000000000004', 'job', 'cl_06gzvektec0000000000000004', 1795258218123, X'00FF');
INSERT INTO replies (user_id, operation, key, request_hash, sealed, created_at) VALUES ('usr_06gzvektec0000000000000004', 'create-cluster', 'k 1', X'0102', X'7365616C6564', 1795258218123);
INSERT INTO leases (name, holder, held_until) VALUES ('watch/cl_06gzvektec0000000000000004', 'dev', 1795261818123);
INSERT INTO facts (name, value) VALUES ('secret-key-check', X'7365616C65642000');
INSERT INTO audit_kinds (resource_type, action, security) VALUES ('cluster', 'create', 0);
INSERT INTO audit_kinds (resource_type, action, security) VALUES ('session', 'login', 1);
INSERT INTO search_texts (number, id, text) VALUES (1, 'usr_06gzvektec0000000000000004', 'ann@example.comann zoë 日本');
INSERT INTO search_texts (number, id, text) VALUES (2, 'usr_06gzvekybc0000000000000008', 'bob@example.combob');
INSERT INTO search_texts (number, id, text) VALUES (3, 'cl_06gzvektec0000000000000004', 'demovc-democl_06gzvektec0000000000000004');
INSERT INTO search_texts (number, id, text) VALUES (4, 'cl_06gzvekybc0000000000000008', 'gonevc-gonecl_06gzvekybc0000000000000008');
INSERT INTO search_texts (number, id, text) VALUES (5, 'node_06gzvektec0000000000000004', 'worker-110.0.0.1');
INSERT INTO search_texts (number, id, text) VALUES (6, 'node_06gzvekybc0000000000000008', 'worker-2');
INSERT INTO node_totals (cluster_id, status, nodes, cpu_allocatable_milli, memory_allocatable_bytes) VALUES ('cl_06gzvektec0000000000000004', 'ready', 1, 4000, 8589934592);
INSERT INTO node_totals (cluster_id, status, nodes, cpu_allocatable_milli, memory_allocatable_bytes) VALUES ('cl_06gzvektec0000000000000004', 'offline', 1, 1000, 0);
INSERT INTO control_plane_samples (cluster_id, at, resolution_seconds, measurements, cpu_milli, memory_mib, pods_ready, pods_total) VALUES ('cl_06gzvektec0000000000000004', 1795254300000, 900, 14, 1400, 4200, 13, 14);
INSERT INTO control_plane_samples (cluster_id, at, resolution_seconds, measurements, cpu_milli, memory_mib, pods_ready, pods_total) VALUES ('cl_06gzvektec0000000000000004', 1795258200000, 60, 1, 123, 305, 1, 2);
INSERT INTO codes (address, purpose, hash, created_at, expires_at, tries) VALUES ('ann@example.com', 'reset', X'00FF', 1795258218123, 1795261818123, 2);
INSERT INTO sso_identities (provider, subject_hash, user_id, created_at, last_used_at) VALUES ('github', X'0100FF', 'usr_06gzvektec0000000000000004', 1795258218123, 1795261818123);
INSERT INTO sign_ins (id, user_id, at, ip, user_agent, method, result) VALUES ('lgn_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', 1795258218123, '::1', 'curl/8', 'password', 'success');
INSERT INTO sign_ins (id, user_id, at, ip, user_agent, method, result) VALUES ('lgn_06gzvekybc0000000000000008', NULL, 1795261818123, '10.0.0.1', '', 'github', 'failure');
INSERT INTO avatars (user_id, tag, content_type, body, updated_at) VALUES ('usr_06gzvektec0000000000000004', '00ff', 'image/png', X'89504E4700', 1795261818123);
INSERT INTO preferences (user_id, email, slack, slack_target, telegram, telegram_chat_id, updated_at) VALUES ('usr_06gzvekybc0000000000000008', 1, 1, '#日本', 1, '-100', 1795258218123);
INSERT INTO settings (name, value, sealed, version, updated_at) VALUES ('smtp', X'7B22686F7374223A22C3A4227D', X'7365616C65642000', 1, 1795261818123);
INSERT INTO deliveries (id, key, template, channel, user_id, target, sealed, status, attempts, due_at, holder, leased_until, last_error, created_at, updated_at, delivered_at) VALUES ('ntf_06gzvektec0000000000000004', 'welcome/ann', 'welcome', 'email', 'usr_06gzvektec0000000000000004', 'a***@example.com', X'', 'delivered', 2, 1795258218123, '', NULL, 'once', 1795258218123, 1795261818123, 1795261818123);
INSERT INTO deliveries (id, key, template, channel, user_id, target, sealed, status, attempts, due_at, holder, leased_until, last_error, created_at, updated_at, delivered_at) VALUES ('ntf_06gzvekybc0000000000000008', 'alert/1', 'cluster-alert', 'slack', NULL, '#ops', X'00FF', 'pending', 1, 1795258218123, 'dev', 1795261818123, '', 1795258218123, 1795258218123, NULL);
INSERT INTO delivery_kinds (channel, template) VALUES ('email', 'welcome');
INSERT INTO delivery_kinds (channel, template) VALUES ('slack', 'cluster-alert');
INSERT INTO sqlite_sequence (name, seq) VALUES ('goose_db_version', 10);
INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', 2);
CREATE INDEX sessions_user_idx ON sessions (user_id);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_ends_idx ON sessions (ends_at);
CREATE INDEX api_keys_user_idx ON api_keys (user_id, id);
CREATE UNIQUE INDEX clusters_live_vcluster_name_key ON clusters (vcluster_name) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_idx ON clusters (id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_idx ON clusters (owner_user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_status_idx ON clusters (status, id) WHERE deleted_at IS NULL;
CREATE INDEX operations_cluster_idx ON operations (cluster_id, id);
CREATE UNIQUE INDEX jobs_one_running_key ON jobs (cluster_id) WHERE status = 'running';
CREATE INDEX jobs_queue_idx ON jobs (id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_queue_idx ON jobs (cluster_id, id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_cluster_idx ON jobs (cluster_id, id);
CREATE INDEX jobs_status_idx ON jobs (status, id);
CREATE INDEX jobs_operation_idx ON jobs (operation_id);
CREATE INDEX tokens_claim_idx ON tokens (cluster_id, claimed_node_name, id) WHERE claimed_node_name <> '';
CREATE INDEX tokens_leftover_idx ON tokens (cluster_id, id) WHERE secret_in_tenant;
CREATE INDEX nodes_cluster_idx ON nodes (cluster_id, id);
CREATE INDEX nodes_status_idx ON nodes (status, id);
CREATE INDEX node_events_cluster_idx ON node_events (cluster_id, id);
CREATE INDEX node_events_node_idx ON node_events (node_id, id);
CREATE INDEX node_events_type_idx ON node_events (type, id);
CREATE INDEX audit_events_actor_idx ON audit_events (actor_user_id, id);
CREATE INDEX replies_created_idx ON replies (created_at);
CREATE INDEX nodes_owner_idx ON nodes (owner_user_id, id);
CREATE INDEX nodes_owner_status_idx ON nodes (owner_user_id, status, id);
CREATE INDEX nodes_cluster_status_idx ON nodes (cluster_id, status, id);
CREATE INDEX node_events_owner_idx ON node_events (owner_user_id, id);
CREATE INDEX node_events_owner_type_idx ON node_events (owner_user_id, type, id);
CREATE INDEX node_events_cluster_type_idx ON node_events (cluster_id, type, id);
CREATE INDEX node_events_node_type_idx ON node_events (node_id, type, id);
CREATE INDEX clusters_live_owner_status_idx ON clusters (owner_user_id, status, id) WHERE deleted_at IS NULL;
CREATE INDEX audit_events_kind_idx ON audit_events (resource_type, action, security, id);
CREATE INDEX audit_events_actor_kind_idx ON audit_events (actor_user_id, resource_type, action, security, id);
CREATE INDEX control_plane_samples_age_idx ON control_plane_samples (resolution_seconds, at, cluster_id);
CREATE INDEX users_live_idx ON users (id) WHERE removed_at IS NULL;
CREATE INDEX users_live_status_idx ON users (status, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_idx ON users (role, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_status_idx ON users (role, status, id) WHERE removed_at IS NULL;
CREATE INDEX codes_expires_idx ON codes (expires_at);
CREATE INDEX sign_ins_user_idx ON sign_ins (user_id, id);
CREATE INDEX sign_ins_at_idx ON sign_ins (at);
CREATE INDEX deliveries_over_idx ON deliveries (created_at, id) WHERE status <> 'pending';
CREATE INDEX deliveries_user_idx ON deliveries (user_id, id);
CREATE INDEX deliveries_kind_idx ON deliveries (channel, template, status, id);
CREATE INDEX deliveries_user_kind_idx ON deliveries (user_id, channel, template, status, id);
CREATE INDEX deliveries_due_idx ON deliveries (channel, due_at, id) WHERE status = 'pending';
CREATE INDEX deliveries_leased_idx ON deliveries (channel, leased_until) WHERE status = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX deliveries_dead_idx ON deliveries (updated_at) WHERE status = 'dead' AND length(sealed) > 0;
CREATE UNIQUE INDEX fleet_default_key ON fleet (is_default) WHERE is_default;
CREATE INDEX clusters_live_number_idx ON clusters (number) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_owner_number_idx ON clusters (owner_user_id, number) WHERE deleted_at IS NULL;
CREATE VIRTUAL TABLE search_parts USING fts5 (text, content = 'search_texts', content_rowid = 'number', tokenize = 'trigram case_sensitive 1', detail = none, columnsize = 0);
INSERT INTO search_parts (search_parts) VALUES ('rebuild');
CREATE TRIGGER audit_events_come AFTER INSERT ON audit_events BEGIN
    INSERT INTO audit_kinds VALUES (NEW.resource_type, NEW.action, NEW.security) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER search_texts_come AFTER INSERT ON search_texts BEGIN
    INSERT INTO search_parts (rowid, text) VALUES (NEW.number, NEW.text);
END;
CREATE TRIGGER search_texts_go AFTER DELETE ON search_texts BEGIN
    INSERT INTO search_parts (search_parts, rowid, text) VALUES ('delete', OLD.number, OLD.text);
END;
CREATE TRIGGER search_texts_change AFTER UPDATE ON search_texts BEGIN
    INSERT INTO search_parts (search_parts, rowid, text) VALUES ('delete', OLD.number, OLD.text);
    INSERT INTO search_parts (rowid, text) VALUES (NEW.number, NEW.text);
END;
CREATE TRIGGER clusters_searchable AFTER INSERT ON clusters BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
CREATE TRIGGER clusters_renamed AFTER UPDATE OF search_text ON clusters WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
CREATE TRIGGER nodes_searchable AFTER INSERT ON nodes BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
CREATE TRIGGER nodes_renamed AFTER UPDATE OF search_text ON nodes WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
CREATE TRIGGER nodes_gone AFTER DELETE ON nodes BEGIN
    DELETE FROM search_texts WHERE id = OLD.id;
END;
CREATE TRIGGER nodes_come AFTER INSERT ON nodes BEGIN
    INSERT INTO node_totals VALUES (NEW.cluster_id, NEW.status, 1, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes)
        ON CONFLICT (cluster_id, status) DO UPDATE SET nodes = nodes + 1,
        cpu_allocatable_milli = cpu_allocatable_milli + excluded.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes + excluded.memory_allocatable_bytes;
END;
CREATE TRIGGER nodes_go AFTER DELETE ON nodes BEGIN
    UPDATE node_totals SET nodes = nodes - 1, cpu_allocatable_milli = cpu_allocatable_milli - OLD.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes - OLD.memory_allocatable_bytes
        WHERE cluster_id = OLD.cluster_id AND status = OLD.status;
    DELETE FROM node_totals WHERE cluster_id = OLD.cluster_id AND status = OLD.status AND nodes = 0;
END;
CREATE TRIGGER nodes_change AFTER UPDATE ON nodes
WHEN (OLD.cluster_id, OLD.status, OLD.cpu_allocatable_milli, OLD.memory_allocatable_bytes)
    IS NOT (NEW.cluster_id, NEW.status, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes)
BEGIN
    UPDATE node_totals SET nodes = nodes - 1, cpu_allocatable_milli = cpu_allocatable_milli - OLD.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes - OLD.memory_allocatable_bytes
        WHERE cluster_id = OLD.cluster_id AND status = OLD.status;
    DELETE FROM node_totals WHERE cluster_id = OLD.cluster_id AND status = OLD.status AND nodes = 0;
    INSERT INTO node_totals VALUES (NEW.cluster_id, NEW.status, 1, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes)
        ON CONFLICT (cluster_id, status) DO UPDATE SET nodes = nodes + 1,
        cpu_allocatable_milli = cpu_allocatable_milli + excluded.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes + excluded.memory_allocatable_bytes;
END;
CREATE TRIGGER users_searchable AFTER INSERT ON users BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
CREATE TRIGGER users_renamed AFTER UPDATE OF search_text ON users WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
