//! The table of each kind, and the statements on it.

use std::sync::LazyLock;

use portcullis::store::Kind;
use portcullis::toolkit::relational::Tables;

/// The statements on the table of a kind. In all of them `?1` is the id, or the one that is
/// listed after, unless said otherwise.
pub(crate) struct Table {
    /// The kind of its records.
    pub(crate) kind: Kind,
    /// Its name, by which `changes` and `grants` refer to it as well.
    pub(crate) name: &'static str,
    pub(crate) by_id: String,
    /// `?1` is the unique key.
    pub(crate) by_unique_key: String,
    pub(crate) all: String,
    /// `?2` is the org.
    pub(crate) of_org: String,
    /// `?2` is the user.
    pub(crate) of_user: String,
    /// `?2` is the grant key.
    pub(crate) of_grant: String,
    pub(crate) exists: String,
    /// `?1` to `?7` are the columns, `?8` and `?9` the first and the last rowid of the row's cluster, or
    /// null.
    pub(crate) insert: String,
    /// `?1` to `?7` are the columns, `?8` is the expected revision.
    pub(crate) update: String,
    /// The same, if `?3` to `?5` equal the columns in the row; else it changes nothing. It writes no
    /// index.
    pub(crate) update_in_place: String,
    /// `?2` is the expected revision.
    pub(crate) delete: String,
    /// `?2` is the grant key.
    pub(crate) grant: String,
    /// The grant keys, in order.
    pub(crate) grants: String,
    pub(crate) revoke: String,
}

impl Table {
    fn new(kind: Kind, name: &'static str) -> Self {
        let columns = "t.id, t.revision, t.unique_key, t.org_id, t.user_id, t.status, t.body";
        let select = format!("SELECT {columns} FROM {name} AS t WHERE");
        Self {
            kind,
            name,
            by_id: format!("{select} t.id = ?1"),
            by_unique_key: format!("{select} t.unique_key = ?1"),
            all: format!("{select} t.id > ?1 ORDER BY t.id"),
            of_org: format!("{select} t.org_id = ?2 AND t.id > ?1 ORDER BY t.id"),
            of_user: format!("{select} t.user_id = ?2 AND t.id > ?1 ORDER BY t.id"),
            // A cross join is never reordered: first the grants, by id, then their records.
            of_grant: format!(
                "SELECT {columns} FROM grants AS g CROSS JOIN {name} AS t ON t.id = g.id \
                 WHERE g.kind = '{name}' AND g.grant_key = ?2 AND g.id > ?1 ORDER BY g.id"
            ),
            exists: format!("SELECT 1 FROM {name} WHERE id = ?1"),
            insert: format!(
                "INSERT INTO {name} \
                 (place, id, revision, unique_key, org_id, user_id, status, body) \
                 VALUES ({next}, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                next = next_rowid(name),
            ),
            update: format!(
                "UPDATE {name} SET revision = ?2, unique_key = ?3, org_id = ?4, user_id = ?5, \
                 status = ?6, body = ?7 WHERE id = ?1 AND revision = ?8"
            ),
            // With the signs SQLite searches by the id alone.
            update_in_place: format!(
                "UPDATE {name} SET revision = ?2, status = ?6, body = ?7 \
                 WHERE id = ?1 AND revision = ?8 \
                 AND +unique_key = ?3 AND +org_id IS ?4 AND +user_id IS ?5"
            ),
            delete: format!("DELETE FROM {name} WHERE id = ?1 AND revision = ?2"),
            grant: format!(
                "INSERT OR IGNORE INTO grants (kind, grant_key, id) VALUES ('{name}', ?2, ?1)"
            ),
            grants: format!(
                "SELECT grant_key FROM grants WHERE kind = '{name}' AND id = ?1 ORDER BY grant_key"
            ),
            revoke: format!("DELETE FROM grants WHERE kind = '{name}' AND id = ?1"),
        }
    }
}

/// The rowid after the last one in the cluster from `?8` to `?9`. Null if the cluster is full, or there
/// is none: then SQLite chooses one.
fn next_rowid(name: &str) -> String {
    format!(
        "nullif(coalesce((SELECT place FROM {name} WHERE place BETWEEN ?8 AND ?9 \
         ORDER BY place DESC LIMIT 1), ?8), ?9) + 1"
    )
}

/// The statements of each kind.
pub(crate) static TABLES: LazyLock<Tables<Table>> = LazyLock::new(|| Tables::new(Table::new));

/// Returns the query plan, a string for each step.
#[cfg(test)]
pub(crate) fn plan(connection: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let mut explain = connection.prepare(&explain).unwrap();
    let parameters = vec![""; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(parameters), |row| row.get("detail"));
    steps.unwrap().map(Result::unwrap).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::{Connection, StatementStatus};

    use super::*;
    use crate::open::Location;
    use crate::schema;

    impl Table {
        fn statements(&self) -> [&str; 14] {
            [
                &self.by_id,
                &self.by_unique_key,
                &self.all,
                &self.of_org,
                &self.of_user,
                &self.of_grant,
                &self.exists,
                &self.insert,
                &self.update,
                &self.update_in_place,
                &self.delete,
                &self.grant,
                &self.grants,
                &self.revoke,
            ]
        }
    }

    #[test]
    fn every_statement_uses_an_index_and_none_sorts() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate_all(&mut connection).unwrap();
        for table in TABLES.iter() {
            let name = table.name;
            let by_id = format!("SEARCH {name} USING INDEX sqlite_autoindex_{name}_2 (id=?)");
            let by_id_of = |sql: &str| plan(&connection, sql)[0].replace("COVERING ", "") == by_id;
            assert!(by_id_of(&table.exists));
            assert!(by_id_of(&table.update));
            assert!(by_id_of(&table.update_in_place));
            assert!(by_id_of(&table.delete));
            for (sql, expected) in [
                (&table.by_id, format!("sqlite_autoindex_{name}_2 (id=?)")),
                (&table.by_unique_key, format!("sqlite_autoindex_{name}_1 (unique_key=?)")),
                (&table.all, format!("sqlite_autoindex_{name}_2 (id>?)")),
                (&table.of_org, format!("{name}_by_org (org_id=? AND id>?)")),
                (&table.of_user, format!("{name}_by_user (user_id=? AND id>?)")),
            ] {
                let expected = format!("SEARCH t USING INDEX {expected}");
                assert_eq!(plan(&connection, sql), [expected]);
            }
            assert_eq!(
                plan(&connection, &table.of_grant),
                [
                    "SEARCH g USING PRIMARY KEY (kind=? AND grant_key=? AND id>?)".to_owned(),
                    format!("SEARCH t USING INDEX sqlite_autoindex_{name}_2 (id=?)"),
                ]
            );
            let insert = plan(&connection, &table.insert);
            let sequence = format!("SEARCH {name} USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
            assert_eq!(insert, ["SCALAR SUBQUERY 1".to_owned(), sequence]);
            assert_eq!(plan(&connection, &table.grant), [""; 0]);
            assert_eq!(
                plan(&connection, &table.grants),
                ["SEARCH grants USING COVERING INDEX grants_by_id (kind=? AND id=?)"]
            );
            assert_eq!(
                plan(&connection, &table.revoke),
                ["SEARCH grants USING COVERING INDEX grants_by_id (kind=? AND id=?)"]
            );
        }
    }

    /// SQLite would plan a statement again whenever it comes from the cache, which takes half as long as
    /// a page.
    #[test]
    fn no_statement_is_prepared_again() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::new(&directory.path().join("store.db"), Duration::ZERO).unwrap();
        location.open(true).unwrap();
        let connection = location.connect_reader().unwrap();
        for table in TABLES.iter() {
            for sql in table.statements() {
                for round in 0..3 {
                    let mut statement = connection.prepare_cached(sql).unwrap();
                    for parameter in 1..=statement.parameter_count() {
                        statement.raw_bind_parameter(parameter, round.to_string()).unwrap();
                    }
                    // It reads, or is refused before it writes.
                    let _ = statement.raw_query().next();
                    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
                }
            }
        }
    }
}
