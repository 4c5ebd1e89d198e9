//! Closing and reopening.

use futures_util::future::join_all;
use portcullis::store::{Batch, Index, Kind, Lookup, PageRequest, Record, StoreError, UniqueKey};
use portcullis::{GrantKey, Id};

use crate::access::{Refusal, assert_absent, assert_exists, commit, get, refused};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};

/// A closed store returns [`StoreError::Unavailable`] from every method.
pub async fn a_closed_store_refuses_everything(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
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

fn assert_unavailable<T>(what: &str, response: Result<T, StoreError>) {
    match response {
        Err(StoreError::Unavailable { .. }) => {}
        Err(error) => panic!("{what} after closing: {error:?}"),
        Ok(_) => panic!("{what} after closing succeeded"),
    }
}

/// A store may be closed twice, also concurrently.
pub async fn closing_twice_is_fine(harness: &Harness) {
    let test = harness.open().await;
    commit(test.store(), [Sample::user(1).create()]).await;
    let (one, two) = tokio::join!(test.store().close(), test.store().close());
    one.expect("closing");
    two.expect("closing at the same time");
    test.store().close().await.expect("closing again");
    assert_unavailable("position", test.store().position().await);
}

/// A commit in progress when the store is closed is done, or refused as unavailable; and this still
/// holds after the store is reopened.
pub async fn closing_finishes_commits_in_progress(harness: &Harness) {
    let test = harness.open().await;
    let samples: Vec<_> = (1..=64).map(Sample::user).collect();
    let commits = samples.iter().map(|sample| {
        let (store, batch) = (test.handle(), Batch::new().with(sample.create()));
        tokio::spawn(async move { store.commit(batch).await })
    });
    let mut commits: Vec<_> = commits.collect();
    // Some are done, and some are not, when the store is closed.
    let rest = commits.split_off(8);
    let first = test.within_deadline("some commits", join_all(commits)).await;
    let closed = test.within_deadline("closing", test.store().close()).await;
    closed.expect("closing");
    let rest = test.within_deadline("answers after closing", join_all(rest)).await;
    let mut done = Vec::new();
    for (number, response) in first.into_iter().chain(rest).enumerate() {
        done.push(match response.expect("a task") {
            Ok(_) => Some(true),
            Err(StoreError::Unavailable { .. }) if number >= 8 => Some(false),
            Err(StoreError::Indeterminate { .. }) if number >= 8 => None,
            Err(error) => panic!("commit {number} while closing: {error:?}"),
        });
    }
    let Some(store) = test.reopen().await else {
        return;
    };
    for (done, sample) in done.into_iter().zip(&samples) {
        match done {
            Some(true) => assert_exists(&*store, sample).await,
            Some(false) => assert_absent(&*store, sample).await,
            None => {}
        }
    }
    store.close().await.expect("closing");
}

/// A reopened store has all records, unique keys and lists, and accepts changes of them.
pub async fn a_reopened_store_has_everything(harness: &Harness) {
    let test = harness.open().await;
    let mut samples = rich_samples();
    commit(test.store(), samples.iter().map(Sample::create)).await;
    // With a history.
    let gone = samples.pop().expect("a sample");
    let old = samples.pop().expect("a sample");
    let new = old.revised().with_key("renamed").in_org(9).granting([fixtures::grant(9)]);
    commit(test.store(), [gone.delete(), new.replace(&old)]).await;
    samples.push(new);
    let mut universe = Universe::of(samples.iter().chain([&gone, &old]));
    let mut model = model_of(&samples);

    let Some(mut store) = test.reopen().await else {
        return;
    };
    let view = universe.read(&*store).await;
    view.assert_same(&universe.expect(&model), "after reopening");
    // Existing keys and revisions still conflict.
    let taken = Sample::of(samples[0].kind, 500).with_key(&*samples[0].key);
    refused(&*store, [taken.create()], Refusal::key_taken(&taken)).await;
    let conflict = old.revised().replace(&old);
    refused(&*store, [conflict], Refusal::conflict(&old)).await;
    for (id, change) in (600..).zip(&samples) {
        let next = change.revised().in_org(11);
        let new = Sample::of(change.kind, id).with_key(&*next.key);
        let batch = [next.replace(change), next.delete(), new.create()];
        model.commit(&batch).expect("a valid batch");
        commit(&*store, batch).await;
        universe.add(&next);
        universe.add(&new);
    }
    let view = universe.read(&*store).await;
    view.assert_same(&universe.expect(&model), "after changes after reopening");
    // Again.
    store.close().await.expect("closing");
    let Some(again) = test.reopen().await else {
        return;
    };
    store = again;
    let view = universe.read(&*store).await;
    view.assert_same(&universe.expect(&model), "after reopening twice");
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

/// A watch from a position from before a reopening reports all later changes, or a resync.
pub async fn positions_outlive_a_reopening_or_get_a_resync(harness: &Harness) {
    let test = harness.open().await;
    let start = test.store().position().await.expect("position");
    let first = Sample::user(1);
    let middle = commit(test.store(), [first.create()]).await;
    let second = Sample::user(2);
    let end = commit(test.store(), [second.create()]).await;
    let Some(store) = test.reopen().await else {
        return;
    };
    assert!(get(&*store, Kind::User, Id::from_u64(2)).await.is_some());
    let third = Sample::user(3);
    let mut early = Vec::new();
    for position in [start, middle, end] {
        early.push(test.watch_on(&*store, position).await);
    }
    commit(&*store, [third.create()]).await;
    let samples = [&first, &second, &third];
    for (done, position) in [start, middle, end].into_iter().enumerate() {
        let mut late = test.watch_on(&*store, position).await;
        for watching in [&mut early[done], &mut late] {
            watching.until_fresh().await;
            let changed = watching.changed();
            for sample in &samples[done..] {
                assert!(
                    watching.resynced() || changed.contains(&(sample.kind, sample.id)),
                    "from position {done} on, {} was neither reported nor covered",
                    sample.id
                );
            }
        }
    }
    drop(early);
    store.close().await.expect("closing");
}
