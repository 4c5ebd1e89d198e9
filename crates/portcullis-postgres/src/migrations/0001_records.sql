-- The tables of a store, one for each kind of record, and their indexes.
--
-- Runs in the schema of the store, in one transaction.
--
-- The columns id, revision, unique_key, org_id, user_id, status and body are written by Portcullis
-- and checked against each other when they are read. Texts are stored unchanged except for two
-- characters: U+0000, which PostgreSQL cannot store, becomes U+0001 and `0`, and U+0001 becomes
-- U+0001 and `1`.
--
-- The triggers record every change that is made by hand, for the change feed of each node.
-- Portcullis records its own changes in the statements that make them: its sessions have
-- `portcullis.session` set.

CREATE TABLE meta (
    -- Properties of the whole store.
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

INSERT INTO meta (name, value) VALUES
    -- Incremented by each migration.
    ('format', '1'),
    -- Random for each store. Draw another one by hand to make all nodes resynchronize.
    ('incarnation', replace(gen_random_uuid()::text, '-', '')),
    -- The highest transaction of which changes were deleted.
    ('trimmed', '0');

CREATE TABLE changes (
    -- The recent changes. Deleted after the retention.
    -- The transaction that made the change: `pg_current_xact_id()`.
    xid BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    seq BIGINT GENERATED ALWAYS AS IDENTITY,
    -- Drawn for each commit by the node that makes it; null when it was made by hand.
    batch BIGINT,
    -- The table.
    kind TEXT NOT NULL,
    -- The row, which may be gone.
    id TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, seq)
);

CREATE TABLE grants (
    -- Which records are listed under which grant key: an index, made from the permissions.
    -- The table of the record.
    kind TEXT NOT NULL COLLATE "C",
    -- A permission without its scope, such as `read:buckets/0c0c000000000001`.
    grant_key TEXT NOT NULL COLLATE "C",
    id TEXT NOT NULL COLLATE "C",
    PRIMARY KEY (kind, grant_key, id)
);

CREATE INDEX grants_by_id ON grants (kind, id);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format('DELETE FROM %I.grants WHERE kind = $1 AND id = $2', TG_TABLE_SCHEMA)
            USING TG_TABLE_NAME, OLD.id;
        EXECUTE format('INSERT INTO %I.changes (kind, id) VALUES ($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_NAME, OLD.id;
    ELSE
        IF TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
            RAISE EXCEPTION 'an id never changes: delete the row and insert another one';
        END IF;
        EXECUTE format('INSERT INTO %I.changes (kind, id) VALUES ($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_NAME, NEW.id;
    END IF;
    RETURN NULL;
END
$$;

-- A change that names no table makes every node resynchronize.
CREATE FUNCTION note_truncation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.changes (kind, id) VALUES ($1, $2)', TG_TABLE_SCHEMA)
        USING 'truncated', '';
    EXECUTE format('DELETE FROM %I.grants WHERE kind = $1', TG_TABLE_SCHEMA) USING TG_TABLE_NAME;
    RETURN NULL;
END
$$;

-- The indexed digest of a unique key, which may exceed the size of an index entry.
CREATE FUNCTION key_digest(unique_key TEXT) RETURNS BYTEA
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    -- `convert_to` is not marked as immutable, since it looks up the encoding by its name.
    AS $$ SELECT sha256(convert_to(unique_key, 'UTF8')) $$;

-- For queries by hand: a member of a body as text, or null if the body is not JSON. One invalid body
-- must not make a query on all of them fail.
CREATE FUNCTION member(body TEXT, name TEXT) RETURNS TEXT LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN body::json ->> name;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

CREATE TABLE authorizations (
    -- Credentials that clients log in with: a username, and what it may do.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The username.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX authorizations_by_unique_key ON authorizations (key_digest(unique_key));
CREATE INDEX authorizations_by_org ON authorizations (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX authorizations_by_user ON authorizations (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER authorizations_change AFTER INSERT OR UPDATE OR DELETE ON authorizations FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER authorizations_truncation AFTER TRUNCATE ON authorizations FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE api_tokens (
    -- Tokens that callers of the management API present.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The digest of the token; the token itself is not kept.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX api_tokens_by_unique_key ON api_tokens (key_digest(unique_key));
CREATE INDEX api_tokens_by_org ON api_tokens (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX api_tokens_by_user ON api_tokens (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER api_tokens_change AFTER INSERT OR UPDATE OR DELETE ON api_tokens FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER api_tokens_truncation AFTER TRUNCATE ON api_tokens FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE buckets (
    -- Buckets of the orgs.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The id of the org, a slash, the name: names are unique in their org.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX buckets_by_unique_key ON buckets (key_digest(unique_key));
CREATE INDEX buckets_by_org ON buckets (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX buckets_by_user ON buckets (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER buckets_change AFTER INSERT OR UPDATE OR DELETE ON buckets FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER buckets_truncation AFTER TRUNCATE ON buckets FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE deletions (
    -- Orgs and users that are gone while what belonged to them is still being deleted.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- What is gone and its id, with a slash in between.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX deletions_by_unique_key ON deletions (key_digest(unique_key));
CREATE INDEX deletions_by_org ON deletions (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX deletions_by_user ON deletions (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER deletions_change AFTER INSERT OR UPDATE OR DELETE ON deletions FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER deletions_truncation AFTER TRUNCATE ON deletions FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE orgs (
    -- Organizations.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The name.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX orgs_by_unique_key ON orgs (key_digest(unique_key));
CREATE INDEX orgs_by_org ON orgs (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX orgs_by_user ON orgs (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER orgs_change AFTER INSERT OR UPDATE OR DELETE ON orgs FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER orgs_truncation AFTER TRUNCATE ON orgs FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

CREATE TABLE users (
    -- Users.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The name.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX users_by_unique_key ON users (key_digest(unique_key));
CREATE INDEX users_by_org ON users (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX users_by_user ON users (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER users_change AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER users_truncation AFTER TRUNCATE ON users FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

-- For queries by hand.
CREATE VIEW authorization_details AS
    SELECT id, unique_key AS username, status, org_id, user_id,
        member(body, 'description') AS description,
        -- A JSON array of texts such as `write:orgs/ORG/buckets/ID`.
        member(body, 'permissions') AS permissions,
        member(body, 'passwordHash') IS NOT NULL AS has_password,
        -- RFC 3339, UTC, as is updated_at.
        member(body, 'createdAt') AS created_at,
        member(body, 'updatedAt') AS updated_at
    FROM authorizations;

CREATE VIEW api_token_details AS
    SELECT id, unique_key AS token_digest, status, org_id, user_id,
        member(body, 'description') AS description,
        member(body, 'permissions') AS permissions
    FROM api_tokens;

CREATE VIEW bucket_details AS
    SELECT id, member(body, 'name') AS name, org_id FROM buckets;
