//! The table of each kind, and the statements on it.
//!
//! Their SQL is not specific to PostgreSQL; `dialect.rs` has what is.

use std::sync::LazyLock;

use portcullis::store::{Kind, Page};
use portcullis::toolkit::relational::Tables;

/// A statement on a table. Each connection prepares each statement once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Query {
    /// `$1` is the id.
    ById,
    /// `$1` is the unique key.
    ByUniqueKey,
    /// `$1` are ids.
    ByIds,
    /// `$1` are unique keys.
    ByUniqueKeys,
    /// `$1` is the id to begin after, `$2` the limit.
    All,
    /// As [`Query::All`]; `$3` is the org.
    OfOrg,
    /// As [`Query::All`]; `$3` is the user.
    OfUser,
    /// As [`Query::All`]; `$3` is the grant key.
    OfGrant,
    /// `$1` is the id. Locks the record against concurrent changes.
    Revision,
    /// `$1` are ids. Locks the records against concurrent deletion.
    Require,
    /// `$1` to `$7` are the columns of several records, `$8` and `$9` ids and their grant keys, `$10`
    /// is the batch. Returns the ids that were inserted: those whose id and unique key were free.
    Insert,
    /// `$1` to `$7` are the columns, `$8` is the revision to replace, `$9` are the grant keys, `$10`
    /// is the batch. Returns a row if the record had that revision.
    Update,
    /// `$1` is the id, `$2` the revision to delete, `$3` the batch. Returns a row if the record had
    /// that revision.
    Delete,
}

impl Query {
    const ALL: [Self; 13] = [
        Self::ById,
        Self::ByUniqueKey,
        Self::ByIds,
        Self::ByUniqueKeys,
        Self::All,
        Self::OfOrg,
        Self::OfUser,
        Self::OfGrant,
        Self::Revision,
        Self::Require,
        Self::Insert,
        Self::Update,
        Self::Delete,
    ];
}

/// The table of a kind.
pub(crate) struct Table {
    /// The kind of its records.
    pub(crate) kind: Kind,
    /// Its name, which `changes` and `grants` also use.
    pub(crate) name: &'static str,
    statements: [String; Query::ALL.len()],
}

impl Table {
    fn new(kind: Kind, name: &'static str) -> Self {
        Self { kind, name, statements: Query::ALL.map(|query| statement(name, query)) }
    }

    /// Returns the statement.
    pub(crate) fn sql(&self, query: Query) -> &str {
        // `ALL` has the order of the variants.
        self.statements.get(query as usize).map_or("", String::as_str)
    }
}

fn statement(name: &str, query: Query) -> String {
    let columns = "t.id, t.revision, t.unique_key, t.org_id, t.user_id, t.status, t.body";
    let page = |from: String| page(&from);
    match query {
        Query::ById => format!("SELECT {columns} FROM {name} AS t WHERE t.id = $1"),
        Query::ByUniqueKey => format!(
            "SELECT {columns} FROM {name} AS t \
             WHERE key_digest(t.unique_key) = key_digest($1) AND t.unique_key = $1"
        ),
        Query::ByIds => format!("SELECT {columns} FROM {name} AS t WHERE t.id = ANY($1)"),
        // The digests are computed first, so that the index is searched for each.
        Query::ByUniqueKeys => format!(
            "SELECT {columns} FROM {name} AS t WHERE key_digest(t.unique_key) = ANY (ARRAY( \
                 SELECT key_digest(k.key) FROM unnest($1::text[]) AS k (key))) \
             AND t.unique_key = ANY($1::text[])"
        ),
        Query::All => page(format!(
            "SELECT t.id AS place, {columns} FROM {name} AS t \
             WHERE t.id > $1 ORDER BY t.id LIMIT $2"
        )),
        Query::OfOrg => page(format!(
            "SELECT t.id AS place, {columns} FROM {name} AS t \
             WHERE t.org_id = $3 AND t.id > $1 ORDER BY t.id LIMIT $2"
        )),
        Query::OfUser => page(format!(
            "SELECT t.id AS place, {columns} FROM {name} AS t \
             WHERE t.user_id = $3 AND t.id > $1 ORDER BY t.id LIMIT $2"
        )),
        // Grants first, which have the order of the page, then their records.
        Query::OfGrant => page(format!(
            "SELECT g.id AS place, {columns} FROM (SELECT id FROM grants \
             WHERE kind = '{name}' AND grant_key = $3 AND id > $1 ORDER BY id LIMIT $2) AS g \
             LEFT JOIN {name} AS t ON t.id = g.id"
        )),
        Query::Revision => format!("SELECT revision FROM {name} WHERE id = $1 FOR UPDATE"),
        Query::Require => {
            format!("SELECT id FROM {name} WHERE id = ANY($1) ORDER BY id FOR KEY SHARE")
        }
        Query::Insert => format!(
            "WITH new AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], \
                 $4::text[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY \
                 AS n (id, revision, unique_key, org_id, user_id, status, body, place)), \
             granted AS (INSERT INTO grants (kind, grant_key, id) \
                 SELECT '{name}', g.grant_key, g.id \
                 FROM unnest($8::text[], $9::text[]) AS g (id, grant_key) ON CONFLICT DO NOTHING), \
             noted AS (INSERT INTO changes (batch, kind, id) \
                 SELECT $10::bigint, '{name}', n.id FROM new AS n ORDER BY n.place) \
             INSERT INTO {name} (id, revision, unique_key, org_id, user_id, status, body) \
             SELECT n.id, n.revision, n.unique_key, n.org_id, n.user_id, n.status, n.body \
             FROM new AS n ORDER BY n.place ON CONFLICT DO NOTHING RETURNING id"
        ),
        Query::Update => format!(
            "WITH put AS (UPDATE {name} SET revision = $2, unique_key = $3, org_id = $4, \
                 user_id = $5, status = $6, body = $7 WHERE id = $1 AND revision = $8 \
                 RETURNING id), \
             revoked AS (DELETE FROM grants AS g USING put \
                 WHERE g.kind = '{name}' AND g.id = put.id AND g.grant_key <> ALL ($9::text[])), \
             granted AS (INSERT INTO grants (kind, grant_key, id) \
                 SELECT '{name}', g.grant_key, put.id \
                 FROM put, unnest($9::text[]) AS g (grant_key) ON CONFLICT DO NOTHING) \
             INSERT INTO changes (batch, kind, id) SELECT $10::bigint, '{name}', put.id FROM put \
             RETURNING 1"
        ),
        Query::Delete => format!(
            "WITH gone AS (DELETE FROM {name} WHERE id = $1 AND revision = $2 RETURNING id), \
             revoked AS (DELETE FROM grants AS g USING gone \
                 WHERE g.kind = '{name}' AND g.id = gone.id) \
             INSERT INTO changes (batch, kind, id) SELECT $3::bigint, '{name}', gone.id FROM gone \
             RETURNING 1"
        ),
    }
}

/// Selects a page of `from`: bodies are omitted after the number of bytes that a page holds, so that
/// bodies outside the page are not sent.
fn page(from: &str) -> String {
    format!(
        "SELECT p.place, p.id, p.revision, p.unique_key, p.org_id, p.user_id, p.status, \
             CASE WHEN coalesce(p.before, 0) < {} THEN p.body END, p.body IS NULL \
         FROM (SELECT f.*, sum(octet_length(f.body)) OVER \
                 (ORDER BY f.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
             FROM ({from}) AS f) AS p ORDER BY p.place",
        Page::BYTES
    )
}

/// The table of each kind.
pub(crate) static TABLES: LazyLock<Tables<Table>> = LazyLock::new(|| Tables::new(Table::new));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_found() {
        for table in TABLES.iter() {
            for query in Query::ALL {
                assert_eq!(table.sql(query), statement(table.name, query));
            }
        }
    }
}
