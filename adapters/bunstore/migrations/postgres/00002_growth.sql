-- +goose Up

-- What keeps every list as fast with a million rows as with a thousand.

-- A list of one owner's rows reads them by age from an index of its own; the
-- owner of a cluster never changes.
ALTER TABLE nodes ADD COLUMN owner_user_id text COLLATE "C" NOT NULL DEFAULT '';
UPDATE nodes SET owner_user_id = c.owner_user_id FROM clusters AS c WHERE c.id = nodes.cluster_id;
CREATE INDEX nodes_owner_idx ON nodes (owner_user_id, id);
CREATE INDEX nodes_owner_status_idx ON nodes (owner_user_id, status, id);
CREATE INDEX nodes_cluster_status_idx ON nodes (cluster_id, status, id);

ALTER TABLE node_events ADD COLUMN owner_user_id text COLLATE "C" NOT NULL DEFAULT '';
UPDATE node_events SET owner_user_id = c.owner_user_id FROM clusters AS c WHERE c.id = node_events.cluster_id;
CREATE INDEX node_events_owner_idx ON node_events (owner_user_id, id);
CREATE INDEX node_events_owner_type_idx ON node_events (owner_user_id, type, id);
CREATE INDEX node_events_cluster_type_idx ON node_events (cluster_id, type, id);
CREATE INDEX node_events_node_type_idx ON node_events (node_id, type, id);

CREATE INDEX clusters_live_owner_status_idx ON clusters (owner_user_id, status, id) WHERE deleted_at IS NULL;

-- Every kind of audit event that there has been: a few dozen. A filtered list
-- reads the newest events of each kind that the filter lets through, so that
-- two indexes serve every combination of filters.
CREATE TABLE audit_kinds (
    resource_type text    NOT NULL,
    action        text    NOT NULL,
    security      boolean NOT NULL,
    PRIMARY KEY (resource_type, action, security)
);
INSERT INTO audit_kinds SELECT DISTINCT resource_type, action, security FROM audit_events;
-- +goose StatementBegin
CREATE FUNCTION keep_audit_kinds() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO audit_kinds SELECT DISTINCT resource_type, action, security FROM appended ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_events_come AFTER INSERT ON audit_events REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_kinds();
CREATE INDEX audit_events_kind_idx ON audit_events (resource_type, action, security, id);
CREATE INDEX audit_events_actor_kind_idx ON audit_events (actor_user_id, resource_type, action, security, id);
-- Resource, action and security go together; the planner must not take a kind
-- for rarer than it is.
CREATE STATISTICS audit_events_kinds (dependencies, mcv) ON resource_type, action, security FROM audit_events;
DROP INDEX audit_events_security_idx;
DROP INDEX audit_events_resource_idx;
DROP INDEX audit_events_action_idx;

-- A search for part of a text reads an index of all its parts of one to three
-- characters. This needs no extension, which not everybody may install.
-- +goose StatementBegin
CREATE FUNCTION search_parts(t text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS $$
    SELECT array(SELECT DISTINCT substr(t, i, n) FROM generate_series(1, length(t)) AS i, generate_series(1, 3) AS n)
$$;
-- +goose StatementEnd
CREATE INDEX clusters_search_idx ON clusters USING gin (search_parts(search_text)) WITH (gin_pending_list_limit = 256);
CREATE INDEX nodes_search_idx ON nodes USING gin (search_parts(search_text)) WITH (gin_pending_list_limit = 256);

-- What the nodes of a cluster add up to, kept by the transactions that write nodes.
CREATE TABLE node_totals (
    cluster_id               text COLLATE "C" NOT NULL,
    status                   text             NOT NULL,
    nodes                    bigint           NOT NULL,
    cpu_allocatable_milli    bigint           NOT NULL,
    memory_allocatable_bytes bigint           NOT NULL,
    PRIMARY KEY (cluster_id, status)
);
INSERT INTO node_totals SELECT cluster_id, status, count(*), sum(cpu_allocatable_milli), sum(memory_allocatable_bytes) FROM nodes GROUP BY 1, 2;
-- +goose StatementBegin
CREATE FUNCTION count_nodes() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
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
-- +goose StatementEnd
CREATE TRIGGER nodes_come_and_go AFTER INSERT OR DELETE ON nodes FOR EACH ROW EXECUTE FUNCTION count_nodes();
CREATE TRIGGER nodes_change AFTER UPDATE ON nodes FOR EACH ROW
    WHEN ((OLD.cluster_id, OLD.status, OLD.cpu_allocatable_milli, OLD.memory_allocatable_bytes)
        IS DISTINCT FROM (NEW.cluster_id, NEW.status, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes))
    EXECUTE FUNCTION count_nodes();
