-- The records of a store, one table for each kind, and what finds them.
--
-- The columns id, revision, unique_key, org_id, user_id, status and body are written by
-- Portcullis and checked against each other when they are read. The columns after them are there
-- for people: they are computed from the others when they are read and take no space.
--
-- The triggers note every change of a row and every deletion, also one that was made by hand, so
-- that each process that has the file open announces it. New rows are noted by Portcullis: a trigger
-- would halve the speed of an import, and no cache holds an older state of a new row.

CREATE TABLE meta (
    -- What is true of the whole store.
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Positions in the feed of changes belong to one incarnation.
INSERT INTO meta (name, value) VALUES ('incarnation', lower(hex(randomblob(16))));

CREATE TABLE changes (
    -- The latest changes, oldest first. Old ones are deleted, the last one never: the next
    -- number is one higher than it.
    seq INTEGER PRIMARY KEY,
    -- The table.
    kind TEXT NOT NULL,
    -- The row, which may be gone.
    id TEXT NOT NULL
);

CREATE TABLE grants (
    -- Which records are listed under which grant key: an index, made from the permissions.
    -- The table of the record.
    kind TEXT NOT NULL,
    -- A permission without its scope, such as `read:buckets/0c0c000000000001`.
    grant_key TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, grant_key, id)
) WITHOUT ROWID;

CREATE INDEX grants_by_id ON grants (kind, id);

CREATE TABLE authorizations (
    -- Credentials that clients log in with: a username, and what it may do.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The username.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    username TEXT AS (unique_key),
    description TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.description') END),
    -- A JSON array of texts such as `write:orgs/ORG/buckets/ID`.
    permissions TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.permissions') END),
    has_password INTEGER AS (
        CASE WHEN json_valid(body) THEN json_type(body, '$.passwordHash') IS NOT NULL END
    ),
    -- RFC 3339, UTC, as is updated_at.
    created_at TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.createdAt') END),
    updated_at TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.updatedAt') END),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX authorizations_by_org ON authorizations (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX authorizations_by_user ON authorizations (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER authorizations_update AFTER UPDATE ON authorizations
BEGIN
    INSERT INTO changes (kind, id) VALUES ('authorizations', NEW.id);
END;
CREATE TRIGGER authorizations_delete AFTER DELETE ON authorizations
BEGIN
    DELETE FROM grants WHERE kind = 'authorizations' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('authorizations', OLD.id);
END;
CREATE TRIGGER authorizations_keep_id BEFORE UPDATE OF id ON authorizations
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE api_tokens (
    -- Tokens that callers of the management API present.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The digest of the token; the token itself is not kept.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    token_digest TEXT AS (unique_key),
    description TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.description') END),
    permissions TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.permissions') END),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX api_tokens_by_org ON api_tokens (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX api_tokens_by_user ON api_tokens (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER api_tokens_update AFTER UPDATE ON api_tokens
BEGIN
    INSERT INTO changes (kind, id) VALUES ('api_tokens', NEW.id);
END;
CREATE TRIGGER api_tokens_delete AFTER DELETE ON api_tokens
BEGIN
    DELETE FROM grants WHERE kind = 'api_tokens' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('api_tokens', OLD.id);
END;
CREATE TRIGGER api_tokens_keep_id BEFORE UPDATE OF id ON api_tokens
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE buckets (
    -- Buckets of the orgs.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The id of the org, a slash, the name: names are unique in their org.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    name TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.name') END),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX buckets_by_org ON buckets (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX buckets_by_user ON buckets (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER buckets_update AFTER UPDATE ON buckets
BEGIN
    INSERT INTO changes (kind, id) VALUES ('buckets', NEW.id);
END;
CREATE TRIGGER buckets_delete AFTER DELETE ON buckets
BEGIN
    DELETE FROM grants WHERE kind = 'buckets' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('buckets', OLD.id);
END;
CREATE TRIGGER buckets_keep_id BEFORE UPDATE OF id ON buckets
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE deletions (
    -- Orgs and users that are gone while what belonged to them is still being deleted.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- What is gone and its id, with a slash in between.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    gone TEXT AS (unique_key),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX deletions_by_org ON deletions (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX deletions_by_user ON deletions (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER deletions_update AFTER UPDATE ON deletions
BEGIN
    INSERT INTO changes (kind, id) VALUES ('deletions', NEW.id);
END;
CREATE TRIGGER deletions_delete AFTER DELETE ON deletions
BEGIN
    DELETE FROM grants WHERE kind = 'deletions' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('deletions', OLD.id);
END;
CREATE TRIGGER deletions_keep_id BEFORE UPDATE OF id ON deletions
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE orgs (
    -- Organizations.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The name.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    name TEXT AS (unique_key),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX orgs_by_org ON orgs (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX orgs_by_user ON orgs (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER orgs_update AFTER UPDATE ON orgs
BEGIN
    INSERT INTO changes (kind, id) VALUES ('orgs', NEW.id);
END;
CREATE TRIGGER orgs_delete AFTER DELETE ON orgs
BEGIN
    DELETE FROM grants WHERE kind = 'orgs' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('orgs', OLD.id);
END;
CREATE TRIGGER orgs_keep_id BEFORE UPDATE OF id ON orgs
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;

CREATE TABLE users (
    -- Users.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The name.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    name TEXT AS (unique_key),
    UNIQUE (unique_key),
    -- After the unique key: SQLite checks the last constraint first, and a taken id is told first.
    PRIMARY KEY (id)
);

CREATE INDEX users_by_org ON users (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX users_by_user ON users (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER users_update AFTER UPDATE ON users
BEGIN
    INSERT INTO changes (kind, id) VALUES ('users', NEW.id);
END;
CREATE TRIGGER users_delete AFTER DELETE ON users
BEGIN
    DELETE FROM grants WHERE kind = 'users' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('users', OLD.id);
END;
CREATE TRIGGER users_keep_id BEFORE UPDATE OF id ON users
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;
