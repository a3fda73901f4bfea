-- +goose Up

-- What control planes used. There is a row a minute and cluster for a day, so
-- these are narrow, and refer to nothing: only samples of live clusters are
-- written, and no cluster's row ever goes. A cluster's history is read along the
-- primary key, and the index serves what is thinned and removed by age.
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
CREATE INDEX control_plane_samples_age_idx ON control_plane_samples (resolution_seconds, at, cluster_id);
