-- +goose Up

-- The keys of a user are counted, so that one can be told by a short number. A
-- release that does not count writes 0.
ALTER TABLE api_keys ADD COLUMN number bigint NOT NULL DEFAULT 0;
UPDATE api_keys SET number = (SELECT count(*) FROM api_keys AS o WHERE o.user_id = api_keys.user_id AND o.id <= api_keys.id);
