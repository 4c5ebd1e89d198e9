//! Clustered rowids: the rows of one org and user are adjacent in the file.
//!
//! A list of them then reads a few consecutive pages instead of a page for each record. Each org and
//! user has a cluster, a range of rowids (the column `place`), found by hashing; two may share one.
//! Nothing refers to a rowid: it may be any number, and a row stays where it is when its org or user
//! changes.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// The bits of a rowid within its cluster.
const PLACE_BITS: u32 = 24;

/// The bits of a user within its org: the clusters of an org are adjacent.
const USER_BITS: u32 = 19;

const ORG_BITS: u32 = 20;

/// The rowids of an org and a user. The first one is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowCluster {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl RowCluster {
    /// `None` for rows that have neither: SQLite numbers them.
    pub(crate) fn of(org: Option<&str>, user: Option<&str>) -> Option<Self> {
        if (org, user) == (None, None) {
            return None;
        }
        let org = org.map_or(0, |org| hash(org, ORG_BITS));
        let user = user.map_or(0, |user| hash(user, USER_BITS));
        let first = ((org << USER_BITS) | user) << PLACE_BITS;
        // All bits together are 63, so that it is never negative.
        let first = i64::try_from(first).unwrap_or(0);
        Some(Self { first, last: first | ((1 << PLACE_BITS) - 1) })
    }
}

/// FNV-1a, then the highest bits of a product, which depend on every bit. Another hash would read the
/// same files, but put new rows elsewhere.
fn hash(text: &str, bits: u32) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fnv.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)
}

/// Registers `portcullis_region(org_id, user_id)` for migrations: the rowid before the first one.
pub(crate) fn register_function(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("portcullis_region", 2, flags, |context| {
        let text = |index| match context.get_raw(index) {
            ValueRef::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        };
        Ok(RowCluster::of(text(0), text(1)).map(|cluster| cluster.first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_and_a_user_have_a_cluster_and_clusters_of_an_org_are_adjacent() {
        let id = |number: u64| format!("{number:016x}");
        let of = |org, user| RowCluster::of(Some(&id(org)), Some(&id(user))).unwrap();
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2), of(1, 3));
        assert_ne!(of(1, 2), of(2, 2));
        let org_of = |cluster: RowCluster| cluster.first >> (PLACE_BITS + USER_BITS);
        assert_eq!(org_of(of(1, 2)), org_of(of(1, 3)));
        assert_ne!(org_of(of(1, 2)), org_of(of(2, 2)));
        assert_eq!(RowCluster::of(None, None), None);
        for org in 0..1_000 {
            let cluster = of(org, org);
            assert!(cluster.first >= 0 && cluster.first < cluster.last, "{cluster:?}");
            assert_eq!(cluster.last - cluster.first, (1 << PLACE_BITS) - 1);
        }
    }

    #[test]
    fn the_sql_function_returns_the_same() {
        let connection = Connection::open_in_memory().unwrap();
        register_function(&connection).unwrap();
        let sequence = |sql: &str| -> Option<i64> {
            connection.query_row(&format!("SELECT {sql}"), [], |row| row.get(0)).unwrap()
        };
        let cluster = RowCluster::of(Some("a"), Some("b")).unwrap();
        assert_eq!(sequence("portcullis_region('a', 'b')"), Some(cluster.first));
        assert_eq!(sequence("portcullis_region(NULL, NULL)"), None);
    }
}
