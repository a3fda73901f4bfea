-- +goose Up

-- What control planes used. There is a row a minute and cluster for a day, so
-- these are narrow, and refer to nothing: only samples of live clusters are
-- written, and no cluster's row ever goes. A cluster's history is read along the
-- primary key, and the index serves what is thinned and removed by age.
CREATE TABLE control_plane_samples (
    cluster_id         text COLLATE "C" NOT NULL,
    at                 timestamptz(3)   NOT NULL,
    resolution_seconds bigint           NOT NULL,
    measurements       bigint           NOT NULL,
    cpu_milli          bigint           NOT NULL,
    memory_mib         bigint           NOT NULL,
    pods_ready         bigint           NOT NULL,
    pods_total         bigint           NOT NULL,
    PRIMARY KEY (cluster_id, at, resolution_seconds)
);
CREATE INDEX control_plane_samples_age_idx ON control_plane_samples (resolution_seconds, at, cluster_id);
