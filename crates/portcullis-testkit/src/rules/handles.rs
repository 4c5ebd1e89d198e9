//! Several handles on the same data, like several processes or machines. For a store that is not
//! shared, the rules check that its fixture offers no second handle.

use std::sync::Arc;
use std::time::Duration;

use portcullis::store::{Index, Kind, StoreError};
use portcullis::{OrgId, UserId};

use super::concurrency::{increments_total, one_of_many_wins};
use super::feed::{assert_fresh_is_true, report_delay};
use crate::access::{
    ALL, Refusal, assert_absent, assert_exists, commit, get_by_key, list_ids, refused,
};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;

/// Within this time a change by one handle should be reported by the others.
pub const REPORTED_WITHIN: Duration = Duration::from_millis(250);

/// How much longer than [`REPORTED_WITHIN`] it may take on a busy machine.
pub const TOLERANCE: Duration = Duration::from_millis(750);

/// Once a commit by one handle is acknowledged, the other one reads it.
pub async fn a_change_is_read_through_the_other_handle_at_once(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    for round in 1..=20 {
        let (writer, reader) = match round % 2 {
            0 => (test.store(), &*other),
            _ => (&*other, test.store()),
        };
        let grants = [fixtures::grant(1)];
        let sample = Sample::authorization(round).in_org(1).of_user(1);
        let sample = sample.granting(grants);
        commit(writer, [sample.create()]).await;
        assert_exists(reader, &sample).await;
        for index in [
            Index::All(sample.kind),
            Index::Org(sample.kind, OrgId::from_u64(1)),
            Index::User(sample.kind, UserId::from_u64(1)),
            Index::Grant(sample.kind, grants[0]),
        ] {
            assert_eq!(list_ids(reader, index, ALL).await, [round], "{index:?}");
        }
        let renamed = sample.revised().with_key("renamed");
        commit(reader, [renamed.replace(&sample)]).await;
        assert_exists(writer, &renamed).await;
        assert!(get_by_key(writer, sample.kind, &sample.key).await.is_none());
        let taken = Sample::authorization(1_000).with_key("renamed");
        refused(writer, [taken.create()], Refusal::key_taken(&taken)).await;
        refused(writer, [sample.delete()], Refusal::conflict(&sample)).await;
        commit(writer, [renamed.delete()]).await;
        assert_absent(reader, &renamed).await;
    }
    other.close().await.expect("closing");
}

/// A commit by one handle is reported to watchers of the other one, within [`REPORTED_WITHIN`] and a
/// [`TOLERANCE`].
pub async fn a_change_is_reported_to_the_other_handle_soon(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let mut theirs = test.watch_on(&*other, position).await;
    let mut ours = test.watch_from_now().await;
    let mut slowest = Duration::ZERO;
    let mut expected = Vec::new();
    for round in 1..=10 {
        let sample = Sample::user(round);
        let (writer, watching) = match round % 2 {
            0 => (test.store(), &mut theirs),
            _ => (&*other, &mut ours),
        };
        let delay = report_delay(&test, watching, writer, &sample).await;
        assert!(
            delay <= REPORTED_WITHIN + TOLERANCE,
            "reported to the other handle after {delay:?}"
        );
        slowest = slowest.max(delay);
        expected.push((sample.kind, sample.id));
    }
    eprintln!("reported to the other handle after {slowest:?} at most");
    // All changes are reported to both, including their own, in order.
    for watching in [&mut theirs, &mut ours] {
        watching.until_fresh().await;
        watching.assert_reported(&expected);
    }
    other.close().await.expect("closing");
}

/// A report of freshness as of an instant follows the changes of all commits by other handles before
/// that instant.
pub async fn freshness_follows_the_commits_of_other_handles(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let watching = test.watch_on(&*other, position).await;
    let handles = [test.handle(), Arc::clone(&other), test.handle()];
    assert_fresh_is_true(&test, watching, &handles).await;
    other.close().await.expect("closing");
}

/// Of many creations with the same id or the same unique key through several handles, one succeeds.
pub async fn an_id_and_a_key_have_one_holder_across_handles(harness: &Harness) {
    for same_id in [false, true] {
        let test = harness.open().await;
        let Some(other) = test.second_handle().await else {
            return;
        };
        let handles = [test.handle(), Arc::clone(&other)];
        one_of_many_wins(&handles, 10, |round, racer| {
            if same_id {
                Sample::authorization(round + 1).with_key(format!("{round}, {racer}"))
            } else {
                Sample::authorization(round * 100 + racer + 1).with_key(format!("round {round}"))
            }
        })
        .await;
        other.close().await.expect("closing");
    }
}

/// Increments by workers on several handles are not lost.
pub async fn increments_through_several_handles_are_not_lost(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    increments_total(&[test.handle(), Arc::clone(&other)]).await;
    other.close().await.expect("closing");
}

/// A position of one handle can be watched from on the other one: all later changes by any handle are
/// reported, or covered by a resync.
pub async fn positions_are_valid_on_the_other_handle(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    for round in 0..10 {
        let (one, two) = match round % 2 {
            0 => (test.store(), &*other),
            _ => (&*other, test.store()),
        };
        let ids = [1, 2, 3].map(|number| round * 10 + number);
        let samples = ids.map(|id| Sample::user(id).in_org(1));
        let before = one.position().await.expect("position");
        let after = commit(one, [samples[0].create()]).await;
        // At once: the other handle may not have polled yet.
        let mut after_all = test.watch_on(two, before).await;
        let mut after_first = test.watch_on(two, after).await;
        commit(one, [samples[1].create()]).await;
        commit(two, [samples[2].create()]).await;
        for (watching, expected) in
            [(&mut after_all, &samples[..]), (&mut after_first, &samples[1..])]
        {
            watching.until_fresh().await;
            let changed = watching.changed();
            for sample in expected {
                assert!(
                    watching.resynced() || changed.contains(&(sample.kind, sample.id)),
                    "round {round}: {} was neither reported nor covered",
                    sample.id
                );
            }
        }
    }
    other.close().await.expect("closing");
}

/// Closing one handle ends its own streams; the other handle and its streams continue.
pub async fn closing_one_handle_leaves_the_others_open(harness: &Harness) {
    let test = harness.open().await;
    let Some(other) = test.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let mut theirs = test.watch_on(&*other, position).await;
    let mut ours = test.watch_from_now().await;
    other.close().await.expect("closing");
    let ended = async { while theirs.next_or_end().await.is_some() {} };
    test.within_deadline("the stream ends", ended).await;
    let response = other.position().await;
    assert!(matches!(response, Err(StoreError::Unavailable { .. })), "{response:?}");
    let sample = Sample::bucket(1);
    commit(test.store(), [sample.create()]).await;
    assert_exists(test.store(), &sample).await;
    assert_eq!(list_ids(test.store(), Index::All(Kind::Bucket), 1).await, [1]);
    ours.until_fresh().await;
    ours.assert_reported(&[(sample.kind, sample.id)]);
    let Some(third) = test.second_handle().await else {
        return;
    };
    assert_exists(&*third, &sample).await;
    third.close().await.expect("closing");
}
