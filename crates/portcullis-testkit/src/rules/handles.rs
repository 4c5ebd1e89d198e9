//! Several handles on the same data, as several processes or machines have. Of a store that is
//! not shared, they check that it does not say it is.

use std::sync::Arc;
use std::time::Duration;

use portcullis::store::{Index, Kind, StoreError};
use portcullis::{OrgId, UserId};

use super::concurrency::{increments_total, one_of_many_wins};
use super::feed::{assert_fresh_is_true, told_after};
use crate::access::{
    ALL, Refusal, assert_gone, assert_there, commit, get_by_key, list_ids, refused,
};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;

/// Within this time a change by one handle should be told by the others.
pub const TOLD_WITHIN: Duration = Duration::from_millis(250);

/// So much later than [`TOLD_WITHIN`] it may be on a machine that is busy.
pub const TOLERANCE: Duration = Duration::from_millis(750);

/// What one handle has committed is read through the other one from then on.
pub async fn a_change_is_read_through_the_other_handle_at_once(harness: &Harness) {
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    for round in 1..=20 {
        let (writer, reader) = match round % 2 {
            0 => (place.store(), &*other),
            _ => (&*other, place.store()),
        };
        let grants = [fixtures::grant(1)];
        let sample = Sample::authorization(round).in_org(1).of_user(1);
        let sample = sample.granting(grants);
        commit(writer, [sample.create()]).await;
        assert_there(reader, &sample).await;
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
        assert_there(writer, &renamed).await;
        assert!(get_by_key(writer, sample.kind, &sample.key).await.is_none());
        let taken = Sample::authorization(1_000).with_key("renamed");
        refused(writer, [taken.create()], Refusal::key_taken(&taken)).await;
        refused(writer, [sample.delete()], Refusal::conflict(&sample)).await;
        commit(writer, [renamed.delete()]).await;
        assert_gone(reader, &renamed).await;
    }
    other.close().await.expect("closing");
}

/// What one handle has committed is told to those who watch the other one, within
/// [`TOLD_WITHIN`] and a [`TOLERANCE`].
pub async fn a_change_is_told_to_the_other_handle_soon(harness: &Harness) {
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let mut theirs = place.watch_on(&*other, position).await;
    let mut ours = place.watch_from_now().await;
    let mut slowest = Duration::ZERO;
    let mut expected = Vec::new();
    for round in 1..=10 {
        let sample = Sample::user(round);
        let (writer, watching) = match round % 2 {
            0 => (place.store(), &mut theirs),
            _ => (&*other, &mut ours),
        };
        let late = told_after(&place, watching, writer, &sample).await;
        assert!(late <= TOLD_WITHIN + TOLERANCE, "told to the other handle only after {late:?}");
        slowest = slowest.max(late);
        expected.push((sample.kind, sample.id));
    }
    eprintln!("told to the other handle after {slowest:?} at most");
    // Everybody was told everything, their own changes too, in order.
    for watching in [&mut theirs, &mut ours] {
        watching.until_fresh().await;
        watching.assert_told(&expected);
    }
    other.close().await.expect("closing");
}

/// When a handle tells that it is fresh as of an instant, it has told all that the others had
/// committed before it.
pub async fn fresh_comes_after_the_other_handles_commits(harness: &Harness) {
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let watching = place.watch_on(&*other, position).await;
    let handles = [place.handle(), Arc::clone(&other), place.handle()];
    assert_fresh_is_true(&place, watching, &handles).await;
    other.close().await.expect("closing");
}

/// Of many that want the same id or the same unique key through several handles, one gets it.
pub async fn an_id_and_a_key_have_one_holder_across_handles(harness: &Harness) {
    for same_id in [false, true] {
        let place = harness.place().await;
        let Some(other) = place.second_handle().await else {
            return;
        };
        let handles = [place.handle(), Arc::clone(&other)];
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
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    increments_total(&[place.handle(), Arc::clone(&other)]).await;
    other.close().await.expect("closing");
}

/// A position of one handle is good for the other one: what comes after it is told, whoever did
/// it, or said to be missed.
pub async fn positions_are_good_for_the_other_handle(harness: &Harness) {
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    for round in 0..10 {
        let (one, two) = match round % 2 {
            0 => (place.store(), &*other),
            _ => (&*other, place.store()),
        };
        let ids = [1, 2, 3].map(|number| round * 10 + number);
        let samples = ids.map(|id| Sample::user(id).in_org(1));
        let asked = one.position().await.expect("position");
        let answered = commit(one, [samples[0].create()]).await;
        // At once, so that the other one may not have heard of it.
        let mut after_all = place.watch_on(two, asked).await;
        let mut after_first = place.watch_on(two, answered).await;
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
                    "round {round}: {} was neither told nor covered",
                    sample.id
                );
            }
        }
    }
    other.close().await.expect("closing");
}

/// Closing one handle ends its own streams and leaves the other handle, and its streams, working.
pub async fn closing_one_handle_leaves_the_others(harness: &Harness) {
    let place = harness.place().await;
    let Some(other) = place.second_handle().await else {
        return;
    };
    let position = other.position().await.expect("position");
    let mut theirs = place.watch_on(&*other, position).await;
    let mut ours = place.watch_from_now().await;
    other.close().await.expect("closing");
    let ended = async { while theirs.next_or_end().await.is_some() {} };
    place.soon("the stream ends", ended).await;
    let answer = other.position().await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    let sample = Sample::bucket(1);
    commit(place.store(), [sample.create()]).await;
    assert_there(place.store(), &sample).await;
    assert_eq!(list_ids(place.store(), Index::All(Kind::Bucket), 1).await, [1]);
    ours.until_fresh().await;
    ours.assert_told(&[(sample.kind, sample.id)]);
    let Some(third) = place.second_handle().await else {
        return;
    };
    assert_there(&*third, &sample).await;
    third.close().await.expect("closing");
}
