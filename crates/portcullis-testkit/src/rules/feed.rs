//! Every change is reported, or covered by a resync.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::Id;
use portcullis::store::{Change, Kind, Operation, Position, Store};
use portcullis::toolkit::Feed;
use tokio::task::JoinError;

use crate::access::{Refusal, commit, get, list_ids, refused};
use crate::background::Background;
use crate::fixtures::Sample;
use crate::harness::{Harness, TestStore};
use crate::watching::{Watching, changed};

/// Within this time a watcher of an idle store is reported to be fresh.
pub const FRESH_WITHIN: Duration = Duration::from_secs(2);

/// The position stays while no record changes, and differs after a change.
pub async fn the_position_changes_with_records_only(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let position = async || store.position().await.expect("position");
    let mut seen = vec![position().await];
    assert_eq!(position().await, seen[0], "an empty store");
    let first = Sample::user(1);
    let second = first.revised();
    for batch in [
        vec![first.create()],
        vec![second.replace(&first), Sample::bucket(1).create()],
        vec![second.delete()],
    ] {
        commit(store, batch).await;
        let now = position().await;
        assert!(!seen.contains(&now), "{now:?} was used before");
        get(store, Kind::User, Id::from_u64(1)).await;
        list_ids(store, portcullis::store::Index::All(Kind::User), 1).await;
        let never = Sample::org(9);
        refused(store, [never.require()], Refusal::missing(&never)).await;
        commit(store, []).await;
        assert_eq!(position().await, now, "nothing changed");
        seen.push(now);
    }
}

/// All changes of records are reported with kind and id, in the order of the commits and, within a
/// batch, of the operations.
pub async fn every_change_is_reported_in_order(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let before = Sample::user(1);
    commit(store, [before.create()]).await;
    let mut early = test.watch_from_now().await;
    let start = store.position().await.expect("position");
    let (batches, expected) = history(&before);
    for batch in batches {
        commit(store, batch).await;
    }
    let mut late = test.watch(start).await;
    for watching in [&mut early, &mut late] {
        watching.until_fresh().await;
        watching.assert_reported(&expected);
    }
}

/// Returns batches, and the changes to report for them.
fn history(there: &Sample) -> (Vec<Vec<Operation>>, Vec<(Kind, Id)>) {
    let of = |sample: &Sample| (sample.kind, sample.id);
    let mut batches = Vec::new();
    let mut expected = Vec::new();
    let mut now = there.clone();
    for number in 0..4 {
        let next = now.revised().with_key(format!("name {number}"));
        batches.push(vec![next.replace(&now)]);
        expected.push(of(&next));
        now = next;

        // Not in the order of ids.
        let many = [9, 3, 7, 1 << 63].map(|id| Sample::authorization(id + number * 10));
        batches.push(many.iter().map(Sample::create).collect());
        expected.extend(many.iter().map(of));

        // Kinds that share an id. Requirements change nothing.
        let kinds = Kind::ALL.map(|kind| Sample::of(kind, 1_000 + number));
        batches.push(kinds.iter().map(Sample::create).collect());
        expected.extend(kinds.iter().map(of));
        batches.push(vec![kinds[0].require(), kinds[2].delete(), kinds[1].delete()]);
        expected.extend([of(&kinds[2]), of(&kinds[1])]);
    }
    (batches, expected)
}

/// A watch from any position of a change or a commit reports all later changes.
pub async fn every_position_can_be_watched_from(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let there = Sample::user(1);
    commit(store, [there.create()]).await;
    let mut watching = test.watch_from_now().await;
    let (batches, expected) = history(&there);
    let mut responses = Vec::new();
    let mut done = 0;
    for batch in batches {
        let requirements = |it: &&Operation| matches!(it, Operation::Require { .. });
        done += batch.len() - batch.iter().filter(requirements).count();
        responses.push((commit(store, batch).await, done));
    }
    watching.until_fresh().await;
    watching.assert_reported(&expected);
    let mut positions = Vec::new();
    let mut count = 0;
    for change in watching.events() {
        if let Change::Changed { kind, id, position } = change
            // A change that is reported again has a later position.
            && expected.get(count) == Some(&(*kind, *id))
        {
            count += 1;
            positions.push((*position, count));
        }
    }
    let mut resumed = Vec::new();
    for (position, done) in positions.into_iter().chain(responses) {
        resumed.push((test.watch(position).await, done));
    }
    let now = Instant::now();
    for (mut watching, done) in resumed {
        watching.until_fresh_as_of(now).await;
        assert!(!watching.resynced(), "a resync for no reason");
        let changed = watching.changed();
        let mut rest = changed.iter();
        for change in &expected[done..] {
            assert!(
                rest.any(|it| it == change),
                "after {done} changes, {change:?} was not reported in order: {changed:?}"
            );
        }
    }
}

/// A watcher of an idle store is soon fresh, as of a time after the watch began.
pub async fn a_watcher_of_an_idle_store_is_soon_fresh(harness: &Harness) {
    let test = harness.open().await;
    fresh_soon(&mut test.watch_from_now().await).await;
    let start = test.store().position().await.expect("position");
    commit(test.store(), [Sample::user(1).create()]).await;
    let mut watching = test.watch(start).await;
    fresh_soon(&mut watching).await;
    watching.assert_reported(&[(Kind::User, Id::from_u64(1))]);
}

async fn fresh_soon(watching: &mut Watching) {
    let began = Instant::now();
    let fresh = tokio::time::timeout(FRESH_WITHIN, watching.until_fresh_as_of(began)).await;
    assert!(fresh.is_ok(), "not fresh within {FRESH_WITHIN:?}");
}

/// While nothing changes, freshness is reported repeatedly, as of increasing times.
pub async fn freshness_is_reported_repeatedly(harness: &Harness) {
    let test = harness.open().await;
    commit(test.store(), [Sample::user(1).create()]).await;
    let mut watching = test.watch_from_now().await;
    for _ in 0..3 {
        fresh_soon(&mut watching).await;
    }
    let times = watching.events().iter().map(|change| match change {
        Change::Fresh { as_of } => *as_of,
        other => panic!("{other:?} while nothing changes"),
    });
    assert!(times.is_sorted_by(|a, b| a <= b), "an earlier time after a later one");
}

/// Freshness is also reported during continuous writes.
pub async fn freshness_is_reported_during_writes(harness: &Harness) {
    let test = harness.open().await;
    let mut watching = test.watch_from_now().await;
    let mut writers = Background::default();
    for id in 1..=2 {
        let now = Arc::new(Mutex::new(Sample::user(id)));
        commit(test.store(), [Sample::user(id).create()]).await;
        let store = test.handle();
        writers.start(move || {
            let (store, now) = (Arc::clone(&store), Arc::clone(&now));
            async move {
                let old = now.lock().unwrap().clone();
                let new = old.revised();
                commit(&*store, [new.replace(&old)]).await;
                *now.lock().unwrap() = new;
            }
        });
    }
    // Reports from before the writers are busy show nothing.
    while watching.changed().len() < 20 {
        watching.next().await;
    }
    watching.forget();
    for _ in 0..3 {
        fresh_soon(&mut watching).await;
        watching.forget();
    }
    writers.stop().await;
}

/// A report of freshness as of an instant follows the changes of all commits before that instant.
pub async fn freshness_follows_every_earlier_commit(harness: &Harness) {
    let test = harness.open().await;
    let watching = test.watch_from_now().await;
    let handles = [test.handle(), test.handle()];
    assert_fresh_is_true(&test, watching, &handles).await;
}

/// Lets the handles write, and compares the events with the times of the commits' responses.
pub(super) async fn assert_fresh_is_true(
    test: &TestStore,
    mut watching: Watching,
    handles: &[Arc<dyn Store>],
) {
    const ROUNDS: u64 = 4;
    const EACH: u64 = 20;
    let mut clock = test.watch_from_now().await;
    let done: Arc<Mutex<Vec<(Instant, Id)>>> = Arc::default();
    for round in 0..ROUNDS {
        let writers = (0..).zip(handles).map(|(number, store)| {
            let (store, done) = (Arc::clone(store), Arc::clone(&done));
            let first = (round * handles.len() as u64 + number) * EACH + 1;
            tokio::spawn(async move {
                for sample in (first..first + EACH).map(Sample::bucket) {
                    commit(&*store, [sample.create()]).await;
                    done.lock().unwrap().push((Instant::now(), sample.id));
                }
            })
        });
        let mut writers = join_all(writers);
        if round % 2 == 0 {
            // Reading during the writes.
            loop {
                tokio::select! {
                    written = &mut writers => break check(written),
                    _ = watching.next() => {}
                }
            }
        } else {
            // Behind at the time of the next report of freshness.
            check(test.within_deadline("the writers end", writers).await);
            clock.until_fresh().await;
        }
        watching.until_fresh().await;
    }
    assert!(!watching.resynced(), "a resync for no reason");
    let done = done.lock().unwrap();
    let mut reported = HashSet::new();
    for change in watching.events() {
        reported.extend(changed(change).map(|(_, id)| id));
        if let Change::Fresh { as_of } = change {
            for (at, id) in done.iter().filter(|(at, _)| at < as_of) {
                assert!(
                    reported.contains(id),
                    "fresh before {id}, which was committed {:?} before it",
                    *as_of - *at
                );
            }
        }
    }
    assert_eq!(reported.len(), done.len(), "reported changes");
}

fn check(tasks: Vec<Result<(), JoinError>>) {
    for task in tasks {
        task.expect("a writer");
    }
}

/// A waiting watcher receives a change as soon as it happens.
pub async fn a_waiting_watcher_is_woken(harness: &Harness) {
    let test = harness.open().await;
    let mut watching = test.watch_from_now().await;
    watching.until_fresh().await;
    for id in 1..=5 {
        let delay = report_delay(&test, &mut watching, test.store(), &Sample::user(id)).await;
        assert!(delay < FRESH_WITHIN, "reported after {delay:?}");
    }
}

/// Creates the record while the watcher waits; returns the delay between the commit's response and
/// the event.
pub(super) async fn report_delay(
    test: &TestStore,
    watching: &mut Watching,
    store: &dyn Store,
    sample: &Sample,
) -> Duration {
    watching.until_fresh().await;
    let reported = async {
        while changed(&watching.next().await) != Some((sample.kind, sample.id)) {}
        Instant::now()
    };
    let committed = async {
        commit(store, [sample.create()]).await;
        Instant::now()
    };
    // Polled first, so that it waits already.
    let both = async { tokio::join!(reported, committed) };
    let (reported, committed) = test.within_deadline("a change is reported", both).await;
    reported.saturating_duration_since(committed)
}

/// No part of a refused batch is reported.
pub async fn a_refused_batch_is_not_reported(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let there = Sample::user(1);
    commit(store, [there.create()]).await;
    let mut watching = test.watch_from_now().await;
    let (new, never) = (Sample::user(2), Sample::user(3));
    let changed = there.revised().inactive();
    for (last, refusal) in [
        (never.require(), Refusal::missing(&never)),
        (there.create(), Refusal::id_taken(&there)),
        (there.delete(), Refusal::conflict(&there)),
    ] {
        let batch = [new.create(), changed.replace(&there), last];
        refused(store, batch, refusal).await;
    }
    let after = Sample::bucket(1);
    commit(store, [after.create()]).await;
    watching.until_fresh().await;
    watching.assert_reported(&[(after.kind, after.id)]);
}

/// A watch from a position of another store, or of an earlier incarnation of this one, begins with a
/// resync, and later changes are reported.
pub async fn a_foreign_position_gets_a_resync(harness: &Harness) {
    let test = harness.open().await;
    let other = harness.open().await;
    for store in [test.store(), other.store()] {
        commit(store, [Sample::user(1).create()]).await;
    }
    let own = test.store().position().await.expect("position");
    let foreign = other.store().position().await.expect("position");
    assert_ne!(own.incarnation(), foreign.incarnation(), "of two stores");
    let made_up = Position::new(!own.incarnation(), own.sequence());
    for (id, position) in (10..).zip([foreign, made_up]) {
        let mut watching = test.watch(position).await;
        watching.until_fresh().await;
        let first = watching.events().first();
        assert!(matches!(first, Some(Change::Resync { .. })), "{first:?} comes first");
        let resync = watching.events().iter().find_map(|change| match change {
            Change::Resync { position } => Some(*position),
            _ => None,
        });
        watching.forget();
        let sample = Sample::user(id);
        commit(test.store(), [sample.create()]).await;
        watching.until_fresh().await;
        watching.assert_reported(&[(sample.kind, sample.id)]);
        // The position of a resync can be watched from.
        let mut again = test.watch(resync.expect("a resync")).await;
        again.until_fresh().await;
        assert!(!again.resynced(), "a resync for no reason");
        assert!(again.changed().contains(&(sample.kind, sample.id)));
    }
}

/// A watcher that does not read during more changes than a store must retain receives all of them, or
/// a resync.
pub async fn a_slow_watcher_gets_every_change_or_a_resync(harness: &Harness) {
    let test = harness.open().await;
    let mut unread = test.watch_from_now().await;
    let mut read_once = test.watch_from_now().await;
    read_once.until_fresh().await;
    read_once.forget();
    let expected = many_changes(test.store()).await;
    for watching in [&mut unread, &mut read_once] {
        assert_all_or_resync(&test, watching, &expected).await;
    }
}

/// A watch from an old position reports all changes, or a resync.
pub async fn an_old_position_gets_every_change_or_a_resync(harness: &Harness) {
    let test = harness.open().await;
    let start = test.store().position().await.expect("position");
    let sample = Sample::user(1);
    let first = commit(test.store(), [sample.create()]).await;
    let mut expected = many_changes(test.store()).await;
    let mut watching = test.watch(first).await;
    assert_all_or_resync(&test, &mut watching, &expected).await;
    expected.insert(0, (sample.kind, sample.id));
    let mut watching = test.watch(start).await;
    assert_all_or_resync(&test, &mut watching, &expected).await;
}

/// Makes more changes than a [`Feed`] retains.
async fn many_changes(store: &dyn Store) -> Vec<(Kind, Id)> {
    let mut changes = Vec::new();
    for some in 0..5 {
        let each = Feed::CAPACITY as u64 / 4;
        let ids = some * each + 1..=(some + 1) * each;
        let samples: Vec<_> = ids.map(Sample::bucket).collect();
        commit(store, samples.iter().map(Sample::create)).await;
        changes.extend(samples.iter().map(|sample| (sample.kind, sample.id)));
    }
    changes
}

async fn assert_all_or_resync(test: &TestStore, watching: &mut Watching, expected: &[(Kind, Id)]) {
    watching.until_fresh().await;
    let reported: HashSet<_> = watching.changed().into_iter().collect();
    let missed = expected.iter().filter(|change| !reported.contains(change));
    let missed = missed.count();
    assert!(
        missed == 0 || watching.resynced(),
        "{missed} of {} changes were neither reported nor covered by a resync",
        expected.len()
    );
    watching.forget();
    // Later changes are reported.
    let sample = Sample::authorization(expected.len() as u64);
    commit(test.store(), [sample.create()]).await;
    watching.until_fresh().await;
    watching.assert_reported(&[(sample.kind, sample.id)]);
    commit(test.store(), [sample.delete()]).await;
    watching.until_fresh().await;
}

/// Several watchers, with different positions and speeds, receive every change.
pub async fn every_watcher_gets_every_change(harness: &Harness) {
    let test = harness.open().await;
    let mut watchers = Vec::new();
    let mut expected = Vec::new();
    for id in 1..=24 {
        if id % 3 == 1 {
            watchers.push((expected.len(), test.watch_from_now().await));
        }
        let sample = Sample::user(id);
        commit(test.store(), [sample.create()]).await;
        expected.push((sample.kind, sample.id));
        for (number, (_, watching)) in watchers.iter_mut().enumerate() {
            if number % 2 == 0 {
                watching.poll_once();
            }
        }
    }
    for (start, watching) in &mut watchers {
        watching.until_fresh().await;
        let changed = watching.changed();
        let missed: Vec<_> =
            expected[*start..].iter().filter(|change| !changed.contains(change)).collect();
        assert!(missed.is_empty(), "the watcher from {start} on missed {missed:?}");
        assert!(!watching.resynced(), "a resync for no reason");
    }
}

/// Dropped watchers, whether they were read or not, affect neither writers nor other watchers.
pub async fn dropped_watchers_do_no_harm(harness: &Harness) {
    let test = harness.open().await;
    let mut stays = test.watch_from_now().await;
    let mut expected = Vec::new();
    for id in 1..=30 {
        let mut dropped = test.watch_from_now().await;
        let unread = test.watch_from_now().await;
        if id % 2 == 0 {
            dropped.poll_once();
        }
        let sample = Sample::user(id);
        commit(test.store(), [sample.create()]).await;
        expected.push((sample.kind, sample.id));
        if id == 15 {
            dropped.until_fresh().await;
        }
        drop((dropped, unread));
    }
    stays.until_fresh().await;
    stays.assert_reported(&expected);
}

/// Closing the store ends every stream of changes, including those that were never read or are
/// behind.
pub async fn watchers_end_when_the_store_is_closed(harness: &Harness) {
    let test = harness.open().await;
    let mut waiting = test.watch_from_now().await;
    waiting.until_fresh().await;
    let unread = test.watch_from_now().await;
    let mut behind = test.watch_from_now().await;
    behind.until_fresh().await;
    let batch = (1..=600).map(|id| Sample::user(id).create());
    commit(test.store(), batch).await;
    let ended = [waiting, unread, behind].map(|mut watching| {
        tokio::spawn(async move { while watching.next_or_end().await.is_some() {} })
    });
    test.store().close().await.expect("closing");
    for ended in ended {
        let ended = test.within_deadline("the stream ends", ended).await;
        ended.expect("a watcher");
    }
}
