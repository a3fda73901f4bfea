-- +goose Up

-- A removed account keeps its row, so that what refers to it still does, with
-- nothing in it that tells who it was. Every read leaves it out.
ALTER TABLE users ADD COLUMN removed_at INTEGER;
-- What a search looks through, in lower case. A program that does not know of it
-- leaves it as it is; the account's next change by one that does mends it, and
-- also what lower does not know: letters beyond ASCII.
ALTER TABLE users ADD COLUMN search_text TEXT NOT NULL DEFAULT '';
UPDATE users SET search_text = lower(email) || char(31) || lower(name);
INSERT INTO search_texts (id, text) SELECT id, search_text FROM users;
-- +goose StatementBegin
CREATE TRIGGER users_searchable AFTER INSERT ON users BEGIN
    INSERT INTO search_texts (id, text) VALUES (NEW.id, NEW.search_text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_renamed AFTER UPDATE OF search_text ON users WHEN OLD.search_text <> NEW.search_text BEGIN
    UPDATE search_texts SET text = NEW.search_text WHERE id = NEW.id;
END;
-- +goose StatementEnd
CREATE INDEX users_live_idx ON users (id) WHERE removed_at IS NULL;
CREATE INDEX users_live_status_idx ON users (status, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_idx ON users (role, id) WHERE removed_at IS NULL;
CREATE INDEX users_live_role_status_idx ON users (role, status, id) WHERE removed_at IS NULL;
DROP INDEX users_role_idx;

-- By address first, so that all codes of one are found. There need be no account.
CREATE TABLE codes (
    address    TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    PRIMARY KEY (address, purpose)
) STRICT;
CREATE INDEX codes_expires_idx ON codes (expires_at);

CREATE TABLE sso_identities (
    provider     TEXT    NOT NULL,
    subject_hash BLOB    NOT NULL,
    user_id      TEXT    NOT NULL REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (provider, subject_hash),
    CONSTRAINT sso_identities_user_key UNIQUE (user_id, provider)
) STRICT;

-- user_id is NULL for a try by nobody known.
CREATE TABLE sign_ins (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    REFERENCES users (id),
    at         INTEGER NOT NULL,
    ip         TEXT    NOT NULL,
    user_agent TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    result     TEXT    NOT NULL
) STRICT;
CREATE INDEX sign_ins_user_idx ON sign_ins (user_id, id);
CREATE INDEX sign_ins_at_idx ON sign_ins (at);

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
