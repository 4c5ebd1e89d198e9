//! A batch is applied in order, and in full or not at all.

use portcullis::store::{Batch, Expect, Index, Kind, Operation, Revision, Store};

use crate::access::{ALL, Refusal, assert_absent, assert_exists, commit, list_ids, refused};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;
use crate::model::{Model, Universe};
use crate::random::Dice;

/// A failing operation at the end of a batch undoes the puts, deletes, renames and index changes before
/// it, whatever the reason.
pub async fn a_refused_batch_changes_nothing(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let (there, doomed, stays, new) = cast();
    let changed = changed(&there);
    commit(store, [there.create(), doomed.create(), stays.create()]).await;
    let universe = Universe::of([&there, &doomed, &stays, &new, &changed]);
    let before = universe.read(store).await;

    let never = Sample::user(77);
    let on_key = Sample::authorization(88).with_key(&*stays.key);
    let wrong = stays.revised();
    let last: [(Operation, Refusal); 9] = [
        (stays.create(), Refusal::id_taken(&stays)),
        (on_key.create(), Refusal::key_taken(&on_key)),
        (wrong.replace(&wrong), Refusal::conflict(&stays)),
        (wrong.delete(), Refusal::conflict(&stays)),
        (never.replace(&never), Refusal::missing(&never)),
        (never.delete(), Refusal::missing(&never)),
        (never.require(), Refusal::missing(&never)),
        // What existed before the batch and is deleted within it.
        (doomed.require(), Refusal::missing(&doomed)),
        (doomed.delete(), Refusal::missing(&doomed)),
    ];
    for (operation, refusal) in last {
        let when = format!("after a batch that ends with {operation:?}");
        let batch = [new.create(), changed.replace(&there), doomed.delete(), operation];
        refused(store, batch, refusal).await;
        universe.read(store).await.assert_same(&before, &when);
    }
    // Nothing of the batch is left that could conflict.
    commit(store, [new.create(), changed.replace(&there), doomed.delete(), stays.require()]).await;
    for sample in [&new, &changed, &stays] {
        assert_exists(store, sample).await;
    }
    assert_absent(store, &doomed).await;
}

/// A failing operation refuses the batch at every position in it.
pub async fn a_batch_is_refused_for_any_of_its_operations(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let (there, doomed, stays, new) = cast();
    let changed = changed(&there);
    commit(store, [there.create(), doomed.create(), stays.create()]).await;
    let universe = Universe::of([&there, &doomed, &stays, &new, &changed]);
    let before = universe.read(store).await;
    let good = [new.create(), changed.replace(&there), doomed.delete()];
    let never = Sample::user(77);
    for at in 0..=good.len() {
        let mut batch = good.to_vec();
        batch.insert(at, never.require());
        refused(store, batch, Refusal::missing(&never)).await;
        let when = format!("after a batch with an invalid operation at {at}");
        universe.read(store).await.assert_same(&before, &when);
    }
    // Of two failing operations, the first one decides.
    let batch = [never.require(), stays.create()];
    refused(store, batch, Refusal::missing(&never)).await;
    let batch = [stays.create(), never.require()];
    refused(store, batch, Refusal::id_taken(&stays)).await;
}

/// Four records: one that exists and changes, one that exists and is deleted, one that exists and
/// stays, and one that is created.
fn cast() -> (Sample, Sample, Sample, Sample) {
    let grants = [fixtures::grant(1), fixtures::grant(2)];
    let there = Sample::authorization(1).in_org(1).of_user(1);
    let doomed = Sample::authorization(2).in_org(1).of_user(1);
    let stays = Sample::authorization(3).in_org(2).of_user(2);
    let new = Sample::authorization(4).in_org(1).of_user(2);
    (there.granting(grants), doomed.granting(grants), stays.granting(grants), new.granting(grants))
}

fn changed(there: &Sample) -> Sample {
    there
        .revised()
        .with_key("renamed")
        .in_org(3)
        .of_user(3)
        .granting([fixtures::grant(2), fixtures::grant(3)])
}

/// Each operation sees the effects of the earlier ones in its batch.
pub async fn operations_see_the_effects_of_earlier_ones(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let sample = Sample::bucket(1).in_org(1);
    let next = sample.revised().in_org(2);
    let refused_later = [
        (vec![sample.require(), sample.create()], Refusal::missing(&sample)),
        (vec![sample.delete(), sample.create()], Refusal::missing(&sample)),
        (vec![sample.create(), sample.create()], Refusal::id_taken(&sample)),
        (vec![sample.create(), next.delete()], Refusal::conflict(&sample)),
        (vec![sample.create(), sample.delete(), sample.require()], Refusal::missing(&sample)),
        (vec![sample.create(), next.replace(&sample), sample.delete()], Refusal::conflict(&sample)),
    ];
    for (batch, refusal) in refused_later {
        refused(store, batch, refusal).await;
        assert_absent(store, &sample).await;
    }

    commit(store, [sample.create(), sample.require(), sample.delete()]).await;
    assert_absent(store, &sample).await;
    commit(
        store,
        [sample.create(), next.replace(&sample), next.require(), next.delete(), sample.create()],
    )
    .await;
    assert_exists(store, &sample).await;
    commit(store, [sample.delete(), next.create(), next.require()]).await;
    assert_exists(store, &next).await;
    for (org, listed) in [(1, vec![]), (2, vec![1])] {
        let index = Index::Org(Kind::Bucket, portcullis::OrgId::from_u64(org));
        assert_eq!(list_ids(store, index, ALL).await, listed, "{index:?}");
    }
}

/// A unique key that an operation frees can be taken later in the same batch, and one that it takes
/// cannot.
pub async fn keys_are_freed_and_taken_within_a_batch(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let one = Sample::user(1).with_key("name");
    let two = Sample::user(2).with_key("name");
    refused(store, [one.create(), two.create()], Refusal::key_taken(&two)).await;
    assert_absent(store, &one).await;
    commit(store, [one.create()]).await;
    commit(store, [one.delete(), two.create()]).await;
    assert_exists(store, &two).await;
    let renamed = two.revised().with_key("another");
    commit(store, [renamed.replace(&two), one.create()]).await;
    assert_exists(store, &renamed).await;
    assert_exists(store, &one).await;
    let batch = [one.create(), two.create()];
    refused(store, batch, Refusal::id_taken(&one)).await;
    let three = Sample::user(3).with_key("another");
    let batch = [renamed.delete(), three.create(), two.create()];
    refused(store, batch, Refusal::key_taken(&two)).await;
    assert_exists(store, &renamed).await;
    assert_exists(store, &one).await;
    assert_absent(store, &Sample::user(3)).await;
}

/// A batch of several thousand operations is applied in full, or not at all.
pub async fn large_batches_are_whole(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    const SIZE: u64 = 5_000;
    let samples: Vec<_> = (1..=SIZE).map(|id| Sample::bucket(id).in_org(1)).collect();
    let last = samples.last().expect("a sample");
    let batch = samples.iter().map(Sample::create);
    let failing = batch.clone().chain([last.create()]);
    refused(store, failing, Refusal::id_taken(last)).await;
    let all = Index::All(Kind::Bucket);
    assert_eq!(list_ids(store, all, ALL).await, [0; 0]);
    commit(store, batch).await;
    let org = Index::Org(Kind::Bucket, portcullis::OrgId::from_u64(1));
    for index in [all, org] {
        assert!(list_ids(store, index, ALL).await.into_iter().eq(1..=SIZE));
    }
    assert_exists(store, last).await;
}

/// A batch over the bound is refused, and changes nothing.
pub async fn a_batch_over_the_bound_is_refused(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let sample = Sample::user(1);
    let new = Sample::user(2);
    commit(store, [sample.create()]).await;
    let batch = std::iter::once(new.create())
        .chain(std::iter::repeat_with(|| sample.require()).take(Batch::MAX_OPERATIONS));
    let batch: Batch = batch.collect();
    assert_eq!(batch.len(), Batch::MAX_OPERATIONS + 1);
    let refusal = Refusal::of(store.commit(batch).await);
    assert_eq!(refusal, Some(Refusal::TooLarge));
    assert_absent(store, &new).await;
    assert_exists(store, &sample).await;
}

/// Random batches of all operations, valid and invalid, have the same outcome as in a plain model.
pub async fn random_batches_agree_with_a_model(harness: &Harness) {
    const BATCHES: usize = 250;
    for seed in [1, 2, 3] {
        let test = harness.open().await;
        let store = test.store();
        let mut dice = Dice::new(seed);
        let mut model = Model::default();
        let mut universe = Universe::default();
        let mut done = 0;
        for number in 0..BATCHES {
            let batch = random_batch(&mut dice, &model, &mut universe);
            let expected = model.commit(&batch);
            let when = format!("seed {seed}, batch {number}: {batch:?}");
            let refusal = Refusal::of(store.commit(batch.into_iter().collect()).await);
            match (&expected, refusal) {
                (Ok(()), None) => done += 1,
                (Err(expected), Some(refusal)) if expected.contains(&refusal) => {}
                _ => panic!("{when}: the result is {refusal:?} instead of {expected:?}"),
            }
            if number % 10 == 9 || expected.is_err() {
                read(store, &universe, &model, &when).await;
            }
        }
        // Otherwise the random batches are unsuitable.
        assert!((BATCHES / 10..BATCHES * 9 / 10).contains(&done), "{done} committed");
        read(store, &universe, &model, "at the end").await;
    }
}

async fn read(store: &dyn Store, universe: &Universe, model: &Model, when: &str) {
    let view = universe.read(store).await;
    view.assert_same(&universe.expect(model), when);
}

fn random_batch(dice: &mut Dice, model: &Model, universe: &mut Universe) -> Vec<Operation> {
    // So few of each that operations collide.
    const KINDS: [Kind; 2] = [Kind::Authorization, Kind::User];
    const IDS: [u64; 6] = [1, 2, 3, 1 << 63, (1 << 63) + 1, u64::MAX];
    const KEYS: [&str; 8] = ["a", "A", "b", "b ", "\u{e9}", "e\u{301}", "\0", "%"];
    // The model with the valid operations of the batch so far.
    let mut scratch = model.clone();
    let mut batch = Vec::new();
    for _ in 0..=dice.below(4) {
        let (kind, id) = (dice.pick(&KINDS), dice.pick(&IDS));
        let mut sample = Sample::of(kind, id).with_key(dice.pick(&KEYS));
        sample.generation = dice.roll();
        if !dice.one_in(3) {
            sample = sample.in_org(dice.pick(&IDS));
        }
        if !dice.one_in(3) {
            sample = sample.of_user(dice.pick(&IDS));
        }
        if dice.one_in(4) {
            sample = sample.inactive();
        }
        let grants = dice.below(4);
        let grant = |dice: &mut Dice| fixtures::grant(dice.below(5) as u64);
        sample = sample.granting((0..grants).map(|_| grant(dice)));
        universe.add(&sample);
        // Mostly the current revision.
        let revision = match scratch.find(kind, sample.id) {
            Some(there) if !dice.one_in(8) => there.revision,
            _ => Revision::from_u128(u128::from(dice.roll())),
        };
        let there = scratch.find(kind, sample.id).is_some();
        let operation = match dice.below(10) {
            0 => sample.require(),
            1 | 2 => Operation::Delete { kind, id: sample.id, expect: revision },
            _ if there != dice.one_in(8) => sample.put(Expect::Revision(revision)),
            _ => sample.create(),
        };
        let _ = scratch.commit(std::slice::from_ref(&operation));
        batch.push(operation);
    }
    batch
}
