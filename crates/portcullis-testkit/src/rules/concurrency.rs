//! Of several conflicting commits one succeeds, and no reader sees a part of a commit.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use portcullis::store::{
    Entity, Expect, Index, Kind, Lookups, Operation, Position, Revision, Store, StoreError,
    StoreExt,
};
use portcullis::{
    Engine, ErrorKind, GrantKey, Id, Name, OrgId, Setup, Status, SystemRandom, User, UserId,
};
use tokio::sync::Barrier;

use crate::access::{
    ALL, Refusal, assert_absent, assert_exists, commit, get, get_by_key, list, list_ids, page,
    try_commit,
};
use crate::background::Background;
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};
use crate::random::Dice;
use crate::world::cheap_hashing;

/// Commits all batches concurrently, through the handles in turn. The order rotates in each round,
/// because the first ones are faster.
pub(super) async fn race(
    round: u64,
    handles: &[Arc<dyn Store>],
    batches: impl IntoIterator<Item = Vec<Operation>>,
) -> Vec<Result<Position, StoreError>> {
    let mut batches: Vec<_> = batches.into_iter().collect();
    let turn = usize::try_from(round).expect("a round") % batches.len();
    batches.rotate_left(turn);
    let start = Arc::new(Barrier::new(batches.len()));
    let racers = batches.into_iter().zip(handles.iter().cycle());
    let racers: Vec<_> = racers
        .map(|(batch, store)| {
            let (store, start) = (Arc::clone(store), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                try_commit(&*store, batch).await
            })
        })
        .collect();
    let responses = join_all(racers).await.into_iter();
    let mut responses: Vec<_> = responses.map(|response| response.expect("a racer")).collect();
    responses.rotate_right(turn);
    responses
}

/// Checks that one racer has won, and the others were refused as expected; returns the winner.
pub(super) fn one_winner(
    responses: Vec<Result<Position, StoreError>>,
    refusal: impl Fn(usize) -> Refusal,
) -> usize {
    let mut winners = Vec::new();
    for (racer, response) in responses.into_iter().enumerate() {
        match Refusal::of(response) {
            None => winners.push(racer),
            Some(reported) => assert_eq!(reported, refusal(racer), "of racer {racer}"),
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    winners[0]
}

/// Of engines that set the store up at the same time, one succeeds, and leaves nothing of the others.
pub async fn of_setups_at_the_same_time_one_wins(harness: &Harness) {
    for _ in 0..5 {
        let test = harness.open().await;
        let start = Arc::new(Barrier::new(6));
        let mut racers = Vec::new();
        for racer in 0..6 {
            let hashing = cheap_hashing().threads(1);
            let engine = Engine::builder(test.handle()).hashing(hashing).build().await;
            let (engine, start) = (engine.expect("an engine"), Arc::clone(&start));
            racers.push(tokio::spawn(async move {
                let name = Name::new(format!("racer {racer}")).expect("a name");
                let setup = Setup { org: name.clone(), user: name.clone(), buckets: vec![name] };
                start.wait().await;
                engine.setup(setup).await
            }));
        }
        let outcomes = join_all(racers).await.into_iter().map(|outcome| outcome.expect("a racer"));
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
        assert_eq!(won.len(), 1, "setups that succeeded");
        for error in lost.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
        }
        for kind in [Kind::Org, Kind::User, Kind::Bucket, Kind::ApiToken] {
            let ids = list_ids(test.store(), Index::All(kind), ALL).await;
            assert_eq!(ids.len(), 1, "{kind}");
        }
    }
}

/// Of many new records with the same unique key, one gets it.
pub async fn one_wins_a_key(harness: &Harness) {
    let test = harness.open().await;
    one_of_many_wins(&[test.handle()], 20, |round, racer| {
        let id = round * 100 + racer + 1;
        Sample::authorization(id).with_key(format!("round {round}"))
    })
    .await;
}

/// Of many new records with the same id, one gets it.
pub async fn one_wins_an_id(harness: &Harness) {
    let test = harness.open().await;
    one_of_many_wins(&[test.handle()], 20, |round, racer| {
        Sample::authorization(round + 1).with_key(format!("{round}, {racer}"))
    })
    .await;
}

/// In every round, lets 16 racers create the samples that `make` returns.
pub(super) async fn one_of_many_wins(
    handles: &[Arc<dyn Store>],
    rounds: u64,
    make: impl Fn(u64, u64) -> Sample,
) {
    for round in 0..rounds {
        let samples: Vec<_> = (0..16).map(|racer| make(round, racer)).collect();
        let responses = race(round, handles, samples.iter().map(|it| vec![it.create()])).await;
        let same_id = samples[0].id == samples[1].id;
        let winner = one_winner(responses, |racer| match same_id {
            true => Refusal::id_taken(&samples[racer]),
            false => Refusal::key_taken(&samples[racer]),
        });
        for store in handles {
            assert_exists(&**store, &samples[winner]).await;
            let ids = list_ids(&**store, Index::All(Kind::Authorization), ALL).await;
            assert_eq!(ids.len() as u64, round + 1, "records after {round} rounds");
        }
    }
}

/// Of many records that are renamed to the same name, one gets it and the others keep theirs.
pub async fn of_two_renames_to_a_name_one_wins(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for round in 0..20 {
        let samples: Vec<_> = (1..=8).map(|id| Sample::user(round * 10 + id)).collect();
        commit(store, samples.iter().map(Sample::create)).await;
        let renamed: Vec<_> = samples
            .iter()
            .map(|sample| sample.revised().with_key(format!("round {round}")))
            .collect();
        let batches = renamed.iter().zip(&samples);
        let batches = batches.map(|(new, old)| vec![new.replace(old)]);
        let responses = race(round, &[test.handle()], batches).await;
        let winner = one_winner(responses, |racer| Refusal::key_taken(&renamed[racer]));
        for (racer, sample) in samples.iter().enumerate() {
            if racer == winner {
                assert_exists(store, &renamed[racer]).await;
                assert!(get_by_key(store, Kind::User, &sample.key).await.is_none());
            } else {
                assert_exists(store, sample).await;
            }
        }
    }
}

/// Five workers that each increment a counter ten times, and retry on conflicts, reach fifty.
pub async fn increments_are_not_lost(harness: &Harness) {
    let test = harness.open().await;
    increments_total(&[test.handle()]).await;
}

/// Lets five workers increment, through the handles in turn.
pub(super) async fn increments_total(handles: &[Arc<dyn Store>]) {
    let id = UserId::from_u64(1);
    let name = |count: u32| Name::new(format!("count {count}")).expect("a name");
    let user = User { id, name: name(0), status: Status::Active };
    let revision = || Revision::generate(&SystemRandom).map_err(StoreError::backend);
    let record = user.to_record(revision().expect("a revision"));
    let put = Operation::Put {
        record: record.expect("a record"),
        grants: Vec::new(),
        expect: Expect::Absent,
    };
    commit(&*handles[0], [put]).await;
    let workers = (0..5).zip(handles.iter().cycle()).map(|(_, store)| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for _ in 0..10 {
                let increment = |user: &mut User| -> Result<(), StoreError> {
                    let count = user.name.as_str().strip_prefix("count ");
                    let count: u32 = count.expect("a count").parse().expect("a number");
                    user.name = name(count + 1);
                    Ok(())
                };
                match store.modify(id.untyped(), increment, &[], revision).await {
                    Ok(Some(_)) => {}
                    other => panic!("incrementing: {other:?}"),
                }
            }
        })
    });
    for worker in join_all(workers).await {
        worker.expect("a worker");
    }
    for store in handles {
        let found = store.find::<User>(id.untyped()).await.expect("find");
        assert_eq!(found.expect("the user").0.name, name(50));
        for count in 0..50 {
            let old = get_by_key(&**store, Kind::User, name(count).as_str()).await;
            assert!(old.is_none(), "`count {count}` is still found");
        }
    }
}

/// Of a put and a delete of the same revision one wins, and the record then exists or is deleted in
/// full.
pub async fn of_a_put_and_a_delete_one_wins(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let mut model = Model::default();
    let mut universe = Universe::default();
    for round in 1..=40 {
        let old = Sample::authorization(round).in_org(1).of_user(1).granting([fixtures::grant(1)]);
        let new =
            old.revised().with_key(format!("new {round}")).in_org(2).granting([fixtures::grant(2)]);
        universe.add(&old);
        universe.add(&new);
        commit(store, [old.create()]).await;
        let responses =
            race(round, &[test.handle()], [vec![new.replace(&old)], vec![old.delete()]]).await;
        let winner = one_winner(responses, |racer| match racer {
            0 => Refusal::missing(&new),
            _ => Refusal::conflict(&old),
        });
        if winner == 0 {
            model.commit(&[new.create()]).expect("a valid batch");
        }
    }
    let view = universe.read(store).await;
    view.assert_same(&universe.expect(&model), "after the races");
}

/// Of many deletes of a record, one succeeds.
pub async fn of_two_deletes_one_wins(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    for round in 1..=40 {
        let sample = Sample::user(round).in_org(1);
        commit(store, [sample.create()]).await;
        let batches = (0..2 + round % 3).map(|_| vec![sample.delete()]);
        let responses = race(round, &[test.handle()], batches).await;
        one_winner(responses, |_| Refusal::missing(&sample));
        assert_absent(store, &sample).await;
    }
    assert_eq!(list_ids(store, Index::All(Kind::User), ALL).await, [0; 0]);
}

/// A unique key that is freed while several records request it goes to one of them.
pub async fn a_freed_key_goes_to_one(harness: &Harness) {
    let test = harness.open().await;
    for round in 0..20 {
        let key = format!("round {round}");
        let holder = Sample::user(round * 10 + 1).with_key(key.as_str());
        commit(test.store(), [holder.create()]).await;
        let freed = Arc::new(AtomicBool::new(false));
        let heirs = (2..6).map(|number| {
            let heir = Sample::user(round * 10 + number).with_key(key.as_str());
            let (store, freed) = (test.handle(), Arc::clone(&freed));
            tokio::spawn(async move {
                loop {
                    let last = freed.load(Ordering::Acquire);
                    match Refusal::of(try_commit(&*store, [heir.create()]).await) {
                        None => return Some(heir),
                        Some(refusal) => assert_eq!(refusal, Refusal::key_taken(&heir)),
                    }
                    if last {
                        return None;
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let heirs: Vec<_> = heirs.collect();
        tokio::task::yield_now().await;
        let free = match round % 2 {
            0 => holder.delete(),
            _ => {
                let renamed = holder.revised().with_key(format!("was {round}"));
                renamed.replace(&holder)
            }
        };
        commit(test.store(), [free]).await;
        freed.store(true, Ordering::Release);
        let heirs = join_all(heirs).await.into_iter();
        let winners: Vec<_> = heirs.filter_map(|heir| heir.expect("an heir")).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_exists(test.store(), &winners[0]).await;
    }
}

/// Once a commit is acknowledged, every way of reading returns it.
pub async fn a_commit_is_visible_to_every_reader_at_once(harness: &Harness) {
    let test = harness.open().await;
    let grant = fixtures::grant(1);
    for round in 1..=30 {
        let sample = Sample::authorization(round).in_org(round).of_user(round).granting([grant]);
        commit(test.store(), [sample.create()]).await;
        let readers = (0..6).map(|_| {
            let (store, sample) = (test.handle(), sample.clone());
            tokio::spawn(async move {
                assert_exists(&*store, &sample).await;
                for index in [
                    Index::All(sample.kind),
                    Index::Org(sample.kind, OrgId::from_u64(round)),
                    Index::User(sample.kind, UserId::from_u64(round)),
                    Index::Grant(sample.kind, grant),
                ] {
                    let ids = list_ids(&*store, index, ALL).await;
                    assert_eq!(ids.last(), Some(&round), "{index:?}");
                }
            })
        });
        for reader in join_all(readers).await {
            reader.expect("a reader");
        }
        if round % 3 == 0 {
            commit(test.store(), [sample.delete()]).await;
            assert_absent(test.store(), &sample).await;
        }
    }
}

/// Reads of a record that changes never return an older revision than before, by id, by unique key or
/// in lists.
pub async fn reads_never_go_back(harness: &Harness) {
    const LAST: u64 = 150;
    let test = harness.open().await;
    let mut now = Sample::user(1).in_org(1).with_key("it");
    commit(test.store(), [now.create()]).await;
    let versions =
        std::iter::successors(Some(now.clone()), |it| (it.generation < LAST).then(|| it.revised()));
    let generations: HashMap<_, _> = versions.map(|it| (it.revision(), it.generation)).collect();
    let generations = Arc::new(generations);
    let mut readers = Background::default();
    for way in 0..4 {
        let newest = Arc::new(AtomicU64::new(0));
        let (store, generations) = (test.handle(), Arc::clone(&generations));
        readers.start(move || {
            let (store, generations) = (Arc::clone(&store), Arc::clone(&generations));
            let newest = Arc::clone(&newest);
            async move {
                let found = match way {
                    0 => get(&*store, Kind::User, Id::from_u64(1)).await,
                    1 => get_by_key(&*store, Kind::User, "it").await,
                    2 => list(&*store, Index::All(Kind::User), 1).await.pop(),
                    _ => {
                        let index = Index::Org(Kind::User, OrgId::from_u64(1));
                        list(&*store, index, 1).await.pop()
                    }
                };
                let generation = generations[&found.expect("the record").revision];
                let before = newest.swap(generation, Ordering::Relaxed);
                assert!(generation >= before, "{generation} after {before}");
            }
        });
    }
    while now.generation < LAST {
        let next = now.revised();
        commit(test.store(), [next.replace(&now)]).await;
        now = next;
        tokio::task::yield_now().await;
    }
    readers.stop().await;
}

/// Records that are always changed together are never listed on one page in different states.
pub async fn a_page_never_shows_half_a_batch(harness: &Harness) {
    const LAST: u64 = 100;
    let test = harness.open().await;
    let grant = fixtures::grant(1);
    let make = |generation: u64| -> Vec<Sample> {
        // The third is created and deleted.
        let ids = [1, 2].into_iter().chain(generation.is_multiple_of(2).then_some(3));
        ids.chain([4])
            .map(|id| Sample {
                generation,
                ..Sample::authorization(id).in_org(1).granting([grant])
            })
            .collect()
    };
    let generations: HashMap<_, _> =
        (0..=LAST).flat_map(make).map(|it| (it.revision(), it.generation)).collect();
    let generations = Arc::new(generations);
    let mut now = make(0);
    commit(test.store(), now.iter().map(Sample::create)).await;
    let mut readers = Background::default();
    for index in [
        Index::All(Kind::Authorization),
        Index::Org(Kind::Authorization, OrgId::from_u64(1)),
        Index::Grant(Kind::Authorization, grant),
    ] {
        let (store, generations) = (test.handle(), Arc::clone(&generations));
        readers.start(move || {
            let (store, generations) = (Arc::clone(&store), Arc::clone(&generations));
            async move {
                let (records, next) = page(&*store, index, None, ALL).await;
                if next.is_some() {
                    // A short page, which a store may return at any time.
                    return;
                }
                let seen: Vec<_> = records.iter().map(|it| generations[&it.revision]).collect();
                assert!(
                    seen.iter().all(|it| *it == seen[0]) && seen.len() as u64 == 4 - seen[0] % 2,
                    "{index:?} shows changes {seen:?} on one page"
                );
            }
        });
    }
    for generation in 1..=LAST {
        let next = make(generation);
        let mut batch = Vec::new();
        for sample in &next {
            match now.iter().find(|it| it.id == sample.id) {
                Some(old) => batch.push(sample.replace(old)),
                None => batch.push(sample.create()),
            }
        }
        let gone = now.iter().filter(|old| next.iter().all(|it| it.id != old.id));
        batch.extend(gone.map(Sample::delete));
        commit(test.store(), batch).await;
        now = next;
        tokio::task::yield_now().await;
    }
    readers.stop().await;
}

/// Many lookups, by id and by key, show one moment, while batches change the records together.
pub async fn many_lookups_never_show_half_a_batch(harness: &Harness) {
    const LAST: u64 = 100;
    const COUNT: u64 = 16;
    let test = harness.open().await;
    let make = |generation| -> Vec<Sample> {
        (1..=COUNT).map(|id| Sample { generation, ..Sample::authorization(id) }).collect()
    };
    let generations: HashMap<_, _> =
        (0..=LAST).flat_map(make).map(|it| (it.revision(), it.generation)).collect();
    let generations = Arc::new(generations);
    let mut now = make(0);
    let ids: Arc<[Id]> = now.iter().map(|it| it.id).collect();
    let keys: Arc<[Arc<str>]> = now.iter().map(|it| it.key.clone()).collect();
    commit(test.store(), now.iter().map(Sample::create)).await;
    let mut readers = Background::default();
    for by_key in [false, true] {
        let (store, generations) = (test.handle(), Arc::clone(&generations));
        let (ids, keys) = (Arc::clone(&ids), Arc::clone(&keys));
        readers.start(move || {
            let (store, generations) = (Arc::clone(&store), Arc::clone(&generations));
            let (ids, keys) = (Arc::clone(&ids), Arc::clone(&keys));
            async move {
                let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
                let lookups = match by_key {
                    true => Lookups::UniqueKeys(Kind::Authorization, &keys),
                    false => Lookups::Ids(Kind::Authorization, &ids),
                };
                let found = store.get_many(lookups).await.expect("get many");
                let found: Vec<_> =
                    found.iter().flatten().map(|it| generations[&it.revision]).collect();
                assert!(
                    found.iter().all(|it| *it == found[0]) && found.len() as u64 == COUNT,
                    "{lookups:?} finds changes {found:?} at once"
                );
            }
        });
    }
    for generation in 1..=LAST {
        let next = make(generation);
        commit(test.store(), next.iter().zip(&now).map(|(new, old)| new.replace(old))).await;
        now = next;
        tokio::task::yield_now().await;
    }
    readers.stop().await;
}

/// After many writers have put, renamed, moved and deleted the same few records, all lookups and lists
/// agree; and meanwhile no list returns a record that does not belong there.
pub async fn a_storm_leaves_records_and_indexes_in_agreement(harness: &Harness) {
    let test = harness.open().await;
    let kinds = [Kind::Authorization, Kind::User];
    let grants_of: Grants = Arc::default();
    let universe = Arc::new(Mutex::new(Universe::default()));
    let mut readers = Background::default();
    for number in 0..3 {
        let (store, grants_of) = (test.handle(), Arc::clone(&grants_of));
        readers.start(move || {
            let (store, grants_of) = (Arc::clone(&store), Arc::clone(&grants_of));
            async move {
                for kind in kinds {
                    listed_where_it_belongs(&*store, kind, number, &grants_of).await;
                }
            }
        });
    }
    let mut done = 0;
    for round in 0..8 {
        let writers = (0..6).map(|number| {
            let (store, grants_of) = (test.handle(), Arc::clone(&grants_of));
            let universe = Arc::clone(&universe);
            tokio::spawn(async move {
                let mut dice = Dice::new(round * 6 + number);
                let mut done = 0;
                for _ in 0..10 {
                    let mut batch = Vec::new();
                    for _ in 0..=dice.below(3) {
                        let sample = random_sample(&mut dice, &kinds);
                        universe.lock().unwrap().add(&sample);
                        let grants = sample.grants.clone();
                        grants_of.lock().unwrap().insert(sample.revision(), grants);
                        batch.push(random_change(&mut dice, &*store, &sample).await);
                    }
                    // Any refusal is expected, but no other error.
                    if Refusal::of(try_commit(&*store, batch).await).is_none() {
                        done += 1;
                    }
                }
                done
            })
        });
        for writer in join_all(writers).await {
            done += writer.expect("a writer");
        }
        let mut rows = Vec::new();
        for kind in kinds {
            for record in list(test.store(), Index::All(kind), ALL).await {
                let grants = grants_of.lock().unwrap()[&record.revision].clone();
                rows.push((record, grants));
            }
        }
        let universe = universe.lock().unwrap().clone();
        let view = universe.read(test.store()).await;
        view.assert_same(&universe.expect(&Model::of(rows)), "after the storm");
    }
    readers.stop().await;
    assert!(done > 40, "of 480 batches, {done} were committed");
}

type Grants = Arc<Mutex<HashMap<Revision, Vec<GrantKey>>>>;

fn random_sample(dice: &mut Dice, kinds: &[Kind]) -> Sample {
    let mut sample = Sample::of(dice.pick(kinds), dice.below(8) as u64 + 1)
        .with_key(dice.pick(&["a", "b", "c", "d", "e", "f"]))
        .granting((0..3).filter(|_| dice.one_in(2)).map(fixtures::grant));
    if dice.one_in(2) {
        sample = sample.in_org(dice.below(3) as u64);
    }
    if dice.one_in(2) {
        sample = sample.of_user(dice.below(3) as u64);
    }
    // Otherwise two of them could have the same revision for different changes.
    sample.generation = dice.roll();
    sample
}

/// Puts the sample, or deletes the record with its id, depending on what exists.
async fn random_change(dice: &mut Dice, store: &dyn Store, sample: &Sample) -> Operation {
    match get(store, sample.kind, sample.id).await {
        None => sample.create(),
        Some(there) if dice.one_in(4) => {
            Operation::Delete { kind: sample.kind, id: sample.id, expect: there.revision }
        }
        Some(there) => sample.put(Expect::Revision(there.revision)),
    }
}

async fn listed_where_it_belongs(store: &dyn Store, kind: Kind, number: u64, grants_of: &Grants) {
    let (records, _) = page(store, Index::All(kind), None, ALL).await;
    let keys: HashSet<_> = records.iter().map(|it| &it.unique_key).collect();
    assert_eq!(keys.len(), records.len(), "two records have one name: {records:?}");
    let (org, user) = (OrgId::from_u64(number), UserId::from_u64(number));
    for record in list(store, Index::Org(kind, org), 4).await {
        assert_eq!(record.org, Some(org), "{record:?} in the list of an org");
    }
    for record in list(store, Index::User(kind, user), 4).await {
        assert_eq!(record.user, Some(user), "{record:?} in the list of a user");
    }
    let grant = fixtures::grant(number);
    for record in list(store, Index::Grant(kind, grant), 4).await {
        let grants = grants_of.lock().unwrap()[&record.revision].clone();
        assert!(grants.contains(&grant), "{record:?} in the list of a grant");
    }
}
