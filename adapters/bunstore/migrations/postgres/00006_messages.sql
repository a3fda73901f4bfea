-- +goose Up

-- The installation's settings, a row a section; sealed holds their secrets.
CREATE TABLE settings (
    name       text COLLATE "C" PRIMARY KEY,
    value      bytea            NOT NULL,
    sealed     bytea            NOT NULL,
    version    bigint           NOT NULL,
    updated_at timestamptz(3)   NOT NULL
);

-- Messages on their way, and the log of those that are over.
CREATE TABLE deliveries (
    id           text COLLATE "C" PRIMARY KEY,
    key          text COLLATE "C" NOT NULL CONSTRAINT deliveries_key_key UNIQUE,
    template     text             NOT NULL,
    channel      text             NOT NULL,
    user_id      text COLLATE "C" REFERENCES users (id),
    target       text             NOT NULL,
    sealed       bytea            NOT NULL,
    status       text             NOT NULL,
    attempts     bigint           NOT NULL,
    due_at       timestamptz(3)   NOT NULL,
    holder       text COLLATE "C" NOT NULL,
    leased_until timestamptz(3),
    last_error   text             NOT NULL,
    created_at   timestamptz(3)   NOT NULL,
    updated_at   timestamptz(3)   NOT NULL,
    delivered_at timestamptz(3)
);
-- What is claimed, and when the next one can be.
CREATE INDEX deliveries_due_idx ON deliveries (due_at, id) WHERE status = 'pending';
CREATE INDEX deliveries_leased_idx ON deliveries (leased_until) WHERE status = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX deliveries_over_idx ON deliveries (created_at, id) WHERE status <> 'pending';
-- The log. A filtered list reads the newest of each kind that the filter lets
-- through, so that two indexes serve every combination of filters.
CREATE INDEX deliveries_user_idx ON deliveries (user_id, id);
CREATE INDEX deliveries_kind_idx ON deliveries (channel, template, status, id);
CREATE INDEX deliveries_user_kind_idx ON deliveries (user_id, channel, template, status, id);

-- Every kind of delivery that there has been: a few dozen.
CREATE TABLE delivery_kinds (
    channel  text NOT NULL,
    template text NOT NULL,
    PRIMARY KEY (channel, template)
);
