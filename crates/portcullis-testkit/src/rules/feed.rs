//! Every change is told, or it is told that some were not.

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
use crate::harness::{Harness, Place};
use crate::watching::{Watching, changed};

/// Within this time a watcher of a store that is at rest is told that it is fresh.
pub const FRESH_WITHIN: Duration = Duration::from_secs(2);

/// The position stays while nothing changes and is another one after a change.
pub async fn the_position_moves_with_changes_only(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
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
        assert!(!seen.contains(&now), "{now:?} has been there before");
        get(store, Kind::User, Id::from_u64(1)).await;
        list_ids(store, portcullis::store::Index::All(Kind::User), 1).await;
        let never = Sample::org(9);
        refused(store, [never.require()], Refusal::missing(&never)).await;
        commit(store, []).await;
        assert_eq!(position().await, now, "nothing changed");
        seen.push(now);
    }
}

/// All that is done to records is told, with kind and id, in the order of the commits and, within
/// a batch, of the operations.
pub async fn every_change_is_told_in_order(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
    let before = Sample::user(1);
    commit(store, [before.create()]).await;
    let mut early = place.watch_from_now().await;
    let start = store.position().await.expect("position");
    let (batches, expected) = history(&before);
    for batch in batches {
        commit(store, batch).await;
    }
    let mut late = place.watch(start).await;
    for watching in [&mut early, &mut late] {
        watching.until_fresh().await;
        watching.assert_told(&expected);
    }
}

/// Batches, and what is to be told of them.
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

        // Kinds that share an id; requirements are no changes.
        let kinds = Kind::ALL.map(|kind| Sample::of(kind, 1_000 + number));
        batches.push(kinds.iter().map(Sample::create).collect());
        expected.extend(kinds.iter().map(of));
        batches.push(vec![kinds[0].require(), kinds[2].delete(), kinds[1].delete()]);
        expected.extend([of(&kinds[2]), of(&kinds[1])]);
    }
    (batches, expected)
}

/// Each position that comes with a change, or as the answer to a commit, is one to watch from:
/// all that comes later is told.
pub async fn every_position_is_one_to_go_on_from(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
    let there = Sample::user(1);
    commit(store, [there.create()]).await;
    let mut watching = place.watch_from_now().await;
    let (batches, expected) = history(&there);
    let mut answers = Vec::new();
    let mut done = 0;
    for batch in batches {
        let requirements = |it: &&Operation| matches!(it, Operation::Require { .. });
        done += batch.len() - batch.iter().filter(requirements).count();
        answers.push((commit(store, batch).await, done));
    }
    watching.until_fresh().await;
    watching.assert_told(&expected);
    let mut told = Vec::new();
    let mut display_url = 0;
    for change in watching.told() {
        if let Change::Changed { kind, id, position } = change
            // Told again; its position is that of a later time.
            && expected.get(display_url) == Some(&(*kind, *id))
        {
            display_url += 1;
            told.push((*position, display_url));
        }
    }
    let mut resumed = Vec::new();
    for (position, done) in told.into_iter().chain(answers) {
        resumed.push((place.watch(position).await, done));
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
                "after {done} changes, {change:?} was not told in its turn: {changed:?}"
            );
        }
    }
}

/// Whoever watches a store at rest is told soon that it is fresh, as of a time that is not before
/// it began.
pub async fn a_watcher_is_told_soon_that_it_is_fresh(harness: &Harness) {
    let place = harness.place().await;
    fresh_soon(&mut place.watch_from_now().await).await;
    let start = place.store().position().await.expect("position");
    commit(place.store(), [Sample::user(1).create()]).await;
    let mut watching = place.watch(start).await;
    fresh_soon(&mut watching).await;
    watching.assert_told(&[(Kind::User, Id::from_u64(1))]);
}

async fn fresh_soon(watching: &mut Watching) {
    let began = Instant::now();
    let fresh = tokio::time::timeout(FRESH_WITHIN, watching.until_fresh_as_of(began)).await;
    assert!(fresh.is_ok(), "not fresh within {FRESH_WITHIN:?}");
}

/// While nothing changes, it is told again and again that this is so, and of later and later
/// times.
pub async fn fresh_is_told_again_and_again(harness: &Harness) {
    let place = harness.place().await;
    commit(place.store(), [Sample::user(1).create()]).await;
    let mut watching = place.watch_from_now().await;
    for _ in 0..3 {
        fresh_soon(&mut watching).await;
    }
    let times = watching.told().iter().map(|change| match change {
        Change::Fresh { as_of } => *as_of,
        other => panic!("{other:?} while nothing changes"),
    });
    assert!(times.is_sorted_by(|a, b| a <= b), "an earlier time later");
}

/// Also while others write without a pause, a watcher is told that it is fresh.
pub async fn fresh_is_told_while_others_write(harness: &Harness) {
    let place = harness.place().await;
    let mut watching = place.watch_from_now().await;
    let mut writers = Background::default();
    for id in 1..=2 {
        let now = Arc::new(Mutex::new(Sample::user(id)));
        commit(place.store(), [Sample::user(id).create()]).await;
        let store = place.handle();
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
    for _ in 0..3 {
        fresh_soon(&mut watching).await;
        watching.forget();
    }
    writers.stop().await;
}

/// When it is told to be fresh as of an instant, all that was committed before the instant has
/// been told.
pub async fn fresh_comes_after_all_that_was_committed_before_it(harness: &Harness) {
    let place = harness.place().await;
    let watching = place.watch_from_now().await;
    let handles = [place.handle(), place.handle()];
    assert_fresh_is_true(&place, watching, &handles).await;
}

/// Lets the handles write, and compares what the watcher is told with the times of the answers.
pub(super) async fn assert_fresh_is_true(
    place: &Place,
    mut watching: Watching,
    handles: &[Arc<dyn Store>],
) {
    const ROUNDS: u64 = 4;
    const EACH: u64 = 20;
    let mut clock = place.watch_from_now().await;
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
            // Reading while they write.
            loop {
                tokio::select! {
                    written = &mut writers => break check(written),
                    _ = watching.next() => {}
                }
            }
        } else {
            // Behind when it is time to be told again that it is fresh.
            check(place.soon("the writers end", writers).await);
            clock.until_fresh().await;
        }
        watching.until_fresh().await;
    }
    assert!(!watching.resynced(), "a resync for no reason");
    let done = done.lock().unwrap();
    let mut told = HashSet::new();
    for change in watching.told() {
        told.extend(changed(change).map(|(_, id)| id));
        if let Change::Fresh { as_of } = change {
            for (at, id) in done.iter().filter(|(at, _)| at < as_of) {
                assert!(
                    told.contains(id),
                    "fresh is told before {id}, which was committed {:?} before it",
                    *as_of - *at
                );
            }
        }
    }
    assert_eq!(told.len(), done.len(), "changes told");
}

fn check(tasks: Vec<Result<(), JoinError>>) {
    for task in tasks {
        task.expect("a writer");
    }
}

/// A watcher that waits is told of a change when it happens.
pub async fn a_waiting_watcher_is_woken(harness: &Harness) {
    let place = harness.place().await;
    let mut watching = place.watch_from_now().await;
    watching.until_fresh().await;
    for id in 1..=5 {
        let late = told_after(&place, &mut watching, place.store(), &Sample::user(id)).await;
        assert!(late < FRESH_WITHIN, "told after {late:?}");
    }
}

/// Creates the record while the watcher waits; returns how long after the answer it was told.
pub(super) async fn told_after(
    place: &Place,
    watching: &mut Watching,
    store: &dyn Store,
    sample: &Sample,
) -> Duration {
    watching.until_fresh().await;
    let told = async {
        while changed(&watching.next().await) != Some((sample.kind, sample.id)) {}
        Instant::now()
    };
    let committed = async {
        commit(store, [sample.create()]).await;
        Instant::now()
    };
    // The first one is polled first, so that it waits already.
    let both = async { tokio::join!(told, committed) };
    let (told, committed) = place.soon("a change is told", both).await;
    told.saturating_duration_since(committed)
}

/// A batch that was refused is not told, not even in part.
pub async fn a_refused_batch_is_not_told(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
    let there = Sample::user(1);
    commit(store, [there.create()]).await;
    let mut watching = place.watch_from_now().await;
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
    watching.assert_told(&[(after.kind, after.id)]);
}

/// A position of another store, or of an earlier life of this one, is answered with a resync, and
/// later changes are told.
pub async fn a_foreign_position_is_told_to_resync(harness: &Harness) {
    let place = harness.place().await;
    let other = harness.place().await;
    for store in [place.store(), other.store()] {
        commit(store, [Sample::user(1).create()]).await;
    }
    let own = place.store().position().await.expect("position");
    let foreign = other.store().position().await.expect("position");
    assert_ne!(own.incarnation(), foreign.incarnation(), "of two stores");
    let made_up = Position::new(!own.incarnation(), own.sequence());
    for (id, position) in (10..).zip([foreign, made_up]) {
        let mut watching = place.watch(position).await;
        watching.until_fresh().await;
        let first = watching.told().first();
        assert!(matches!(first, Some(Change::Resync { .. })), "{first:?} is told first");
        let resync = watching.told().iter().find_map(|change| match change {
            Change::Resync { position } => Some(*position),
            _ => None,
        });
        watching.forget();
        let sample = Sample::user(id);
        commit(place.store(), [sample.create()]).await;
        watching.until_fresh().await;
        watching.assert_told(&[(sample.kind, sample.id)]);
        // And the position that comes with a resync is a good one.
        let mut again = place.watch(resync.expect("a resync")).await;
        again.until_fresh().await;
        assert!(!again.resynced(), "a resync for no reason");
        assert!(again.changed().contains(&(sample.kind, sample.id)));
    }
}

/// A watcher that does not read for more changes than any store has to keep is told them all, or
/// that it has to read again.
pub async fn whoever_falls_behind_loses_nothing_unsaid(harness: &Harness) {
    let place = harness.place().await;
    let mut unread = place.watch_from_now().await;
    let mut read_once = place.watch_from_now().await;
    read_once.until_fresh().await;
    read_once.forget();
    let expected = many_changes(place.store()).await;
    for watching in [&mut unread, &mut read_once] {
        assert_all_or_resync(&place, watching, &expected).await;
    }
}

/// A position of long ago is as good as a new one, or told to resync.
pub async fn whoever_comes_back_late_loses_nothing_unsaid(harness: &Harness) {
    let place = harness.place().await;
    let start = place.store().position().await.expect("position");
    let sample = Sample::user(1);
    let first = commit(place.store(), [sample.create()]).await;
    let mut expected = many_changes(place.store()).await;
    let mut watching = place.watch(first).await;
    assert_all_or_resync(&place, &mut watching, &expected).await;
    expected.insert(0, (sample.kind, sample.id));
    let mut watching = place.watch(start).await;
    assert_all_or_resync(&place, &mut watching, &expected).await;
}

/// Makes more changes than a [`Feed`] keeps.
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

async fn assert_all_or_resync(place: &Place, watching: &mut Watching, expected: &[(Kind, Id)]) {
    watching.until_fresh().await;
    let told: HashSet<_> = watching.changed().into_iter().collect();
    let missed = expected.iter().filter(|change| !told.contains(change));
    let missed = missed.count();
    assert!(
        missed == 0 || watching.resynced(),
        "{missed} of {} changes were neither told nor covered by a resync",
        expected.len()
    );
    watching.forget();
    // And it goes on.
    let sample = Sample::authorization(expected.len() as u64);
    commit(place.store(), [sample.create()]).await;
    watching.until_fresh().await;
    watching.assert_told(&[(sample.kind, sample.id)]);
    commit(place.store(), [sample.delete()]).await;
    watching.until_fresh().await;
}

/// Several watchers, of different positions and speed, are each told everything.
pub async fn every_watcher_is_told_everything(harness: &Harness) {
    let place = harness.place().await;
    let mut watchers = Vec::new();
    let mut expected = Vec::new();
    for id in 1..=24 {
        if id % 3 == 1 {
            watchers.push((expected.len(), place.watch_from_now().await));
        }
        let sample = Sample::user(id);
        commit(place.store(), [sample.create()]).await;
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
        assert!(missed.is_empty(), "the one from {start} on missed {missed:?}");
        assert!(!watching.resynced(), "a resync for no reason");
    }
}

/// Watchers that were dropped, read or not, stop neither writers nor other watchers.
pub async fn dropped_watchers_do_no_harm(harness: &Harness) {
    let place = harness.place().await;
    let mut stays = place.watch_from_now().await;
    let mut expected = Vec::new();
    for id in 1..=30 {
        let mut dropped = place.watch_from_now().await;
        let unread = place.watch_from_now().await;
        if id % 2 == 0 {
            dropped.poll_once();
        }
        let sample = Sample::user(id);
        commit(place.store(), [sample.create()]).await;
        expected.push((sample.kind, sample.id));
        if id == 15 {
            dropped.until_fresh().await;
        }
        drop((dropped, unread));
    }
    stays.until_fresh().await;
    stays.assert_told(&expected);
}

/// Closing the store ends every stream of changes, also those that nobody has read from and those
/// that are behind.
pub async fn watchers_end_when_the_store_is_closed(harness: &Harness) {
    let place = harness.place().await;
    let mut waiting = place.watch_from_now().await;
    waiting.until_fresh().await;
    let unread = place.watch_from_now().await;
    let mut behind = place.watch_from_now().await;
    behind.until_fresh().await;
    let batch = (1..=600).map(|id| Sample::user(id).create());
    commit(place.store(), batch).await;
    let ended = [waiting, unread, behind].map(|mut watching| {
        tokio::spawn(async move { while watching.next_or_end().await.is_some() {} })
    });
    place.store().close().await.expect("closing");
    for ended in ended {
        let ended = place.soon("the stream ends", ended).await;
        ended.expect("a watcher");
    }
}
