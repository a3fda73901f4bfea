SELECT pg_catalog.set_config('search_path', '', false);
CREATE FUNCTION kubebyon_fixture.count_nodes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'kubebyon_fixture'
    AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE node_totals AS t SET nodes = t.nodes - 1, cpu_allocatable_milli = t.cpu_allocatable_milli - OLD.cpu_allocatable_milli,
            memory_allocatable_bytes = t.memory_allocatable_bytes - OLD.memory_allocatable_bytes
            WHERE t.cluster_id = OLD.cluster_id AND t.status = OLD.status;
        DELETE FROM node_totals AS t WHERE t.cluster_id = OLD.cluster_id AND t.status = OLD.status AND t.nodes = 0;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO node_totals AS t VALUES (NEW.cluster_id, NEW.status, 1, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes)
            ON CONFLICT (cluster_id, status) DO UPDATE SET nodes = t.nodes + 1, cpu_allocatable_milli = t.cpu_allocatable_milli + NEW.cpu_allocatable_milli,
            memory_allocatable_bytes = t.memory_allocatable_bytes + NEW.memory_allocatable_bytes;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION kubebyon_fixture.keep_audit_kinds() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'kubebyon_fixture'
    AS $$
BEGIN
    INSERT INTO audit_kinds SELECT DISTINCT resource_type, action, security FROM appended ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE FUNCTION kubebyon_fixture.search_parts(t text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT COST 1000 PARALLEL SAFE
    AS $$
    SELECT array(SELECT DISTINCT substr(t, i, n) FROM generate_series(1, length(t)) AS i, generate_series(1, 3) AS n)
$$;
CREATE TABLE kubebyon_fixture.api_keys (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    display_prefix text NOT NULL,
    value_hash bytea NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    expires_at timestamp(3) with time zone,
    last_used_at timestamp(3) with time zone,
    number bigint DEFAULT 0 NOT NULL
);
CREATE TABLE kubebyon_fixture.audit_events (
    id text NOT NULL COLLATE pg_catalog."C",
    occurred_at timestamp(3) with time zone NOT NULL,
    actor_user_id text COLLATE pg_catalog."C",
    actor_type text NOT NULL,
    actor_method text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    action text NOT NULL,
    result text NOT NULL,
    message text NOT NULL,
    cluster_id text COLLATE pg_catalog."C",
    cluster_name text NOT NULL,
    node_name text NOT NULL,
    security boolean NOT NULL
);
CREATE TABLE kubebyon_fixture.audit_kinds (
    resource_type text NOT NULL,
    action text NOT NULL,
    security boolean NOT NULL
);
CREATE TABLE kubebyon_fixture.avatars (
    user_id text NOT NULL COLLATE pg_catalog."C",
    tag text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL
);
CREATE SEQUENCE kubebyon_fixture.cluster_numbers
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE kubebyon_fixture.clusters (
    id text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    owner_user_id text NOT NULL COLLATE pg_catalog."C",
    origin text NOT NULL,
    name text NOT NULL,
    vcluster_name text NOT NULL COLLATE pg_catalog."C",
    namespace text NOT NULL,
    control_plane_host text NOT NULL,
    former_hosts jsonb NOT NULL,
    kubernetes_version text NOT NULL,
    workload_cpu_limit_milli bigint NOT NULL,
    workload_memory_limit_mib bigint NOT NULL,
    control_plane_cpu_request_milli bigint NOT NULL,
    control_plane_memory_request_mib bigint NOT NULL,
    public_access_enabled boolean NOT NULL,
    public_access_mode text NOT NULL,
    public_access_port bigint NOT NULL,
    managed_ingress_enabled boolean NOT NULL,
    api_endpoint text NOT NULL,
    status text NOT NULL,
    connection_status text NOT NULL,
    kubeconfig_available_at timestamp(3) with time zone,
    last_observed_at timestamp(3) with time zone,
    last_error_message text NOT NULL,
    generation bigint NOT NULL,
    observed_generation bigint NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL,
    deleted_at timestamp(3) with time zone,
    version bigint NOT NULL,
    search_text text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kubebyon_fixture.codes (
    address text NOT NULL COLLATE pg_catalog."C",
    purpose text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    expires_at timestamp(3) with time zone NOT NULL,
    tries bigint NOT NULL
);
CREATE TABLE kubebyon_fixture.control_plane_samples (
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    at timestamp(3) with time zone NOT NULL,
    resolution_seconds bigint NOT NULL,
    measurements bigint NOT NULL,
    cpu_milli bigint NOT NULL,
    memory_mib bigint NOT NULL,
    pods_ready bigint NOT NULL,
    pods_total bigint NOT NULL
);
CREATE TABLE kubebyon_fixture.deliveries (
    id text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    template text NOT NULL,
    channel text NOT NULL,
    user_id text COLLATE pg_catalog."C",
    target text NOT NULL,
    sealed bytea NOT NULL,
    status text NOT NULL,
    attempts bigint NOT NULL,
    due_at timestamp(3) with time zone NOT NULL,
    holder text NOT NULL COLLATE pg_catalog."C",
    leased_until timestamp(3) with time zone,
    last_error text NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL,
    delivered_at timestamp(3) with time zone
);
CREATE TABLE kubebyon_fixture.delivery_kinds (
    channel text NOT NULL,
    template text NOT NULL
);
CREATE TABLE kubebyon_fixture.facts (
    name text NOT NULL COLLATE pg_catalog."C",
    value bytea NOT NULL
);
CREATE TABLE kubebyon_fixture.fleet (
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    description text NOT NULL,
    prometheus_url text NOT NULL,
    disabled boolean NOT NULL,
    is_default boolean NOT NULL,
    credential text NOT NULL,
    sealed bytea NOT NULL,
    credential_expires_at timestamp(3) with time zone,
    updated_at timestamp(3) with time zone NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE kubebyon_fixture.fleet_contents (
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    namespaces bigint NOT NULL,
    pods bigint NOT NULL,
    counted_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.goose_db_version (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE kubebyon_fixture.goose_db_version ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME kubebyon_fixture.goose_db_version_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kubebyon_fixture.jobs (
    id text NOT NULL COLLATE pg_catalog."C",
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    operation_id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL,
    status text NOT NULL,
    attempt_count bigint NOT NULL,
    published_at timestamp(3) with time zone,
    not_before timestamp(3) with time zone NOT NULL,
    leased_until timestamp(3) with time zone,
    worker_id text NOT NULL COLLATE pg_catalog."C",
    last_error text NOT NULL,
    started_at timestamp(3) with time zone,
    finished_at timestamp(3) with time zone,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL,
    trace text DEFAULT ''::text NOT NULL
);
CREATE TABLE kubebyon_fixture.leases (
    name text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL COLLATE pg_catalog."C",
    held_until timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.node_events (
    id text NOT NULL COLLATE pg_catalog."C",
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    node_id text NOT NULL COLLATE pg_catalog."C",
    node_name text NOT NULL,
    type text NOT NULL,
    old_status text NOT NULL,
    new_status text NOT NULL,
    message text NOT NULL,
    observed_at timestamp(3) with time zone NOT NULL,
    owner_user_id text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kubebyon_fixture.node_totals (
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL,
    nodes bigint NOT NULL,
    cpu_allocatable_milli bigint NOT NULL,
    memory_allocatable_bytes bigint NOT NULL
);
CREATE TABLE kubebyon_fixture.nodes (
    id text NOT NULL COLLATE pg_catalog."C",
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    uid text NOT NULL,
    status text NOT NULL,
    unschedulable boolean NOT NULL,
    internal_ip text NOT NULL,
    pod_cidr text NOT NULL,
    os_image text NOT NULL,
    kubelet_version text NOT NULL,
    container_runtime_version text NOT NULL,
    labels jsonb NOT NULL,
    cpu_allocatable_milli bigint NOT NULL,
    memory_allocatable_bytes bigint NOT NULL,
    ephemeral_storage_allocatable bigint NOT NULL,
    source text NOT NULL,
    last_seen_at timestamp(3) with time zone,
    ready_at timestamp(3) with time zone,
    offline_at timestamp(3) with time zone,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL,
    search_text text NOT NULL COLLATE pg_catalog."C",
    owner_user_id text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kubebyon_fixture.operations (
    id text NOT NULL COLLATE pg_catalog."C",
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL,
    status text NOT NULL,
    stage text NOT NULL,
    requested_by_user_id text COLLATE pg_catalog."C",
    error_message text NOT NULL,
    generation bigint NOT NULL,
    started_at timestamp(3) with time zone,
    finished_at timestamp(3) with time zone,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.outbox (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL,
    key text NOT NULL,
    at timestamp(3) with time zone NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE kubebyon_fixture.outbox ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kubebyon_fixture.outbox_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kubebyon_fixture.preferences (
    user_id text NOT NULL COLLATE pg_catalog."C",
    email boolean NOT NULL,
    slack boolean NOT NULL,
    slack_target text NOT NULL,
    telegram boolean NOT NULL,
    telegram_chat_id text NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.replies (
    user_id text NOT NULL COLLATE pg_catalog."C",
    operation text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    request_hash bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.sessions (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    token_hash bytea NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    expires_at timestamp(3) with time zone NOT NULL,
    ends_at timestamp(3) with time zone NOT NULL,
    ip text NOT NULL,
    user_agent text NOT NULL
);
CREATE TABLE kubebyon_fixture.settings (
    name text NOT NULL COLLATE pg_catalog."C",
    value bytea NOT NULL,
    sealed bytea NOT NULL,
    version bigint NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.sign_ins (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text COLLATE pg_catalog."C",
    at timestamp(3) with time zone NOT NULL,
    ip text NOT NULL,
    user_agent text NOT NULL,
    method text NOT NULL,
    result text NOT NULL
);
CREATE TABLE kubebyon_fixture.sso_identities (
    provider text NOT NULL COLLATE pg_catalog."C",
    subject_hash bytea NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp(3) with time zone NOT NULL,
    last_used_at timestamp(3) with time zone NOT NULL
);
CREATE TABLE kubebyon_fixture.tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    cluster_id text NOT NULL COLLATE pg_catalog."C",
    value_hash bytea NOT NULL,
    display_prefix text NOT NULL,
    bootstrap_id text NOT NULL COLLATE pg_catalog."C",
    bootstrap_secret_name text NOT NULL,
    status text NOT NULL,
    claimed_node_name text NOT NULL COLLATE pg_catalog."C",
    claimed_key_hash text NOT NULL,
    secret_in_tenant boolean NOT NULL,
    created_by_user_id text COLLATE pg_catalog."C",
    used_by_node_id text COLLATE pg_catalog."C",
    expires_at timestamp(3) with time zone NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    used_at timestamp(3) with time zone,
    revoked_at timestamp(3) with time zone,
    revoked_by_user_id text COLLATE pg_catalog."C",
    version bigint NOT NULL
);
CREATE TABLE kubebyon_fixture.users (
    id text NOT NULL COLLATE pg_catalog."C",
    email text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    avatar_url text NOT NULL,
    role text NOT NULL,
    status text NOT NULL,
    password_hash text NOT NULL,
    created_at timestamp(3) with time zone NOT NULL,
    updated_at timestamp(3) with time zone NOT NULL,
    last_login_at timestamp(3) with time zone,
    version bigint NOT NULL,
    removed_at timestamp(3) with time zone,
    search_text text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C"
);
INSERT INTO kubebyon_fixture.api_keys VALUES ('key_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', 'ci', 'kbk_ab', '\x6b65792031', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', 1);
INSERT INTO kubebyon_fixture.api_keys VALUES ('key_06gzvekybc0000000000000008', 'usr_06gzvekybc0000000000000008', 'for ever', 'kbk_cd', '\x6b65792032', '2026-11-21 10:50:18.123+00', NULL, NULL, 1);
INSERT INTO kubebyon_fixture.audit_events VALUES ('aud_06gzvektec0000000000000004', '2026-11-21 10:50:18.123+00', 'usr_06gzvektec0000000000000004', 'person', 'session', 'cluster', 'cl_06gzvektec0000000000000004', 'create', 'success', 'Asked for it.', 'cl_06gzvektec0000000000000004', 'Demo', 'n', false);
INSERT INTO kubebyon_fixture.audit_events VALUES ('aud_06gzvekybc0000000000000008', '2026-11-21 11:50:18.123+00', NULL, 'process', '', 'session', '', 'login', 'failure', 'No.', NULL, '', '', true);
INSERT INTO kubebyon_fixture.audit_kinds VALUES ('cluster', 'create', false);
INSERT INTO kubebyon_fixture.audit_kinds VALUES ('session', 'login', true);
INSERT INTO kubebyon_fixture.avatars VALUES ('usr_06gzvektec0000000000000004', '00ff', 'image/png', '\x89504e4700', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.clusters VALUES ('cl_06gzvektec0000000000000004', 1, 'usr_06gzvektec0000000000000004', 'console', 'Demo', 'vc-Demo', 'tenant-Demo', 'Demo.example.com', '["old.example.com", "älter.example.com"]', 'v1.34.1', 2500, 4096, 200, 512, true, 'direct', 6443, false, 'https://127.0.0.1:6443', 'ready', 'reachable', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', 'it''s "100%" _ ? ?0 $1 \ 日本 🙂
--', 3, 2, '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', NULL, 1, 'demovc-democl_06gzvektec0000000000000004');
INSERT INTO kubebyon_fixture.clusters VALUES ('cl_06gzvekybc0000000000000008', 2, 'usr_06gzvekybc0000000000000008', 'console', 'gone', 'vc-gone', 'tenant-gone', 'gone.example.com', '["old.example.com", "älter.example.com"]', 'v1.34.1', 2500, 4096, 200, 512, true, 'direct', 6443, false, 'https://127.0.0.1:6443', 'deleted', 'reachable', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', 'it''s "100%" _ ? ?0 $1 \ 日本 🙂
--', 3, 2, '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', 1, 'gonevc-gonecl_06gzvekybc0000000000000008');
INSERT INTO kubebyon_fixture.codes VALUES ('ann@example.com', 'reset', '\x00ff', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', 2);
INSERT INTO kubebyon_fixture.control_plane_samples VALUES ('cl_06gzvektec0000000000000004', '2026-11-21 09:45:00+00', 900, 14, 1400, 4200, 13, 14);
INSERT INTO kubebyon_fixture.control_plane_samples VALUES ('cl_06gzvektec0000000000000004', '2026-11-21 10:50:00+00', 60, 1, 123, 305, 1, 2);
INSERT INTO kubebyon_fixture.deliveries VALUES ('ntf_06gzvektec0000000000000004', 'welcome/ann', 'welcome', 'email', 'usr_06gzvektec0000000000000004', 'a***@example.com', '\x', 'delivered', 2, '2026-11-21 10:50:18.123+00', '', NULL, 'once', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.deliveries VALUES ('ntf_06gzvekybc0000000000000008', 'alert/1', 'cluster-alert', 'slack', NULL, '#ops', '\x00ff', 'pending', 1, '2026-11-21 10:50:18.123+00', 'dev', '2026-11-21 11:50:18.123+00', '', '2026-11-21 10:50:18.123+00', '2026-11-21 10:50:18.123+00', NULL);
INSERT INTO kubebyon_fixture.delivery_kinds VALUES ('email', 'welcome');
INSERT INTO kubebyon_fixture.delivery_kinds VALUES ('slack', 'cluster-alert');
INSERT INTO kubebyon_fixture.facts VALUES ('secret-key-check', '\x7365616c65642000');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (1, 0, true, '2026-11-21 22:14:38.760403');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (2, 1, true, '2026-11-21 22:14:38.771992');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (3, 2, true, '2026-11-21 22:14:39.166065');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (4, 3, true, '2026-11-21 22:14:39.230893');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (5, 4, true, '2026-11-21 22:14:39.238728');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (6, 5, true, '2026-11-21 22:14:39.2426');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (7, 6, true, '2026-11-21 22:14:39.275118');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (8, 7, true, '2026-11-21 22:14:39.298984');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (9, 8, true, '2026-11-21 22:14:39.305183');
INSERT INTO kubebyon_fixture.goose_db_version VALUES (10, 9, true, '2026-11-21 22:14:39.317873');
INSERT INTO kubebyon_fixture.jobs VALUES ('job_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'op_06gzvektec0000000000000004', 'create', 'succeeded', 2, '2026-11-21 10:50:18.123+00', '2026-11-21 10:50:18.123+00', NULL, 'dev/0', 'once', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '');
INSERT INTO kubebyon_fixture.jobs VALUES ('job_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'op_06gzvekybc0000000000000008', 'update', 'pending', 0, NULL, '2026-11-21 11:50:18.123+00', NULL, '', '', NULL, NULL, '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', '');
INSERT INTO kubebyon_fixture.leases VALUES ('watch/cl_06gzvektec0000000000000004', 'dev', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.node_events VALUES ('nevt_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'node_06gzvektec0000000000000004', 'worker-1', 'joined', '', 'ready', 'It has joined.', '2026-11-21 10:50:18.123+00', 'usr_06gzvektec0000000000000004');
INSERT INTO kubebyon_fixture.node_events VALUES ('nevt_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'node_06gzvekybc0000000000000008', 'worker-2', 'offline', 'ready', 'offline', 'It is gone.', '2026-11-21 11:50:18.123+00', 'usr_06gzvektec0000000000000004');
INSERT INTO kubebyon_fixture.node_totals VALUES ('cl_06gzvektec0000000000000004', 'ready', 1, 4000, 8589934592);
INSERT INTO kubebyon_fixture.node_totals VALUES ('cl_06gzvektec0000000000000004', 'offline', 1, 1000, 0);
INSERT INTO kubebyon_fixture.nodes VALUES ('node_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'worker-1', 'uid', 'ready', false, '10.0.0.1', '10.1.0.0/24', 'Debian', 'v1.34.1', 'containerd://2', '{"a/b": "ü"}', 4000, 8589934592, 1099511627776, 'watch', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', NULL, '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', 'worker-110.0.0.1', 'usr_06gzvektec0000000000000004');
INSERT INTO kubebyon_fixture.nodes VALUES ('node_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'worker-2', '', 'offline', true, '', '', '', '', '', '{}', 1000, 0, 0, '', NULL, NULL, '2026-11-21 11:50:18.123+00', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', 'worker-2', 'usr_06gzvektec0000000000000004');
INSERT INTO kubebyon_fixture.operations VALUES ('op_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', 'create', 'succeeded', 'done', 'usr_06gzvektec0000000000000004', '', 1, '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.operations VALUES ('op_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', 'update', 'pending', 'queued', NULL, 'not yet', 2, NULL, NULL, '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.outbox OVERRIDING SYSTEM VALUE VALUES (1, 'msg_06gzvekybc0000000000000008', 'job', 'cl_06gzvektec0000000000000004', '2026-11-21 11:50:18.123+00', '\x7b2261223a225c7530303030227d');
INSERT INTO kubebyon_fixture.outbox OVERRIDING SYSTEM VALUE VALUES (2, 'msg_06gzvektec0000000000000004', 'job', 'cl_06gzvektec0000000000000004', '2026-11-21 10:50:18.123+00', '\x00ff');
INSERT INTO kubebyon_fixture.preferences VALUES ('usr_06gzvekybc0000000000000008', true, true, '#日本', true, '-100', '2026-11-21 10:50:18.123+00');
INSERT INTO kubebyon_fixture.replies VALUES ('usr_06gzvektec0000000000000004', 'create-cluster', 'k 1', '\x0102', '\x7365616c6564', '2026-11-21 10:50:18.123+00');
INSERT INTO kubebyon_fixture.sessions VALUES ('ses_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', '\x73657373696f6e2000ff', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', '::1', 'curl/8');
INSERT INTO kubebyon_fixture.settings VALUES ('smtp', '\x7b22686f7374223a22c3a4227d', '\x7365616c65642000', 1, '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.sign_ins VALUES ('lgn_06gzvektec0000000000000004', 'usr_06gzvektec0000000000000004', '2026-11-21 10:50:18.123+00', '::1', 'curl/8', 'password', 'success');
INSERT INTO kubebyon_fixture.sign_ins VALUES ('lgn_06gzvekybc0000000000000008', NULL, '2026-11-21 11:50:18.123+00', '10.0.0.1', '', 'github', 'failure');
INSERT INTO kubebyon_fixture.sso_identities VALUES ('github', '\x0100ff', 'usr_06gzvektec0000000000000004', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00');
INSERT INTO kubebyon_fixture.tokens VALUES ('tok_06gzvektec0000000000000004', 'cl_06gzvektec0000000000000004', '\x746f6b656e2031', 'kbt_ab', 'abcdef', 'bootstrap-token-abcdef', 'used', 'worker-1', 'sha256:00', false, 'usr_06gzvektec0000000000000004', 'node_06gzvektec0000000000000004', '2026-11-21 11:50:18.123+00', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', NULL, NULL, 1);
INSERT INTO kubebyon_fixture.tokens VALUES ('tok_06gzvekybc0000000000000008', 'cl_06gzvektec0000000000000004', '\x746f6b656e2032', 'kbt_cd', 'ghijkl', '', 'active', '', '', true, NULL, NULL, '2026-11-21 11:50:18.123+00', '2026-11-21 10:50:18.123+00', NULL, NULL, NULL, 1);
INSERT INTO kubebyon_fixture.users VALUES ('usr_06gzvektec0000000000000004', 'ann@example.com', 'Ann Zoë 日本', 'https://example.com/a.png', 'admin', 'active', '$argon2id$ann', '2026-11-21 10:50:18.123+00', '2026-11-21 11:50:18.123+00', '2026-11-21 11:50:18.123+00', 1, NULL, 'ann@example.comann zoë 日本');
INSERT INTO kubebyon_fixture.users VALUES ('usr_06gzvekybc0000000000000008', 'bob@example.com', 'Bob', '', 'user', 'banned', '', '2026-11-21 10:50:18.123+00', '2026-11-21 10:50:18.123+00', NULL, 1, NULL, 'bob@example.combob');
SELECT pg_catalog.setval('kubebyon_fixture.cluster_numbers', 2, true);
SELECT pg_catalog.setval('kubebyon_fixture.goose_db_version_id_seq', 10, true);
SELECT pg_catalog.setval('kubebyon_fixture.outbox_seq_seq', 2, true);
ALTER TABLE ONLY kubebyon_fixture.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.api_keys
    ADD CONSTRAINT api_keys_value_hash_key UNIQUE (value_hash);
ALTER TABLE ONLY kubebyon_fixture.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.audit_kinds
    ADD CONSTRAINT audit_kinds_pkey PRIMARY KEY (resource_type, action, security);
ALTER TABLE ONLY kubebyon_fixture.avatars
    ADD CONSTRAINT avatars_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY kubebyon_fixture.clusters
    ADD CONSTRAINT clusters_number_key UNIQUE (number);
ALTER TABLE ONLY kubebyon_fixture.clusters
    ADD CONSTRAINT clusters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.codes
    ADD CONSTRAINT codes_pkey PRIMARY KEY (address, purpose);
ALTER TABLE ONLY kubebyon_fixture.control_plane_samples
    ADD CONSTRAINT control_plane_samples_pkey PRIMARY KEY (cluster_id, at, resolution_seconds);
ALTER TABLE ONLY kubebyon_fixture.deliveries
    ADD CONSTRAINT deliveries_key_key UNIQUE (key);
ALTER TABLE ONLY kubebyon_fixture.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.delivery_kinds
    ADD CONSTRAINT delivery_kinds_pkey PRIMARY KEY (channel, template);
ALTER TABLE ONLY kubebyon_fixture.facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kubebyon_fixture.fleet_contents
    ADD CONSTRAINT fleet_contents_pkey PRIMARY KEY (cluster_id);
ALTER TABLE ONLY kubebyon_fixture.fleet
    ADD CONSTRAINT fleet_pkey PRIMARY KEY (cluster_id);
ALTER TABLE ONLY kubebyon_fixture.goose_db_version
    ADD CONSTRAINT goose_db_version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kubebyon_fixture.node_events
    ADD CONSTRAINT node_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.node_totals
    ADD CONSTRAINT node_totals_pkey PRIMARY KEY (cluster_id, status);
ALTER TABLE ONLY kubebyon_fixture.nodes
    ADD CONSTRAINT nodes_name_key UNIQUE (cluster_id, name);
ALTER TABLE ONLY kubebyon_fixture.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.outbox
    ADD CONSTRAINT outbox_id_key UNIQUE (id);
ALTER TABLE ONLY kubebyon_fixture.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY kubebyon_fixture.preferences
    ADD CONSTRAINT preferences_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY kubebyon_fixture.replies
    ADD CONSTRAINT replies_pkey PRIMARY KEY (user_id, operation, key);
ALTER TABLE ONLY kubebyon_fixture.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.sessions
    ADD CONSTRAINT sessions_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY kubebyon_fixture.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kubebyon_fixture.sign_ins
    ADD CONSTRAINT sign_ins_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.sso_identities
    ADD CONSTRAINT sso_identities_pkey PRIMARY KEY (provider, subject_hash);
ALTER TABLE ONLY kubebyon_fixture.sso_identities
    ADD CONSTRAINT sso_identities_user_key UNIQUE (user_id, provider);
ALTER TABLE ONLY kubebyon_fixture.tokens
    ADD CONSTRAINT tokens_bootstrap_id_key UNIQUE (cluster_id, bootstrap_id);
ALTER TABLE ONLY kubebyon_fixture.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kubebyon_fixture.tokens
    ADD CONSTRAINT tokens_value_hash_key UNIQUE (value_hash);
ALTER TABLE ONLY kubebyon_fixture.users
    ADD CONSTRAINT users_email_key UNIQUE (email);
ALTER TABLE ONLY kubebyon_fixture.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX api_keys_user_idx ON kubebyon_fixture.api_keys USING btree (user_id, id);
CREATE INDEX audit_events_actor_idx ON kubebyon_fixture.audit_events USING btree (actor_user_id, id);
CREATE INDEX audit_events_actor_kind_idx ON kubebyon_fixture.audit_events USING btree (actor_user_id, resource_type, action, security, id);
CREATE INDEX audit_events_kind_idx ON kubebyon_fixture.audit_events USING btree (resource_type, action, security, id);
CREATE INDEX clusters_live_idx ON kubebyon_fixture.clusters USING btree (id) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_live_number_idx ON kubebyon_fixture.clusters USING btree (number) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_live_owner_idx ON kubebyon_fixture.clusters USING btree (owner_user_id, id) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_live_owner_number_idx ON kubebyon_fixture.clusters USING btree (owner_user_id, number) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_live_owner_status_idx ON kubebyon_fixture.clusters USING btree (owner_user_id, status, id) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_live_status_idx ON kubebyon_fixture.clusters USING btree (status, id) WHERE (deleted_at IS NULL);
CREATE UNIQUE INDEX clusters_live_vcluster_name_key ON kubebyon_fixture.clusters USING btree (vcluster_name) WHERE (deleted_at IS NULL);
CREATE INDEX clusters_search_idx ON kubebyon_fixture.clusters USING gin (kubebyon_fixture.search_parts(search_text)) WITH (gin_pending_list_limit='256');
CREATE INDEX codes_expires_idx ON kubebyon_fixture.codes USING btree (expires_at);
CREATE INDEX control_plane_samples_age_idx ON kubebyon_fixture.control_plane_samples USING btree (resolution_seconds, at, cluster_id);
CREATE INDEX deliveries_dead_idx ON kubebyon_fixture.deliveries USING btree (updated_at) WHERE ((status = 'dead'::text) AND (length(sealed) > 0));
CREATE INDEX deliveries_due_idx ON kubebyon_fixture.deliveries USING btree (channel, due_at, id) WHERE (status = 'pending'::text);
CREATE INDEX deliveries_kind_idx ON kubebyon_fixture.deliveries USING btree (channel, template, status, id);
CREATE INDEX deliveries_leased_idx ON kubebyon_fixture.deliveries USING btree (channel, leased_until) WHERE ((status = 'pending'::text) AND (leased_until IS NOT NULL));
CREATE INDEX deliveries_over_idx ON kubebyon_fixture.deliveries USING btree (created_at, id) WHERE (status <> 'pending'::text);
CREATE INDEX deliveries_user_idx ON kubebyon_fixture.deliveries USING btree (user_id, id);
CREATE INDEX deliveries_user_kind_idx ON kubebyon_fixture.deliveries USING btree (user_id, channel, template, status, id);
CREATE UNIQUE INDEX fleet_default_key ON kubebyon_fixture.fleet USING btree (is_default) WHERE is_default;
CREATE INDEX jobs_cluster_idx ON kubebyon_fixture.jobs USING btree (cluster_id, id);
CREATE INDEX jobs_cluster_queue_idx ON kubebyon_fixture.jobs USING btree (cluster_id, id) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE UNIQUE INDEX jobs_one_running_key ON kubebyon_fixture.jobs USING btree (cluster_id) WHERE (status = 'running'::text);
CREATE INDEX jobs_operation_idx ON kubebyon_fixture.jobs USING btree (operation_id);
CREATE INDEX jobs_queue_idx ON kubebyon_fixture.jobs USING btree (id) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE INDEX jobs_status_idx ON kubebyon_fixture.jobs USING btree (status, id);
CREATE INDEX node_events_cluster_idx ON kubebyon_fixture.node_events USING btree (cluster_id, id);
CREATE INDEX node_events_cluster_type_idx ON kubebyon_fixture.node_events USING btree (cluster_id, type, id);
CREATE INDEX node_events_node_idx ON kubebyon_fixture.node_events USING btree (node_id, id);
CREATE INDEX node_events_node_type_idx ON kubebyon_fixture.node_events USING btree (node_id, type, id);
CREATE INDEX node_events_owner_idx ON kubebyon_fixture.node_events USING btree (owner_user_id, id);
CREATE INDEX node_events_owner_type_idx ON kubebyon_fixture.node_events USING btree (owner_user_id, type, id);
CREATE INDEX node_events_type_idx ON kubebyon_fixture.node_events USING btree (type, id);
CREATE INDEX nodes_cluster_idx ON kubebyon_fixture.nodes USING btree (cluster_id, id);
CREATE INDEX nodes_cluster_status_idx ON kubebyon_fixture.nodes USING btree (cluster_id, status, id);
CREATE INDEX nodes_owner_idx ON kubebyon_fixture.nodes USING btree (owner_user_id, id);
CREATE INDEX nodes_owner_status_idx ON kubebyon_fixture.nodes USING btree (owner_user_id, status, id);
CREATE INDEX nodes_search_idx ON kubebyon_fixture.nodes USING gin (kubebyon_fixture.search_parts(search_text)) WITH (gin_pending_list_limit='256');
CREATE INDEX nodes_status_idx ON kubebyon_fixture.nodes USING btree (status, id);
CREATE INDEX operations_cluster_idx ON kubebyon_fixture.operations USING btree (cluster_id, id);
CREATE INDEX replies_created_idx ON kubebyon_fixture.replies USING btree (created_at);
CREATE INDEX sessions_ends_idx ON kubebyon_fixture.sessions USING btree (ends_at);
CREATE INDEX sessions_expires_idx ON kubebyon_fixture.sessions USING btree (expires_at);
CREATE INDEX sessions_user_idx ON kubebyon_fixture.sessions USING btree (user_id);
CREATE INDEX sign_ins_at_idx ON kubebyon_fixture.sign_ins USING btree (at);
CREATE INDEX sign_ins_user_idx ON kubebyon_fixture.sign_ins USING btree (user_id, id);
CREATE INDEX tokens_claim_idx ON kubebyon_fixture.tokens USING btree (cluster_id, claimed_node_name, id) WHERE (claimed_node_name <> ''::text);
CREATE INDEX tokens_leftover_idx ON kubebyon_fixture.tokens USING btree (cluster_id, id) WHERE secret_in_tenant;
CREATE INDEX users_live_idx ON kubebyon_fixture.users USING btree (id) WHERE (removed_at IS NULL);
CREATE INDEX users_live_role_idx ON kubebyon_fixture.users USING btree (role, id) WHERE (removed_at IS NULL);
CREATE INDEX users_live_role_status_idx ON kubebyon_fixture.users USING btree (role, status, id) WHERE (removed_at IS NULL);
CREATE INDEX users_live_status_idx ON kubebyon_fixture.users USING btree (status, id) WHERE (removed_at IS NULL);
CREATE INDEX users_search_idx ON kubebyon_fixture.users USING gin (kubebyon_fixture.search_parts(search_text)) WITH (gin_pending_list_limit='256');
CREATE STATISTICS kubebyon_fixture.audit_events_kinds (dependencies, mcv) ON resource_type, action, security FROM kubebyon_fixture.audit_events;
CREATE TRIGGER audit_events_come AFTER INSERT ON kubebyon_fixture.audit_events REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION kubebyon_fixture.keep_audit_kinds();
CREATE TRIGGER nodes_change AFTER UPDATE ON kubebyon_fixture.nodes FOR EACH ROW WHEN (((((old.cluster_id IS DISTINCT FROM new.cluster_id) OR (old.status IS DISTINCT FROM new.status)) OR (old.cpu_allocatable_milli IS DISTINCT FROM new.cpu_allocatable_milli)) OR (old.memory_allocatable_bytes IS DISTINCT FROM new.memory_allocatable_bytes))) EXECUTE FUNCTION kubebyon_fixture.count_nodes();
CREATE TRIGGER nodes_come_and_go AFTER INSERT OR DELETE ON kubebyon_fixture.nodes FOR EACH ROW EXECUTE FUNCTION kubebyon_fixture.count_nodes();
ALTER TABLE ONLY kubebyon_fixture.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.avatars
    ADD CONSTRAINT avatars_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.clusters
    ADD CONSTRAINT clusters_owner_user_id_fkey FOREIGN KEY (owner_user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.deliveries
    ADD CONSTRAINT deliveries_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.fleet
    ADD CONSTRAINT fleet_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.fleet_contents
    ADD CONSTRAINT fleet_contents_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.jobs
    ADD CONSTRAINT jobs_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.jobs
    ADD CONSTRAINT jobs_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES kubebyon_fixture.operations(id);
ALTER TABLE ONLY kubebyon_fixture.node_events
    ADD CONSTRAINT node_events_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.nodes
    ADD CONSTRAINT nodes_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.operations
    ADD CONSTRAINT operations_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
ALTER TABLE ONLY kubebyon_fixture.preferences
    ADD CONSTRAINT preferences_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.sign_ins
    ADD CONSTRAINT sign_ins_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.sso_identities
    ADD CONSTRAINT sso_identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES kubebyon_fixture.users(id);
ALTER TABLE ONLY kubebyon_fixture.tokens
    ADD CONSTRAINT tokens_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES kubebyon_fixture.clusters(id);
