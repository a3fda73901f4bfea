-- +goose Up

-- A removed account keeps its row, so that what refers to it still does, with
-- nothing in it that tells who it was. Every read leaves it out.
ALTER TABLE users ADD COLUMN removed_at timestamptz(3);
-- What a search looks through, in lower case. A program that does not know of it
-- leaves it as it is; the account's next change by one that does mends it.
ALTER TABLE users ADD COLUMN search_text text COLLATE "C" NOT NULL DEFAULT '';
UPDATE users SET search_text = lower(email) || chr(31) || lower(name);
CREATE INDEX users_search_idx ON users USING gin (search_parts(search_text)) WITH (gin_pending_list_limit = 256);
CREATE INDEX users_live_idx ON users (id) WHERE removed_at IS NULL;
CREATE INDEX users_live_status_idx ON users (status, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_idx ON users (role, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_status_idx ON users (role, status, id) WHERE removed_at IS NULL;
DROP INDEX users_role_idx;

-- By address first, so that all codes of one are found. There need be no account.
CREATE TABLE codes (
    address    text COLLATE "C" NOT NULL,
    purpose    text COLLATE "C" NOT NULL,
    hash       bytea            NOT NULL,
    created_at timestamptz(3)   NOT NULL,
    expires_at timestamptz(3)   NOT NULL,
    tries      bigint           NOT NULL,
    PRIMARY KEY (address, purpose)
);
CREATE INDEX codes_expires_idx ON codes (expires_at);

CREATE TABLE sso_identities (
    provider     text COLLATE "C" NOT NULL,
    subject_hash bytea            NOT NULL,
    user_id      text COLLATE "C" NOT NULL REFERENCES users (id),
    created_at   timestamptz(3)   NOT NULL,
    last_used_at timestamptz(3)   NOT NULL,
    PRIMARY KEY (provider, subject_hash),
    CONSTRAINT sso_identities_user_key UNIQUE (user_id, provider)
);

-- user_id is NULL for a try by nobody known.
CREATE TABLE sign_ins (
    id         text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" REFERENCES users (id),
    at         timestamptz(3)   NOT NULL,
    ip         text             NOT NULL,
    user_agent text             NOT NULL,
    method     text             NOT NULL,
    result     text             NOT NULL
);
CREATE INDEX sign_ins_user_idx ON sign_ins (user_id, id);
CREATE INDEX sign_ins_at_idx ON sign_ins (at);

CREATE TABLE avatars (
    user_id      text COLLATE "C" PRIMARY KEY REFERENCES users (id),
    tag          text             NOT NULL,
    content_type text             NOT NULL,
    body         bytea            NOT NULL,
    updated_at   timestamptz(3)   NOT NULL
);

CREATE TABLE preferences (
    user_id          text COLLATE "C" PRIMARY KEY REFERENCES users (id),
    email            boolean          NOT NULL,
    slack            boolean          NOT NULL,
    slack_target     text             NOT NULL,
    telegram         boolean          NOT NULL,
    telegram_chat_id text             NOT NULL,
    updated_at       timestamptz(3)   NOT NULL
);
