use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use portcullis::store::{Change, Duplicate, Expect, Kind, Lookup, Record, Revision, UniqueKey};
use portcullis::{Id, Status};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::rows;
use portcullis::toolkit::Committer as _;

/// The committer of a new file, and another connection to it.
struct Fixture {
    committer: Committer,
    feed: Arc<Feed>,
    other: Connection,
    _directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.db");
        let location = Location::new(&path, Duration::from_millis(20)).unwrap();
        let (connection, created) = location.open(true).unwrap();
        assert!(created);
        let feed = Feed::of_shared_store(7, 0);
        Self {
            committer: Committer::new(
                location,
                connection,
                Readers::new(vec![]),
                Arc::clone(&feed),
                0,
            ),
            feed,
            other: Connection::open(path).unwrap(),
            _directory: directory,
        }
    }

    /// Commits the batches as one group.
    fn commit<const N: usize>(
        &mut self,
        batches: [Vec<Operation>; N],
    ) -> [Result<Position, StoreError>; N] {
        let answers = self.committer.commit(&batches);
        answers.try_into().unwrap()
    }

    /// Makes the creation of the org `boom` fail.
    fn set_trap(&self, action: &str) {
        self.other
            .execute_batch(&format!(
                "CREATE TABLE trap (x REFERENCES meta (name) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER boom AFTER INSERT ON orgs WHEN NEW.unique_key = 'boom'
                 BEGIN {action}; END;"
            ))
            .unwrap();
    }

    fn has(&self, id: u64) -> bool {
        let lookup = Lookup::Id(Kind::Org, Id::from_u64(id));
        let connection = self.committer.location.connect_reader().unwrap();
        rows::get(&connection, lookup).unwrap().is_some()
    }

    /// The ids announced after the sequence, `None` for a resync.
    fn announced_after(&self, sequence: u128) -> Vec<Option<u64>> {
        delivered(&mut self.feed.watch(Position::new(7, sequence)))
    }
}

/// The ids that the stream has delivered by now, `None` for a resync.
fn delivered(changes: &mut BoxStream<'static, Result<Change, StoreError>>) -> Vec<Option<u64>> {
    let mut ids = Vec::new();
    while let Some(Some(Ok(change))) = changes.next().now_or_never() {
        match change {
            Change::Changed { id, .. } => ids.push(Some(id.as_u64())),
            Change::Resync { .. } => ids.push(None),
            _ => {}
        }
    }
    ids
}

fn org(id: u64, name: &str) -> Operation {
    let record = Record {
        kind: Kind::Org,
        id: Id::from_u64(id),
        revision: Revision::from_u128(1),
        unique_key: UniqueKey::new(name).unwrap(),
        org: None,
        user: None,
        status: Status::Active,
        body: "{}".into(),
    };
    Operation::Put { record, grants: Vec::new(), expect: Expect::Absent }
}

fn sequence_of(outcome: &Result<Position, StoreError>) -> u128 {
    outcome.as_ref().unwrap().sequence()
}

fn require(id: u64) -> Operation {
    Operation::Require { kind: Kind::Org, id: Id::from_u64(id) }
}

#[test]
fn a_refusal_undoes_its_own_batch_only_and_leaves_no_gap() {
    let mut fixture = Fixture::new();
    let [ada, taken_key, key_alone, taken_id, id_alone, bob] = fixture.commit([
        vec![org(1, "ada")],
        vec![org(2, "bob"), org(3, "ada")],
        vec![require(1), org(3, "ada")],
        vec![org(4, "eve"), org(1, "joe")],
        vec![org(1, "joe")],
        vec![org(5, "bob")],
    ]);
    assert_eq!((sequence_of(&ada), sequence_of(&bob)), (1, 2));
    for (outcome, expected) in [
        (taken_key, (3, Duplicate::UniqueKey)),
        (key_alone, (3, Duplicate::UniqueKey)),
        (taken_id, (1, Duplicate::Id)),
        (id_alone, (1, Duplicate::Id)),
    ] {
        match outcome {
            Err(StoreError::AlreadyExists { id, duplicate, .. }) => {
                assert_eq!((id.as_u64(), duplicate), expected);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fixture.announced_after(0), [Some(1), Some(5)]);
}

#[test]
fn a_batch_that_fails_affects_no_other_batch() {
    let actions = [
        "SELECT RAISE(ABORT, 'boom')",
        "SELECT RAISE(FAIL, 'boom')",
        // SQLite undoes the whole transaction by itself, as it may when the disk is full.
        "SELECT RAISE(ROLLBACK, 'boom')",
    ];
    let batches = [vec![org(2, "b"), org(3, "boom")], vec![require(1), org(3, "boom")]];
    for (action, batch) in
        actions.iter().flat_map(|action| batches.iter().map(move |it| (action, it)))
    {
        let mut fixture = Fixture::new();
        fixture.set_trap(action);
        let [a, boom, taken, c] = fixture.commit([
            vec![org(1, "a")],
            batch.clone(),
            vec![org(4, "a")],
            vec![org(5, "c")],
        ]);
        assert_eq!((sequence_of(&a), sequence_of(&c)), (1, 2), "{action}");
        match boom {
            Err(StoreError::Backend { source }) => assert_eq!(source.to_string(), "boom"),
            other => panic!("{action}: {other:?}"),
        }
        assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })));
        assert!(!fixture.has(2) && !fixture.has(3), "{action}");
        assert_eq!(fixture.announced_after(0), [Some(1), Some(5)], "{action}");
    }
}

#[test]
fn a_failed_commit_is_indeterminate_for_all_and_resyncs() {
    let mut fixture = Fixture::new();
    fixture.commit([vec![org(1, "a")]])[0].as_ref().unwrap();
    let mut changes = fixture.feed.watch(fixture.feed.position());
    assert_eq!(delivered(&mut changes), []);
    fixture.set_trap("INSERT INTO trap VALUES ('missing')");
    let [b, boom, taken] =
        fixture.commit([vec![org(2, "b")], vec![org(3, "boom")], vec![org(4, "a")]]);
    for unknown in [b, boom] {
        match unknown {
            Err(StoreError::Indeterminate { source }) => {
                assert_eq!(source.to_string(), "FOREIGN KEY constraint failed");
            }
            other => panic!("{other:?}"),
        }
    }
    // It was not applied either way, and the reason is ambiguous.
    assert!(matches!(taken, Err(StoreError::Backend { .. })), "{taken:?}");
    assert_eq!(delivered(&mut changes), [None]);
    assert!(!fixture.has(2));

    let [d] = fixture.commit([vec![org(6, "d")]]);
    assert_eq!(sequence_of(&d), 2);
    assert_eq!(delivered(&mut changes), [Some(6)]);
}

#[test]
fn a_full_disk_fails_the_batch_and_passes() {
    let mut fixture = Fixture::new();
    let pages = |fixture: &Fixture, pages: i64| {
        let connection = fixture.committer.connection.as_ref().unwrap();
        let set = format!("PRAGMA max_page_count = {pages}");
        connection.query_row(&set, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // No fewer than the file has.
    pages(&fixture, 1);
    let many = (1_000..2_000).map(|id| org(id, &id.to_string()));
    let [small, large, after] =
        fixture.commit([vec![org(1, "a")], many.collect(), vec![org(2, "b")]]);
    assert_eq!((sequence_of(&small), sequence_of(&after)), (1, 2));
    match large {
        Err(StoreError::Unavailable { source }) => {
            assert_eq!(source.to_string(), "database or disk is full");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.announced_after(0), [Some(1), Some(2)]);
    pages(&fixture, 1_000_000);
    let many = (1_000..2_000).map(|id| org(id, &id.to_string()));
    let [large] = fixture.commit([many.collect()]);
    assert_eq!(sequence_of(&large), 1_002);
}

#[test]
fn behind_another_writer_nothing_is_done_and_the_connection_is_kept() {
    let mut fixture = Fixture::new();
    fixture.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for outcome in fixture.commit([vec![org(1, "a")], vec![org(2, "b")]]) {
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    }
    assert!(fixture.committer.connection.is_some());
    fixture.other.execute_batch("ROLLBACK").unwrap();
    let [a] = fixture.commit([vec![org(1, "a")]]);
    assert_eq!(sequence_of(&a), 1);
}

#[test]
fn a_group_announces_what_others_have_committed_before() {
    let mut fixture = Fixture::new();
    fixture.commit([vec![org(1, "a")]])[0].as_ref().unwrap();
    fixture.other.execute_batch("DELETE FROM orgs").unwrap();
    let [b] = fixture.commit([vec![org(2, "b")]]);
    assert_eq!(sequence_of(&b), 3);
    assert_eq!(fixture.announced_after(1), [Some(1), Some(2)]);
}

#[test]
fn the_log_is_emptied_when_no_connection_reads_from_it() {
    let mut fixture = Fixture::new();
    fixture.commit([vec![org(1, "a")]])[0].as_ref().unwrap();
    let read = "BEGIN; SELECT count(*) FROM orgs";
    fixture.other.execute_batch(read).unwrap();
    fixture.commit([vec![org(2, "b")]])[0].as_ref().unwrap();
    assert!(!fixture.committer.truncate_log());
    fixture.other.execute_batch("COMMIT").unwrap();
    assert!(fixture.committer.truncate_log());
    fixture.commit([vec![org(3, "c")]])[0].as_ref().unwrap();
}
