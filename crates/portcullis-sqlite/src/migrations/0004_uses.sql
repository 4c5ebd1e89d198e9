-- Tables for the last uses of credentials. The tables of the other kinds stay as they are.

CREATE TABLE api_token_uses (
    -- When an API token was last used.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
    -- 16 lower-case hexadecimal digits: the id of the credential.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The id again.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    -- RFC 3339, UTC.
    last_used_at TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.lastUsedAt') END),
    -- The address of the client, if it was known.
    last_used_from TEXT
        AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.lastUsedFrom') END),
    UNIQUE (unique_key),
    UNIQUE (id)
);

CREATE INDEX api_token_uses_by_org ON api_token_uses (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX api_token_uses_by_user ON api_token_uses (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER api_token_uses_update AFTER UPDATE ON api_token_uses
BEGIN
    INSERT INTO changes (kind, id) VALUES ('api_token_uses', NEW.id);
END;
CREATE TRIGGER api_token_uses_delete AFTER DELETE ON api_token_uses
BEGIN
    DELETE FROM grants WHERE kind = 'api_token_uses' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('api_token_uses', OLD.id);
END;
CREATE TRIGGER api_token_uses_keep_id BEFORE UPDATE OF id ON api_token_uses
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE authorization_uses (
    -- When an authorization was last used.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
    -- 16 lower-case hexadecimal digits: the id of the credential.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The id again.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    -- RFC 3339, UTC.
    last_used_at TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.lastUsedAt') END),
    -- The address of the client, if it was known.
    last_used_from TEXT
        AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.lastUsedFrom') END),
    UNIQUE (unique_key),
    UNIQUE (id)
);

CREATE INDEX authorization_uses_by_org ON authorization_uses (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX authorization_uses_by_user ON authorization_uses (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER authorization_uses_update AFTER UPDATE ON authorization_uses
BEGIN
    INSERT INTO changes (kind, id) VALUES ('authorization_uses', NEW.id);
END;
CREATE TRIGGER authorization_uses_delete AFTER DELETE ON authorization_uses
BEGIN
    DELETE FROM grants WHERE kind = 'authorization_uses' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('authorization_uses', OLD.id);
END;
CREATE TRIGGER authorization_uses_keep_id BEFORE UPDATE OF id ON authorization_uses
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;
