-- The rows of an org's and a user's records lie together in the file.
--
-- A table of SQLite is kept in the order of its rowid. Version 1 left it to SQLite, which counts up:
-- the rows of a user were scattered over the whole file, a page for each. Now Portcullis chooses it
-- (`place`). Columns, indexes and triggers are what they were before, but for that.

ALTER TABLE authorizations RENAME TO old_authorizations;

CREATE TABLE authorizations (
    -- Credentials that clients log in with: a username, and what it may do.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO authorizations (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_authorizations
    )
);

DROP TABLE old_authorizations;

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

ALTER TABLE api_tokens RENAME TO old_api_tokens;

CREATE TABLE api_tokens (
    -- Tokens that callers of the management API present.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO api_tokens (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_api_tokens
    )
);

DROP TABLE old_api_tokens;

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

ALTER TABLE buckets RENAME TO old_buckets;

CREATE TABLE buckets (
    -- Buckets of the orgs.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO buckets (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_buckets
    )
);

DROP TABLE old_buckets;

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

ALTER TABLE deletions RENAME TO old_deletions;

CREATE TABLE deletions (
    -- Orgs and users that are gone while what belonged to them is still being deleted.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO deletions (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_deletions
    )
);

DROP TABLE old_deletions;

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

ALTER TABLE orgs RENAME TO old_orgs;

CREATE TABLE orgs (
    -- Organizations.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO orgs (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_orgs
    )
);

DROP TABLE old_orgs;

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

ALTER TABLE users RENAME TO old_users;

CREATE TABLE users (
    -- Users.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
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
    UNIQUE (id)
);

INSERT INTO users (place, id, revision, unique_key, org_id, user_id, status, body)
SELECT
    CASE WHEN number < 16777216 THEN region + number END,
    id, revision, unique_key, org_id, user_id, status, body
FROM (
    SELECT *, row_number() OVER (PARTITION BY region ORDER BY id) AS number
    FROM (
        SELECT
            id, revision, unique_key, org_id, user_id, status, body,
            portcullis_region(org_id, user_id) AS region
        FROM old_users
    )
);

DROP TABLE old_users;

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
