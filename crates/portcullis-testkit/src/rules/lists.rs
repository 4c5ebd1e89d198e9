//! Lists: which records they have, in which order, on which pages.

use std::collections::BTreeSet;

use portcullis::store::{Index, Kind, Store};
use portcullis::{GrantKey, Id, OrgId, UserId};

use crate::access::{ALL, commit, list, list_ids, page};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};
use crate::random::Dice;

/// Returns sixty authorizations with ids over the whole range, in three orgs, of three users and with
/// three grants, and as many users with the same ids.
fn crowd() -> Vec<Sample> {
    let mut samples = Vec::new();
    for number in 0..60_u64 {
        let id = match number {
            0..20 => number + 1,
            20..40 => (1 << 63) - 10 + number,
            _ => u64::MAX - 59 + number,
        };
        let mut sample = Sample::authorization(id);
        if number % 4 != 3 {
            sample = sample.in_org(number % 4 + 1);
        }
        if number / 2 % 4 != 3 {
            sample = sample.of_user(u64::MAX - number / 2 % 4);
        }
        let grants = (0..3).filter(|grant| number >> grant & 1 == 1);
        sample = sample.granting(grants.map(fixtures::grant));
        samples.push(Sample { kind: Kind::User, ..sample.clone() });
        samples.push(sample);
    }
    samples
}

/// Shuffles the samples, reproducibly.
async fn put_shuffled(store: &dyn Store, samples: &[Sample]) {
    let mut shuffled: Vec<_> = samples.iter().collect();
    Dice::new(5).shuffle(&mut shuffled);
    for some in shuffled.chunks(16) {
        commit(store, some.iter().map(|sample| sample.create())).await;
    }
}

/// Returns every index of the crowd.
fn indexes(kind: Kind) -> Vec<Index> {
    let mut indexes = vec![Index::All(kind)];
    for number in 0..3 {
        indexes.push(Index::Org(kind, OrgId::from_u64(number + 1)));
        indexes.push(Index::User(kind, UserId::from_u64(u64::MAX - number)));
        indexes.push(Index::Grant(kind, fixtures::grant(number)));
    }
    indexes
}

/// Lists ascend by id, in whatever order the records were put.
pub async fn lists_ascend_by_id(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    put_shuffled(store, &crowd()).await;
    for index in indexes(Kind::Authorization) {
        let ids = list_ids(store, index, ALL).await;
        assert!(ids.len() > 10, "{index:?}: {ids:?}");
        assert!(ids.is_sorted(), "{index:?}: {ids:?}");
    }
}

/// Each index lists exactly the records that belong there, with their content.
pub async fn an_index_lists_exactly_its_records(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples = crowd();
    put_shuffled(store, &samples).await;
    let model = Model::of(samples.iter().map(|it| (it.record(), it.grants.clone())));
    // With indexes without records, and kinds without records.
    let mut universe = Universe::of(&samples);
    universe.add(&Sample::bucket(1).in_org(9).of_user(9));
    universe.add(&Sample::bucket(1).granting((3..50).map(fixtures::grant)));
    let view = universe.read(store).await;
    view.assert_same(&universe.expect(&model), "a crowd");
}

/// Kinds are listed separately, even if their records share ids, orgs, users and grants.
pub async fn kinds_are_listed_apart(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let grant = fixtures::grant(0);
    for (number, kind) in (0..).zip(Kind::ALL) {
        let samples = [10, 20 + number].map(|id| {
            let sample = Sample::of(kind, id).with_key(format!("{id}"));
            sample.in_org(1).of_user(1).granting([grant])
        });
        commit(store, samples.iter().map(Sample::create)).await;
    }
    for (number, kind) in (0..).zip(Kind::ALL) {
        for index in [
            Index::All(kind),
            Index::Org(kind, OrgId::from_u64(1)),
            Index::User(kind, UserId::from_u64(1)),
            Index::Grant(kind, grant),
        ] {
            for limit in [1, 2, ALL] {
                let ids = list_ids(store, index, limit).await;
                assert_eq!(ids, [10, 20 + number], "{index:?}");
            }
        }
    }
}

/// A page begins after the id of the request, whether a record has that id or not.
pub async fn the_cursor_is_exclusive(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples = crowd();
    put_shuffled(store, &samples).await;
    for index in indexes(Kind::Authorization) {
        let all = list_ids(store, index, ALL).await;
        let near = all.iter().flat_map(|id| [id.saturating_sub(1), *id, id.saturating_add(1)]);
        for after in near.chain([0, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX]) {
            let expected: Vec<_> = all.iter().copied().filter(|id| *id > after).collect();
            for limit in [1, ALL] {
                let (records, next) = page(store, index, Some(Id::from_u64(after)), limit).await;
                let found: Vec<_> = records.iter().map(|record| record.id.as_u64()).collect();
                let what = format!("{index:?} after {after:x}: {found:x?}, then {next:?}");
                assert!(expected.starts_with(&found), "{what}");
                assert!(found.len() == expected.len() || next.is_some(), "{what}");
            }
        }
    }
}

/// Pages hold at most the requested number of records, for any number.
pub async fn a_page_is_no_longer_than_its_limit(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    put_shuffled(store, &crowd()).await;
    for index in indexes(Kind::User) {
        for limit in [1, 2, 3, 5, 59, 60, 61, 1_000, usize::MAX >> 1, usize::MAX] {
            // Checks the length.
            let (records, next) = page(store, index, None, limit).await;
            assert!(!records.is_empty() || next.is_some(), "{index:?}: no page");
        }
    }
}

/// Every record is on exactly one page, whatever the length of the pages.
pub async fn pages_hold_every_record_once(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples = crowd();
    put_shuffled(store, &samples).await;
    let model = Model::of(samples.iter().map(|it| (it.record(), it.grants.clone())));
    let universe = Universe::of(&samples);
    universe.read(store).await.assert_same(&universe.expect(&model), "a crowd");
    for index in indexes(Kind::Authorization) {
        let all = list(store, index, ALL).await;
        for limit in [1, 2, 3, 7, 15, 30, 59, 60, 61, usize::MAX] {
            let paged = list(store, index, limit).await;
            assert!(paged == all, "{index:?} by {limit}: {paged:?}");
        }
    }
}

/// A list of many thousands is complete, by pages of any length.
pub async fn ten_thousand_records_are_listed_once(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let mut ids: Vec<u64> = (1..=10_000).collect();
    Dice::new(7).shuffle(&mut ids);
    for some in ids.chunks(1_000) {
        let create = |id: &u64| {
            let sample = Sample::authorization(*id).in_org(1).of_user(id % 3);
            sample.granting([fixtures::grant(0)]).create()
        };
        commit(store, some.iter().map(create)).await;
    }
    let kind = Kind::Authorization;
    for (index, limit) in [
        (Index::All(kind), 1_000),
        (Index::All(kind), 333),
        (Index::All(kind), 10_000),
        (Index::Org(kind, OrgId::from_u64(1)), 2_500),
        (Index::Grant(kind, fixtures::grant(0)), 9_999),
    ] {
        let listed = list_ids(store, index, limit).await;
        assert!(listed.into_iter().eq(1..=10_000), "{index:?} by {limit}");
    }
    let listed = list_ids(store, Index::User(kind, UserId::from_u64(1)), 1_000).await;
    assert!(listed.into_iter().eq((1..=10_000).step_by(3)));
}

/// A list of a hundred thousand is complete.
pub async fn a_hundred_thousand_records_are_listed_once(harness: &Harness) {
    const COUNT: u64 = 100_000;
    let test = harness.open().await;
    let store = test.store();
    let mut ids: Vec<u64> = (1..=COUNT).collect();
    Dice::new(11).shuffle(&mut ids);
    for some in ids.chunks(5_000) {
        let create = |id: &u64| Sample::authorization(*id).in_org(id % 2).create();
        commit(store, some.iter().map(create)).await;
    }
    let kind = Kind::Authorization;
    let listed = list_ids(store, Index::All(kind), 3_000).await;
    assert!(listed.into_iter().eq(1..=COUNT), "all");
    let listed = list_ids(store, Index::Org(kind, OrgId::from_u64(1)), 3_000).await;
    assert!(listed.into_iter().eq((1..=COUNT).step_by(2)), "the records in the org");
}

/// A record that is replaced with another org, user or grants is listed under these, and no longer
/// under the old ones.
pub async fn a_changed_record_moves_between_lists(harness: &Harness) {
    for kind in Kind::ALL {
        let test = harness.open().await;
        let store = test.store();
        let first = Sample::of(kind, 5)
            .in_org(1)
            .of_user(1)
            .granting([fixtures::grant(1), fixtures::grant(2)]);
        let bystander = Sample { id: Id::from_u64(6), ..first.clone() }.with_key("bystander");
        let mut nowhere = first.revised();
        (nowhere.org, nowhere.user) = (None, None);
        let mut generation = 0;
        let steps = [
            first.clone().in_org(2),
            first.clone().of_user(2),
            first.clone().granting([fixtures::grant(2), fixtures::grant(3)]),
            first.clone().in_org(3).of_user(3).granting([]),
            nowhere.clone().granting([]),
            nowhere.granting([fixtures::grant(1)]),
            first.clone(),
        ]
        .map(|step| {
            generation += 1;
            Sample { generation, ..step }
        });
        let universe = Universe::of(steps.iter().chain([&first, &bystander]));
        commit(store, [first.create(), bystander.create()]).await;
        let mut model = Model::default();
        let create = [first.create(), bystander.create()];
        model.commit(&create).expect("a valid batch");
        let mut now = first;
        for step in steps {
            commit(store, [step.replace(&now)]).await;
            model.commit(&[step.replace(&now)]).expect("a good batch");
            let when = format!("after {now:?} became {step:?}");
            let view = universe.read(store).await;
            view.assert_same(&universe.expect(&model), &when);
            now = step;
        }
    }
}

/// A record with several grant keys is listed once under each, even if a key was given twice.
pub async fn a_record_is_listed_once_under_each_of_its_grants(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let grants: Vec<GrantKey> = (0..50).map(fixtures::grant).collect();
    let all = Sample::authorization(1).granting(grants.iter().copied());
    let twice = Sample::authorization(2).granting([grants[3], grants[4], grants[3]]);
    let none = Sample::authorization(3);
    commit(store, [all.create(), twice.create(), none.create()]).await;
    for (number, grant) in grants.iter().enumerate() {
        let index = Index::Grant(Kind::Authorization, *grant);
        let expected = if [3, 4].contains(&number) { vec![1, 2] } else { vec![1] };
        assert_eq!(list_ids(store, index, ALL).await, expected, "{grant}");
        assert_eq!(list_ids(store, index, 1).await, expected, "{grant}");
    }
    let fewer = all.revised().granting(grants.iter().copied().skip(48));
    commit(store, [fewer.replace(&all), twice.delete()]).await;
    for (number, grant) in grants.iter().enumerate() {
        let index = Index::Grant(Kind::Authorization, *grant);
        let expected: &[u64] = if number >= 48 { &[1] } else { &[] };
        assert_eq!(list_ids(store, index, ALL).await, expected, "{grant}");
    }
}

/// Deleted records vanish from all lists, and from later pages.
pub async fn deleted_records_vanish_from_lists(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples = crowd();
    put_shuffled(store, &samples).await;
    let universe = Universe::of(&samples);
    let (deleted, left): (Vec<_>, Vec<_>) = (0..).zip(&samples).partition(|(n, _)| n % 3 == 0);
    commit(store, deleted.iter().map(|(_, sample)| sample.delete())).await;
    let rows = left.iter().map(|(_, sample)| (sample.record(), sample.grants.clone()));
    let model = Model::of(rows);
    let view = universe.read(store).await;
    view.assert_same(&universe.expect(&model), "after deletes");
}

/// While other records are created and deleted before, at and after the cursor, a record that exists
/// all the time is listed exactly once.
pub async fn what_stays_is_listed_once_while_others_come_and_go(harness: &Harness) {
    let kind = Kind::Authorization;
    for index in [
        Index::All(kind),
        Index::Org(kind, OrgId::from_u64(1)),
        Index::User(kind, UserId::from_u64(1)),
        Index::Grant(kind, fixtures::grant(1)),
    ] {
        for limit in [1, 2, 3, 10] {
            let test = harness.open().await;
            let store = test.store();
            let make = |id: u64| {
                let sample = Sample::of(kind, id).in_org(1).of_user(1);
                sample.granting([fixtures::grant(1)])
            };
            // Multiples of four stay; the others are created and deleted.
            let mut there: BTreeSet<u64> = (4..=200).step_by(2).collect();
            commit(store, there.iter().map(|id| make(*id).create())).await;
            let mut dice = Dice::new(limit as u64);
            let mut listed = Vec::new();
            let mut after = None;
            loop {
                let (records, next) = page(store, index, after, limit).await;
                listed.extend(records.iter().map(|record| record.id.as_u64()));
                let Some(next) = next else { break };
                after = Some(next);
                let mut batch = Vec::new();
                for _ in 0..6 {
                    let near = (next.as_u64() + 6).saturating_sub(dice.below(12) as u64);
                    let anywhere = dice.below(200) as u64;
                    for id in [near.max(1), anywhere.max(1)] {
                        if id.is_multiple_of(4) {
                            continue;
                        }
                        if there.insert(id) {
                            batch.push(make(id).create());
                        } else {
                            there.remove(&id);
                            batch.push(make(id).delete());
                        }
                    }
                }
                commit(store, batch).await;
            }
            let stayed = listed.iter().copied().filter(|id| id.is_multiple_of(4));
            assert!(stayed.eq((4..=200).step_by(4)), "{index:?} by {limit}: {listed:?}");
            assert!(listed.is_sorted_by(|a, b| a < b), "{listed:?}");
        }
    }
}
