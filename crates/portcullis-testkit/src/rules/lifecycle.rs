//! Closing, and opening again.

use futures_util::future::join_all;
use portcullis::store::{Batch, Index, Kind, Lookup, PageRequest, Record, StoreError, UniqueKey};
use portcullis::{GrantKey, Id};

use crate::access::{Refusal, assert_gone, assert_there, commit, get, refused};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};

/// Everything that is asked of a store after it was closed is answered with
/// [`StoreError::Unavailable`].
pub async fn a_closed_store_refuses_everything(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
    let sample = Sample::user(1);
    commit(store, [sample.create()]).await;
    let position = store.position().await.expect("position");
    store.close().await.expect("closing");
    let limit = std::num::NonZeroUsize::MIN;
    let page = PageRequest { after: None, limit };
    let lookups = [Lookup::Id(sample.kind, sample.id), Lookup::UniqueKey(sample.kind, &sample.key)];
    for lookup in lookups {
        assert_unavailable("get", store.get(lookup).await);
    }
    for index in [Index::All(Kind::User), Index::Grant(Kind::User, fixtures::grant(0))] {
        assert_unavailable("list", store.list(index, page).await);
    }
    for batch in [
        Batch::new().with(sample.require()),
        Batch::new().with(sample.delete()),
        Batch::new().with(Sample::user(2).create()),
    ] {
        assert_unavailable("commit", store.commit(batch).await);
    }
    assert_unavailable("position", store.position().await);
    assert_unavailable("watch", store.watch(position).await.map(drop));
}

fn assert_unavailable<T>(what: &str, answer: Result<T, StoreError>) {
    match answer {
        Err(StoreError::Unavailable { .. }) => {}
        Err(error) => panic!("{what} after closing: {error:?}"),
        Ok(_) => panic!("{what} after closing was answered"),
    }
}

/// A store may be closed twice, also at the same time.
pub async fn closing_twice_is_fine(harness: &Harness) {
    let place = harness.place().await;
    commit(place.store(), [Sample::user(1).create()]).await;
    let (one, two) = tokio::join!(place.store().close(), place.store().close());
    one.expect("closing");
    two.expect("closing at the same time");
    place.store().close().await.expect("closing again");
    assert_unavailable("position", place.store().position().await);
}

/// What is being committed when the store is closed is done, or refused as unavailable; and that
/// is true after the store was opened again.
pub async fn closing_finishes_what_was_begun(harness: &Harness) {
    let place = harness.place().await;
    let samples: Vec<_> = (1..=64).map(Sample::user).collect();
    let commits = samples.iter().map(|sample| {
        let (store, batch) = (place.handle(), Batch::new().with(sample.create()));
        tokio::spawn(async move { store.commit(batch).await })
    });
    let mut commits: Vec<_> = commits.collect();
    // Some are done, and some are not, when it is closed.
    let rest = commits.split_off(8);
    let first = place.soon("some commits", join_all(commits)).await;
    let closed = place.soon("closing", place.store().close()).await;
    closed.expect("closing");
    let rest = place.soon("answers after closing", join_all(rest)).await;
    let mut done = Vec::new();
    for (number, answer) in first.into_iter().chain(rest).enumerate() {
        done.push(match answer.expect("a task") {
            Ok(_) => Some(true),
            Err(StoreError::Unavailable { .. }) if number >= 8 => Some(false),
            Err(StoreError::Indeterminate { .. }) if number >= 8 => None,
            Err(error) => panic!("commit {number} while closing: {error:?}"),
        });
    }
    let Some(store) = place.reopen().await else {
        return;
    };
    for (done, sample) in done.into_iter().zip(&samples) {
        match done {
            Some(true) => assert_there(&*store, sample).await,
            Some(false) => assert_gone(&*store, sample).await,
            None => {}
        }
    }
    store.close().await.expect("closing");
}

/// A store that was closed and opened again has every record, every unique key and every list as
/// before, and goes on from there.
pub async fn a_reopened_store_has_everything(harness: &Harness) {
    let place = harness.place().await;
    let mut samples = rich_samples();
    commit(place.store(), samples.iter().map(Sample::create)).await;
    // With a past.
    let gone = samples.pop().expect("a sample");
    let old = samples.pop().expect("a sample");
    let new = old.revised().with_key("renamed").in_org(9).granting([fixtures::grant(9)]);
    commit(place.store(), [gone.delete(), new.replace(&old)]).await;
    samples.push(new);
    let mut universe = Universe::of(samples.iter().chain([&gone, &old]));
    let mut model = model_of(&samples);

    let Some(mut store) = place.reopen().await else {
        return;
    };
    let sight = universe.look(&*store).await;
    sight.assert_same(&universe.expect(&model), "after reopening");
    // What is there still counts.
    let taken = Sample::of(samples[0].kind, 500).with_key(&*samples[0].key);
    refused(&*store, [taken.create()], Refusal::key_taken(&taken)).await;
    let conflict = old.revised().replace(&old);
    refused(&*store, [conflict], Refusal::conflict(&old)).await;
    for (id, change) in (600..).zip(&samples) {
        let next = change.revised().in_org(11);
        let new = Sample::of(change.kind, id).with_key(&*next.key);
        let batch = [next.replace(change), next.delete(), new.create()];
        model.commit(&batch).expect("a good batch");
        commit(&*store, batch).await;
        universe.add(&next);
        universe.add(&new);
    }
    let sight = universe.look(&*store).await;
    sight.assert_same(&universe.expect(&model), "after changes after reopening");
    // And once more.
    store.close().await.expect("closing");
    let Some(again) = place.reopen().await else {
        return;
    };
    store = again;
    let sight = universe.look(&*store).await;
    sight.assert_same(&universe.expect(&model), "after reopening twice");
    store.close().await.expect("closing");
}

fn rich_samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for kind in Kind::ALL {
        for id in [1, 1 << 63, u64::MAX] {
            let grants: Vec<GrantKey> = (0..id % 7).map(fixtures::grant).collect();
            let sample = Sample::of(kind, id).in_org(id % 3).of_user(id);
            samples.push(sample.granting(grants));
        }
        samples.push(Sample::of(kind, 2).with_key(fixtures::names().remove(40)));
        samples.push(Sample::of(kind, 3).with_key("nul \0 and \u{e9}").inactive());
        let longest = "k".repeat(UniqueKey::MAX_BYTES);
        samples.push(Sample::of(kind, 4).with_key(longest));
        let body = format!(r#"{{"v":1,"text":"{}"}}"#, "ä\\u0000".repeat(1_000));
        samples.push(Sample::of(kind, 5).with_body(body));
    }
    samples
}

fn model_of(samples: &[Sample]) -> Model {
    let row =
        |sample: &Sample| -> (Record, Vec<GrantKey>) { (sample.record(), sample.grants.clone()) };
    Model::of(samples.iter().map(row))
}

/// A position of before the store was closed is good after it was opened again, or told to
/// resync: changes after it are told, or are said to be missed.
pub async fn positions_outlive_a_reopening_or_are_told_to_resync(harness: &Harness) {
    let place = harness.place().await;
    let start = place.store().position().await.expect("position");
    let first = Sample::user(1);
    let middle = commit(place.store(), [first.create()]).await;
    let second = Sample::user(2);
    let end = commit(place.store(), [second.create()]).await;
    let Some(store) = place.reopen().await else {
        return;
    };
    assert!(get(&*store, Kind::User, Id::from_u64(2)).await.is_some());
    let third = Sample::user(3);
    let mut early = Vec::new();
    for position in [start, middle, end] {
        early.push(place.watch_on(&*store, position).await);
    }
    commit(&*store, [third.create()]).await;
    let samples = [&first, &second, &third];
    for (done, position) in [start, middle, end].into_iter().enumerate() {
        let mut late = place.watch_on(&*store, position).await;
        for watching in [&mut early[done], &mut late] {
            watching.until_fresh().await;
            let changed = watching.changed();
            for sample in &samples[done..] {
                assert!(
                    watching.resynced() || changed.contains(&(sample.kind, sample.id)),
                    "from position {done} on, {} was neither told nor covered",
                    sample.id
                );
            }
        }
    }
    drop(early);
    store.close().await.expect("closing");
}
