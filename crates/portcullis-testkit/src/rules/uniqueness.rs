//! Ids and unique keys belong to one record of their kind.

use portcullis::store::{Index, Kind};

use crate::access::{ALL, Refusal, assert_absent, assert_exists, commit, list_ids, refused};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;

/// A new record with a taken id is refused, with the id as the reason.
pub async fn a_taken_id_is_refused(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let there = Sample::of(kind, 5).with_key("there");
        let another = Sample::of(kind, 5).with_key("another");
        commit(store, [there.create()]).await;
        refused(store, [another.create()], Refusal::id_taken(&another)).await;
        assert_exists(store, &there).await;
    }
}

/// A new record with a taken unique key is refused, with the key as the reason.
pub async fn a_taken_key_is_refused(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let there = Sample::of(kind, 5).with_key("name").inactive();
        let another = Sample::of(kind, 6).with_key("name").in_org(7).of_user(8);
        commit(store, [there.create()]).await;
        refused(store, [another.create()], Refusal::key_taken(&another)).await;
        assert_exists(store, &there).await;
        let ids = list_ids(store, Index::All(kind), ALL).await;
        assert_eq!(ids, [5]);
    }
}

/// Records of different kinds may have the same id and the same unique key.
pub async fn kinds_do_not_share_ids_or_keys(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples = Kind::ALL.map(|kind| Sample::of(kind, 5).with_key("name").in_org(1));
    for sample in &samples {
        commit(store, [sample.create()]).await;
    }
    for sample in &samples {
        assert_exists(store, sample).await;
    }
    let (gone, rest) = samples.split_first().expect("a kind");
    commit(store, [gone.delete()]).await;
    assert_absent(store, gone).await;
    for sample in rest {
        assert_exists(store, sample).await;
    }
}

/// A record may keep its unique key when it is replaced.
pub async fn a_record_does_not_collide_with_itself(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let first = Sample::authorization(1).with_key("telegraf");
    let second = first.revised().in_org(2);
    commit(store, [first.create()]).await;
    commit(store, [second.replace(&first)]).await;
    assert_exists(store, &second).await;
    let other = Sample::authorization(2).with_key("telegraf");
    refused(store, [other.create()], Refusal::key_taken(&other)).await;
}

/// A record that is replaced with another unique key frees the old one.
pub async fn a_rename_frees_the_old_name_and_takes_the_new_one(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let old = Sample::authorization(1).with_key("old");
    let new = old.revised().with_key("new");
    commit(store, [old.create()]).await;
    commit(store, [new.replace(&old)]).await;
    assert_exists(store, &new).await;
    let on_new = Sample::authorization(2).with_key("new");
    refused(store, [on_new.create()], Refusal::key_taken(&on_new)).await;
    let on_old = Sample::authorization(2).with_key("old");
    commit(store, [on_old.create()]).await;
    assert_exists(store, &on_old).await;
    assert_exists(store, &new).await;
    // And back, in a batch that also deletes the other.
    let back = new.revised().with_key("old");
    refused(store, [back.replace(&new)], Refusal::key_taken(&back)).await;
    commit(store, [on_old.delete()]).await;
    commit(store, [back.replace(&new)]).await;
    assert_exists(store, &back).await;
    assert_absent(store, &on_new).await;
}

/// A record that is replaced with a taken unique key is refused as a whole.
pub async fn a_rename_onto_a_taken_name_changes_nothing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let mover = Sample::authorization(1)
        .with_key("mover")
        .in_org(1)
        .of_user(1)
        .granting([fixtures::grant(1)]);
    let holder = Sample::authorization(2).with_key("holder");
    commit(store, [mover.create(), holder.create()]).await;
    let moved =
        mover.revised().with_key("holder").in_org(2).of_user(2).granting([fixtures::grant(2)]);
    refused(store, [moved.replace(&mover)], Refusal::key_taken(&moved)).await;
    assert_exists(store, &mover).await;
    assert_exists(store, &holder).await;
    for (sample, listed) in [(&mover, vec![1]), (&moved, vec![])] {
        for index in [
            Index::Org(sample.kind, sample.org.expect("an org")),
            Index::User(sample.kind, sample.user.expect("a user")),
            Index::Grant(sample.kind, sample.grants[0]),
        ] {
            assert_eq!(list_ids(store, index, ALL).await, listed, "{index:?}");
        }
    }
    // Freed in the same batch, but too late: operations are applied in order.
    let batch = [moved.replace(&mover), holder.delete()];
    refused(store, batch, Refusal::key_taken(&moved)).await;
    assert_exists(store, &mover).await;
    assert_exists(store, &holder).await;
}

/// The id and unique key of a deleted record can be taken by others, and the deleted record's revision
/// cannot change them.
pub async fn what_was_deleted_is_free_again(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for kind in Kind::ALL {
        let first = Sample::of(kind, 5).with_key("name").in_org(1);
        commit(store, [first.create()]).await;
        commit(store, [first.delete()]).await;
        let same_id = Sample::of(kind, 5).with_key("another");
        let same_key = Sample::of(kind, 6).with_key("name");
        commit(store, [same_id.create()]).await;
        commit(store, [same_key.create()]).await;
        assert_exists(store, &same_id).await;
        assert_exists(store, &same_key).await;
        refused(store, [first.delete()], Refusal::conflict(&first)).await;
        let replace = first.revised().with_key("third").replace(&first);
        refused(store, [replace], Refusal::conflict(&first)).await;
        assert_exists(store, &same_id).await;
    }
}

/// Two records can swap names through a third name, in one batch.
pub async fn names_can_be_swapped_by_way_of_a_third(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let (one, two) = (Sample::user(1).with_key("one"), Sample::user(2).with_key("two"));
    commit(store, [one.create(), two.create()]).await;
    let away = one.revised().with_key("three");
    let two_as_one = two.revised().with_key("one");
    let one_as_two = away.revised().with_key("two");
    let swap = [away.replace(&one), two_as_one.replace(&two), one_as_two.replace(&away)];
    commit(store, swap).await;
    assert_exists(store, &one_as_two).await;
    assert_exists(store, &two_as_one).await;
    let free = Sample::user(3).with_key("three");
    commit(store, [free.create()]).await;
}
