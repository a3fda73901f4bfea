-- +goose Up

-- What keeps every list as fast with a million rows as with a thousand.

-- A list of one owner's rows reads them by age from an index of its own; the
-- owner of a cluster never changes.
ALTER TABLE nodes ADD COLUMN owner_user_id TEXT NOT NULL DEFAULT '';
UPDATE nodes SET owner_user_id = (SELECT c.owner_user_id FROM clusters AS c WHERE c.id = nodes.cluster_id);
CREATE INDEX nodes_owner_idx ON nodes (owner_user_id, id);
CREATE INDEX nodes_owner_status_idx ON nodes (owner_user_id, status, id);
CREATE INDEX nodes_cluster_status_idx ON nodes (cluster_id, status, id);

ALTER TABLE node_events ADD COLUMN owner_user_id TEXT NOT NULL DEFAULT '';
UPDATE node_events SET owner_user_id = (SELECT c.owner_user_id FROM clusters AS c WHERE c.id = node_events.cluster_id);
CREATE INDEX node_events_owner_idx ON node_events (owner_user_id, id);
CREATE INDEX node_events_owner_type_idx ON node_events (owner_user_id, type, id);
CREATE INDEX node_events_cluster_type_idx ON node_events (cluster_id, type, id);
CREATE INDEX node_events_node_type_idx ON node_events (node_id, type, id);

CREATE INDEX clusters_live_owner_status_idx ON clusters (owner_user_id, status, id) WHERE deleted_at IS NULL;

-- Every kind of audit event that there has been: a few dozen. A filtered list
-- reads the newest events of each kind that the filter lets through, so that
-- two indexes serve every combination of filters.
CREATE TABLE audit_kinds (
    resource_type TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    security      INTEGER NOT NULL,
    PRIMARY KEY (resource_type, action, security)
) STRICT;
INSERT INTO audit_kinds SELECT DISTINCT resource_type, action, security FROM audit_events;
-- +goose StatementBegin
CREATE TRIGGER audit_events_come AFTER INSERT ON audit_events BEGIN
    INSERT INTO audit_kinds VALUES (NEW.resource_type, NEW.action, NEW.security) ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd
CREATE INDEX audit_events_kind_idx ON audit_events (resource_type, action, security, id);
CREATE INDEX audit_events_actor_kind_idx ON audit_events (actor_user_id, resource_type, action, security, id);
DROP INDEX audit_events_security_idx;
DROP INDEX audit_events_resource_idx;
DROP INDEX audit_events_action_idx;

-- A search for part of a text, if it has three characters or more, reads an
-- index of all parts of three. Its rows have numbers of their own: VACUUM gives
-- other ones to rows of a table whose primary key is text.
CREATE TABLE search_texts (
    number INTEGER PRIMARY KEY,
    id     TEXT NOT NULL CONSTRAINT search_texts_id_key UNIQUE,
    text   TEXT NOT NULL
) STRICT;
INSERT INTO search_texts (id, text) SELECT id, search_text FROM clusters UNION ALL SELECT id, search_text FROM nodes;
CREATE VIRTUAL TABLE search_parts USING fts5 (text, content = 'search_texts', content_rowid = 'number', tokenize = 'trigram case_sensitive 1', detail = none, columnsize = 0);
INSERT INTO search_parts (search_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER search_texts_come AFTER INSERT ON search_texts BEGIN
    INSERT INTO search_parts (rowid, text) VALUES (NEW.number, NEW.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER search_texts_go AFTER DELETE ON search_texts BEGIN
    INSERT INTO search_parts (search_parts, rowid, text) VALUES ('delete', OLD.number, OLD.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER search_texts_change AFTER UPDATE ON search_texts BEGIN
    INSERT INTO search_parts (search_parts, rowid, text) VALUES ('delete', OLD.number, OLD.text);
    INSERT INTO search_parts (rowid, text) VALUES (NEW.number, NEW.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER clusters_searchable AFTER INSERT ON clusters BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER clusters_renamed AFTER UPDATE OF search_text ON clusters WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER nodes_searchable AFTER INSERT ON nodes BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER nodes_renamed AFTER UPDATE OF search_text ON nodes WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER nodes_gone AFTER DELETE ON nodes BEGIN
    DELETE FROM search_texts WHERE id = OLD.id;
END;
-- +goose StatementEnd

-- What the nodes of a cluster add up to, kept by the transactions that write nodes.
CREATE TABLE node_totals (
    cluster_id               TEXT    NOT NULL,
    status                   TEXT    NOT NULL,
    nodes                    INTEGER NOT NULL,
    cpu_allocatable_milli    INTEGER NOT NULL,
    memory_allocatable_bytes INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, status)
) STRICT;
INSERT INTO node_totals SELECT cluster_id, status, count(*), sum(cpu_allocatable_milli), sum(memory_allocatable_bytes) FROM nodes GROUP BY 1, 2;
-- +goose StatementBegin
CREATE TRIGGER nodes_come AFTER INSERT ON nodes BEGIN
    INSERT INTO node_totals VALUES (NEW.cluster_id, NEW.status, 1, NEW.cpu_allocatable_milli, NEW.memory_allocatable_bytes)
        ON CONFLICT (cluster_id, status) DO UPDATE SET nodes = nodes + 1,
        cpu_allocatable_milli = cpu_allocatable_milli + excluded.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes + excluded.memory_allocatable_bytes;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER nodes_go AFTER DELETE ON nodes BEGIN
    UPDATE node_totals SET nodes = nodes - 1, cpu_allocatable_milli = cpu_allocatable_milli - OLD.cpu_allocatable_milli,
        memory_allocatable_bytes = memory_allocatable_bytes - OLD.memory_allocatable_bytes
        WHERE cluster_id = OLD.cluster_id AND status = OLD.status;
    DELETE FROM node_totals WHERE cluster_id = OLD.cluster_id AND status = OLD.status AND nodes = 0;
END;
-- +goose StatementEnd
-- +goose StatementBegin
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
-- +goose StatementEnd
