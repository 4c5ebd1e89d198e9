-- A table for the DBRP mappings of databases. The tables of the other kinds stay as they are.

CREATE TABLE dbrps (
    -- The DBRP mappings of a database: which retention policy of it is which bucket.
    -- Where the row is in the file: behind the others of the same org and user. Nothing refers to
    -- it, and SQLite chooses one where none is given.
    place INTEGER PRIMARY KEY,
    -- 16 lower-case hexadecimal digits.
    id TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
    -- Drawn anew at every change.
    revision BLOB NOT NULL CHECK (typeof(revision) = 'blob' AND length(revision) = 16),
    -- The id of the org, a slash, the database: names are unique in their org.
    unique_key TEXT NOT NULL,
    org_id TEXT,
    user_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    -- The whole record as JSON.
    body TEXT NOT NULL,
    database TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.database') END),
    -- A JSON array of objects: the retention policy, its bucket, and whether it is the default.
    mappings TEXT AS (CASE WHEN json_valid(body) THEN json_extract(body, '$.mappings') END),
    UNIQUE (unique_key),
    UNIQUE (id)
);

CREATE INDEX dbrps_by_org ON dbrps (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX dbrps_by_user ON dbrps (user_id, id) WHERE user_id IS NOT NULL;

CREATE TRIGGER dbrps_update AFTER UPDATE ON dbrps
BEGIN
    INSERT INTO changes (kind, id) VALUES ('dbrps', NEW.id);
END;
CREATE TRIGGER dbrps_delete AFTER DELETE ON dbrps
BEGIN
    DELETE FROM grants WHERE kind = 'dbrps' AND id = OLD.id;
    INSERT INTO changes (kind, id) VALUES ('dbrps', OLD.id);
END;
CREATE TRIGGER dbrps_keep_id BEFORE UPDATE OF id ON dbrps
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'an id never changes: delete the row and insert another one');
END;
