-- A table for the DBRP mappings of databases.
--
-- Runs in the schema of the store, in one transaction.

CREATE TABLE dbrps (
    -- The DBRP mappings of a database: which retention policy of it is which bucket.
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL COLLATE "C" CHECK (id ~ '^[0-9a-f]{16}$'),
    -- Drawn anew at every change.
    revision BYTEA NOT NULL CHECK (octet_length(revision) = 16),
    -- The id of the org, a slash, the database: names are unique in their org.
    unique_key TEXT NOT NULL COLLATE "C",
    org_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX dbrps_by_unique_key ON dbrps (key_digest(unique_key));
CREATE INDEX dbrps_by_org ON dbrps (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX dbrps_by_user ON dbrps (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER dbrps_change AFTER INSERT OR UPDATE OR DELETE ON dbrps FOR EACH ROW
    WHEN (coalesce(current_setting('portcullis.session', true), '') = '')
    EXECUTE FUNCTION note_change();
CREATE TRIGGER dbrps_truncation AFTER TRUNCATE ON dbrps FOR EACH STATEMENT
    EXECUTE FUNCTION note_truncation();

-- For queries by hand.
CREATE VIEW dbrp_details AS
    SELECT id, org_id, member(body, 'database') AS database,
        -- A JSON array of objects: the retention policy, its bucket, and whether it is the default.
        member(body, 'mappings') AS mappings
    FROM dbrps;
