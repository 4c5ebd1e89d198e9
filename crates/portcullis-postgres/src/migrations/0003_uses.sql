-- Tables for the last uses of credentials.
--
-- Runs in the schema of the store, in one transaction.

CREATE TABLE api_token_uses (
    -- When an API token was last used.
    -- 16 lower-case hexadecimal digits: the id of the credential.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The id again.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX api_token_uses_by_unique_key ON api_token_uses (key_digest(unique_key));
CREATE INDEX api_token_uses_by_org ON api_token_uses (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX api_token_uses_by_user ON api_token_uses (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER api_token_uses_change AFTER INSERT OR UPDATE OR DELETE ON api_token_uses FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER api_token_uses_truncation AFTER TRUNCATE ON api_token_uses FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE authorization_uses (
    -- When an authorization was last used.
    -- 16 lower-case hexadecimal digits: the id of the credential.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The id again.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX authorization_uses_by_unique_key ON authorization_uses (key_digest(unique_key));
CREATE INDEX authorization_uses_by_org ON authorization_uses (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX authorization_uses_by_user ON authorization_uses (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER authorization_uses_change AFTER INSERT OR UPDATE OR DELETE ON authorization_uses FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER authorization_uses_truncation AFTER TRUNCATE ON authorization_uses FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

-- For queries by hand.
CREATE VIEW api_token_use_details AS
    SELECT id, org_id, user_id,
        -- RFC 3339, UTC, as is previous_used_at.
        member(body, 'lastUsedAt') AS last_used_at,
        member(body, 'lastUsedFrom') AS last_used_from,
        member(body, 'previousUsedAt') AS previous_used_at
    FROM api_token_uses;

CREATE VIEW authorization_use_details AS
    SELECT id, org_id, user_id,
        -- RFC 3339, UTC, as is previous_used_at.
        member(body, 'lastUsedAt') AS last_used_at,
        member(body, 'lastUsedFrom') AS last_used_from,
        member(body, 'previousUsedAt') AS previous_used_at
    FROM authorization_uses;
