//! Several that have the file open: handles, processes, and people.

use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use portcullis::Id;
use portcullis::store::{Change, Kind, Lookup, Position, Store};
use portcullis::toolkit::Feed;
use portcullis_sqlite::SqliteStore;

use crate::common::{
    Changes, Place, authorization, child, child_path, commit, create, next_change, next_id, user,
};

/// The time within which a change of another process is reported.
const NOTICED: Duration = Duration::from_millis(250);

async fn watch(store: &SqliteStore) -> Changes {
    let position = store.position().await.unwrap();
    store.watch(position).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_handle_notices_soon() {
    let place = Place::new();
    let (here, there) = (place.open(), place.open());
    let mut changes = watch(&here).await;
    for id in 1..=10 {
        let there = commit(&there, [create(user(id, &id.to_string()))]).await;
        let committed = Instant::now();
        assert_eq!(next_id(&mut changes).await, id);
        assert!(committed.elapsed() < NOTICED, "{:?}", committed.elapsed());
        assert_eq!(here.position().await.unwrap(), there.unwrap());
        let lookup = Lookup::Id(Kind::User, Id::from_u64(id));
        assert!(here.get(lookup).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn freshness_covers_what_was_committed_before() {
    let place = Place::new();
    let (here, there) = (place.open(), place.open());
    let position = here.position().await.unwrap();
    let mut changes = here.watch(position).await.unwrap();
    commit(&there, [create(user(1, "ada"))]).await.unwrap();
    let committed = Instant::now();
    let mut reported = false;
    loop {
        match futures_util::StreamExt::next(&mut changes).await {
            Some(Ok(Change::Changed { .. })) => reported = true,
            Some(Ok(Change::Fresh { as_of })) if as_of >= committed => break,
            Some(Ok(Change::Fresh { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(reported);
    assert!(committed.elapsed() < 2 * NOTICED, "{:?}", committed.elapsed());
}

#[tokio::test]
async fn changes_of_all_handles_are_announced_in_one_order() {
    let place = Place::new();
    let stores = [place.open(), place.open(), place.open()];
    let mut streams = Vec::new();
    for store in &stores {
        streams.push(watch(store).await);
    }
    let mut expected = Vec::new();
    for id in 1..=60 {
        let store = &stores[id as usize % 3];
        let position = commit(store, [create(user(id, &id.to_string()))]).await;
        expected.push((id, position.unwrap()));
    }
    for changes in &mut streams {
        for (id, at) in &expected {
            match next_change(changes).await {
                Some(Change::Changed { id: reported, position, .. }) => {
                    assert_eq!((reported.as_u64(), position), (*id, *at));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Writes for each line of its input, until it ends.
#[tokio::test]
#[ignore = "run by another test, as another process"]
async fn child_writes_on_demand() {
    let Some(path) = child_path() else { return };
    let store = SqliteStore::open(path).unwrap();
    println!("ready");
    for line in std::io::stdin().lines() {
        let id: u64 = line.unwrap().parse().unwrap();
        commit(&store, [create(user(id, &id.to_string()))]).await.unwrap();
        println!("done");
    }
}

/// Reads until the line, for the test runner of the process writes lines as well.
fn wait_for(output: &mut impl BufRead, expected: &str) {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if line.trim_end().ends_with(expected) {
            return;
        }
        line.clear();
    }
    panic!("the other process has ended");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_noticed_soon_and_may_be_killed() {
    let place = Place::new();
    let store = place.open();
    let mut changes = watch(&store).await;
    let test = "sharing::child_writes_on_demand";
    let mut process = child(&[], test, &place.path()).spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    wait_for(&mut output, "ready");
    for id in 1..=5 {
        writeln!(input, "{id}").unwrap();
        wait_for(&mut output, "done");
        let committed = Instant::now();
        assert_eq!(next_id(&mut changes).await, id);
        assert!(committed.elapsed() < NOTICED, "{:?}", committed.elapsed());
    }
    kill(process);
    commit(&store, [create(user(6, "six"))]).await.unwrap();
    assert_eq!(next_id(&mut changes).await, 6);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let place = Place::new();
    let test = "sharing::child_writes_on_demand";
    let mut process = child(&[], test, &place.path()).spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    for id in 1..=20 {
        writeln!(input, "{id}").unwrap();
        wait_for(&mut output, "done");
    }
    kill(process);
    let store = place.open();
    assert!(!store.was_created());
    for id in 1..=20 {
        let lookup = Lookup::Id(Kind::User, Id::from_u64(id));
        assert!(store.get(lookup).await.unwrap().is_some(), "{id}");
    }
}

#[test]
#[ignore = "run by another test, as another process"]
fn child_opens() {
    let Some(path) = child_path() else { return };
    let store = SqliteStore::open(path).unwrap();
    println!("created {}", store.was_created());
}

#[test]
fn of_many_that_open_a_new_store_one_has_created_it() {
    let place = Place::new();
    let processes: Vec<_> = (0..4)
        .map(|_| child(&[], "sharing::child_opens", &place.path()).spawn().unwrap())
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let path = place.path();
            thread::spawn(move || SqliteStore::open(path).unwrap().was_created())
        })
        .collect();
    let mut created = 0;
    for thread in threads {
        created += usize::from(thread.join().unwrap());
    }
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        created += text.matches("created true").count();
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn changes_by_hand_are_noticed() {
    let place = Place::new();
    let store = place.open();
    let records = [authorization(1, "a"), authorization(2, "b")];
    commit(&store, records.map(create)).await.unwrap();
    let mut changes = watch(&store).await;
    let raw = place.raw();
    let change = "UPDATE authorizations SET status = 'active' WHERE username = 'b'";
    raw.execute(change, []).unwrap();
    assert_eq!(next_id(&mut changes).await, 2);
    let delete = "DELETE FROM authorizations WHERE username = 'a'";
    raw.execute(delete, []).unwrap();
    assert_eq!(next_id(&mut changes).await, 1);
    let grants: i64 = raw.query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
    assert_eq!(grants, 1);
}

#[tokio::test]
async fn an_older_state_that_is_put_back_resyncs() {
    let place = Place::new();
    let store = place.open();
    for id in 1..=3 {
        commit(&store, [create(user(id, &id.to_string()))]).await.unwrap();
    }
    let mut changes = watch(&store).await;
    let older = "DELETE FROM users WHERE unique_key <> '1'; DELETE FROM changes WHERE seq > 1";
    let older = format!("BEGIN IMMEDIATE; {older}; COMMIT");
    place.raw().execute_batch(&older).unwrap();
    let Some(Change::Resync { position }) = next_change(&mut changes).await else {
        panic!("not reported");
    };
    assert_eq!(position.sequence(), 4);
    let next = commit(&store, [create(user(9, "nine"))]).await.unwrap();
    assert_eq!(next.sequence(), 5);
    assert_eq!(next_id(&mut changes).await, 9);
}

#[tokio::test]
async fn changes_that_are_not_kept_any_more_resync() {
    let place = Place::new();
    let store = place.open();
    let mut changes = watch(&store).await;
    let raw = place.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let many = Feed::CAPACITY + 10;
    for id in 1..=many {
        let sql = "INSERT INTO changes (kind, id) VALUES ('users', ?1)";
        let mut insert = raw.prepare_cached(sql).unwrap();
        insert.execute([format!("{id:016x}")]).unwrap();
    }
    raw.execute_batch("DELETE FROM changes WHERE seq <= 10; COMMIT").unwrap();
    let resync = next_change(&mut changes).await;
    let Some(Change::Resync { position }) = resync else {
        panic!("{resync:?}");
    };
    assert_eq!(position.sequence(), many as u128);
    commit(&store, [create(user(1, "ada"))]).await.unwrap();
    assert_eq!(next_id(&mut changes).await, 1);
}

#[tokio::test]
async fn positions_outlive_the_handle() {
    let place = Place::new();
    let store = place.open();
    let mut positions = vec![store.position().await.unwrap()];
    for id in 1..=3 {
        positions.push(commit(&store, [create(user(id, &id.to_string()))]).await.unwrap());
    }
    store.close().await.unwrap();

    let store = place.open();
    assert_eq!(store.position().await.unwrap(), positions[3]);
    let mut changes = store.watch(positions[1]).await.unwrap();
    assert_eq!(next_id(&mut changes).await, 2);
    assert_eq!(next_id(&mut changes).await, 3);
    let other = Position::new(positions[1].incarnation() ^ 1, positions[1].sequence());
    let mut changes = store.watch(other).await.unwrap();
    let position = positions[3];
    assert_eq!(next_change(&mut changes).await, Some(Change::Resync { position }));
}
