//! A future that is dropped leaves its operation done in full or not at all.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use futures_util::poll;
use portcullis::snapshot::Snapshot;
use portcullis::store::{Index, Kind, Lookup, Operation, Store};
use portcullis::{Engine, ErrorKind, ExportError, Id, Name, Setup};

use crate::access::{ALL, assert_there, commit, get, get_by_key, list_ids};
use crate::dropping::{at_each_wait, poll_when_asked};
use crate::engines::cheap_hashing;
use crate::fixtures::{self, Sample};
use crate::harness::{Harness, Place};
use crate::watching::Watching;

const ROUNDS: u64 = 200;

/// A commit that is polled some times and then dropped is done in full or not at all; if it was
/// done it is announced, and the store goes on working.
pub async fn a_dropped_commit_is_done_in_full_or_not_at_all(harness: &Harness) {
    let place = harness.place().await;
    let mut trial = Trial::begin(&place).await;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let committed = place.store().commit(attempt.batch().into_iter().collect());
        if let Some(answer) = poll_for_a_while(committed, patience_of(round)).await {
            answer.expect("a good batch");
            assert!(trial.outcome(&attempt).await, "round {round}: not done");
        }
        trial.attempts.push(attempt);
        if round % 20 == 19 {
            trial.go_on_working().await;
        }
    }
    trial.finish().await;
}

/// The same at every point where a commit waits: it is polled only when it asks for that, and
/// dropped after the first poll, the second and so on, until it ends by itself.
pub async fn a_commit_may_be_dropped_wherever_it_waits(harness: &Harness) {
    let place = harness.place().await;
    let mut trial = Trial::begin(&place).await;
    let mut polls = 0;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let committed = place.store().commit(attempt.batch().into_iter().collect());
        let answer = place.soon("a commit", poll_when_asked(committed, polls)).await;
        polls += 1;
        if let Some(answer) = answer {
            answer.expect("a good batch");
            assert!(trial.outcome(&attempt).await, "round {round}: not done");
            // From the beginning, for it may wait elsewhere another time.
            polls = 0;
            trial.go_on_working().await;
        }
        trial.attempts.push(attempt);
    }
    trial.finish().await;
}

/// The same for tasks that are aborted while they commit, in parallel.
pub async fn aborted_tasks_leave_whole_batches(harness: &Harness) {
    let place = harness.place().await;
    let mut trial = Trial::begin(&place).await;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let (store, batch) = (place.handle(), attempt.batch());
        let task = tokio::spawn(async move { commit(&*store, batch).await });
        for _ in 0..patience_of(round) {
            tokio::task::yield_now().await;
        }
        task.abort();
        match task.await {
            Ok(_) => assert!(trial.outcome(&attempt).await, "round {round}: not done"),
            Err(error) => assert!(error.is_cancelled(), "round {round}: refused"),
        }
        trial.attempts.push(attempt);
        if round % 20 == 19 {
            trial.go_on_working().await;
        }
    }
    trial.finish().await;
}

/// How often to poll in this round: each small number of times, then more and more, up to what
/// takes longer than a commit.
fn patience_of(round: u64) -> u64 {
    match round % 50 {
        round @ 0..20 => round,
        round => 20 + (1 << ((round - 20) / 2)),
    }
}

/// Polls at most so many times, and drops the future then.
async fn poll_for_a_while<T>(future: impl Future<Output = T>, times: u64) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(answer) = poll!(future.as_mut()) {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// One batch: two records of different kinds come, one goes, one changes its name and its lists.
struct Attempt {
    round: u64,
    new: Sample,
    companion: Sample,
    doomed: Sample,
    old: Sample,
    renamed: Sample,
}

impl Attempt {
    fn new(round: u64) -> Self {
        let id = round * 10 + 1;
        let old = Sample::authorization(id + 1).in_org(1);
        let renamed = old.revised().with_key(format!("renamed {round}")).in_org(2);
        Self {
            round,
            new: Sample::authorization(id).in_org(3),
            companion: Sample::user(id),
            doomed: Sample::bucket(id).in_org(1),
            renamed: renamed.granting([fixtures::grant(1)]),
            old,
        }
    }

    fn batch(&self) -> Vec<Operation> {
        vec![
            self.new.create(),
            self.companion.create(),
            self.doomed.delete(),
            self.renamed.replace(&self.old),
        ]
    }

    /// What of the batch can be seen to be done, by what sees it.
    async fn look(&self, store: &dyn Store) -> Vec<(&'static str, bool)> {
        let is_there = async |sample: &Sample| {
            let found = get(store, sample.kind, sample.id).await;
            found.is_some_and(|found| found.revision == sample.revision())
        };
        let named = async |sample: &Sample| {
            let found = get_by_key(store, sample.kind, &sample.key).await;
            found.is_some()
        };
        vec![
            ("put", is_there(&self.new).await),
            ("put of another kind", is_there(&self.companion).await),
            ("unique key", named(&self.companion).await),
            ("delete", !is_there(&self.doomed).await),
            ("unique key of the deleted", !named(&self.doomed).await),
            ("replacement", is_there(&self.renamed).await),
            ("new name", named(&self.renamed).await),
            ("old name", !named(&self.old).await),
        ]
    }
}

/// What all rounds need.
struct Trial<'a> {
    place: &'a Place,
    watching: Watching,
    attempts: Vec<Attempt>,
    worked: u64,
}

impl<'a> Trial<'a> {
    async fn begin(place: &'a Place) -> Self {
        let there = (0..ROUNDS).map(Attempt::new);
        let there = there.flat_map(|it| [it.doomed.create(), it.old.create()]);
        commit(place.store(), there).await;
        Self { place, watching: place.watch_from_now().await, attempts: Vec::new(), worked: 0 }
    }

    /// Tells whether the batch was done. It may be done even now, so where half of it is seen,
    /// the rest must be seen soon.
    async fn outcome(&mut self, attempt: &Attempt) -> bool {
        let give_up = Instant::now() + self.place.patience();
        loop {
            let seen = attempt.look(self.place.store()).await;
            let done = seen[0].1;
            if seen.iter().all(|(_, it)| *it == done) {
                return done;
            }
            assert!(
                Instant::now() < give_up,
                "round {}: only half is done: {seen:?}",
                attempt.round
            );
            self.watching.next().await;
        }
    }

    /// Checks that the store has not been left unusable.
    async fn go_on_working(&mut self) {
        self.worked += 1;
        let sample = Sample::deletion(self.worked);
        let work = async {
            commit(self.place.store(), [sample.create()]).await;
            assert_there(self.place.store(), &sample).await;
        };
        self.place.soon("a commit after dropped ones", work).await;
    }

    /// Checks every round once more, and that all that was done was announced.
    async fn finish(mut self) {
        let mut expected = Vec::new();
        for attempt in std::mem::take(&mut self.attempts) {
            if self.outcome(&attempt).await {
                let samples = [&attempt.new, &attempt.companion, &attempt.doomed, &attempt.old];
                expected.extend(samples.map(|it| (attempt.round, it.kind, it.id)));
            }
        }
        // What is seen may be a moment before its end, and nobody waits for it; who commits after it
        // is answered after it.
        self.go_on_working().await;
        self.watching.until_fresh().await;
        assert!(!self.watching.resynced(), "a resync for no reason");
        let changed = self.watching.changed();
        for (round, kind, id) in expected {
            assert!(
                changed.contains(&(kind, id)),
                "round {round}: the change of {kind} {id} was never announced"
            );
        }
        self.go_on_working().await;
        // The lists agree with the lookups.
        let index = Index::All(Kind::Authorization);
        for id in list_ids(self.place.store(), index, ALL).await {
            let found = get(self.place.store(), index.kind(), Id::from_u64(id)).await;
            assert!(found.is_some(), "{id:x} is listed and not found");
        }
    }
}

/// What an engine does, each with many calls of the store, is done or not when it is dropped at any
/// wait, and can be done afterwards.
pub async fn an_engine_goes_on_after_dropped_operations(harness: &Harness) {
    let place = harness.place().await;
    let engine = Engine::builder(place.handle()).hashing(cheap_hashing(1)).build().await;
    let engine = engine.expect("an engine");
    let name = |text: String| Name::new(text).expect("a name");
    at_each_wait("deleting an org", |number| {
        let engine = engine.clone();
        async move {
            let org = engine.create_org(name(format!("gone {number}"))).await?;
            for bucket in 0..3 {
                engine.create_bucket(org.id, name(format!("bucket {bucket}"))).await?;
            }
            engine.delete_org(org.id).await
        }
    })
    .await;
    at_each_wait("export", |_| snapshot_of(engine.clone())).await;
    let text = snapshot_of(engine.clone()).await.expect("a snapshot");
    at_each_wait("import", |_| {
        let (engine, text) = (engine.clone(), text.clone());
        async move {
            let snapshot = Snapshot::read(text.as_slice()).expect("a snapshot");
            engine.import(snapshot, false).await
        }
    })
    .await;
    let again = snapshot_of(engine).await.expect("a snapshot");
    assert_eq!(again, text, "an import of what is there changes nothing");
}

/// Setting up a store that is dropped at any wait has done nothing, or all of it: another set-up
/// succeeds, or finds that everything is there.
pub async fn a_set_up_that_is_dropped_is_done_in_full_or_not_at_all(harness: &Harness) {
    let name = |text: &str| Name::new(text).expect("a name");
    let setup = || Setup { org: name("o"), user: name("u"), buckets: vec![name("b"), name("c")] };
    for polls in 1..=ROUNDS {
        let place = harness.place().await;
        let engine = Engine::builder(place.handle()).hashing(cheap_hashing(1)).build().await;
        let engine = engine.expect("an engine");
        let dropped = place.soon("a set-up", poll_when_asked(engine.setup(setup()), polls)).await;
        let is_over = dropped.is_some();
        if let Some(done) = dropped {
            done.expect("a set-up of a new store");
        }
        let again = place.soon("a set-up after a dropped one", engine.setup(setup())).await;
        match again {
            Ok(_) => assert!(!is_over, "{polls} polls: set up twice"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{polls} polls: {error}"),
        }
        for (kind, count) in
            [(Kind::Org, 1), (Kind::User, 1), (Kind::Bucket, 2), (Kind::ApiToken, 1)]
        {
            let ids = list_ids(place.store(), Index::All(kind), ALL).await;
            assert_eq!(ids.len(), count, "{polls} polls: {kind}");
        }
        if is_over {
            return;
        }
    }
    panic!("a set-up waits more than {ROUNDS} times");
}

async fn snapshot_of(engine: Engine) -> Result<Vec<u8>, ExportError> {
    let mut text = Vec::new();
    engine.export(&mut text).await.map(|_| text)
}

/// Reads, questions for the position and beginnings of watching that are dropped do no harm.
pub async fn dropped_reads_do_no_harm(harness: &Harness) {
    let place = harness.place().await;
    let store = place.store();
    let samples: Vec<_> = (1..=20).map(|id| Sample::user(id).in_org(1)).collect();
    commit(store, samples.iter().map(Sample::create)).await;
    let position = store.position().await.expect("position");
    let page = portcullis::store::PageRequest { after: None, limit: std::num::NonZeroUsize::MAX };
    for round in 0..ROUNDS {
        let times = round % 8;
        let sample = &samples[usize::try_from(round % 20).expect("a place")];
        let by_id = store.get(Lookup::Id(sample.kind, sample.id));
        poll_for_a_while(by_id, times).await;
        let by_key = store.get(Lookup::UniqueKey(sample.kind, &sample.key));
        poll_for_a_while(by_key, times).await;
        poll_for_a_while(store.list(Index::All(sample.kind), page), times).await;
        poll_for_a_while(store.position(), times).await;
        poll_for_a_while(store.watch(position), times).await;
        let works = assert_there(store, sample);
        place.soon("a read after dropped ones", works).await;
    }
    let new = Sample::user(100);
    let works = async {
        commit(store, [new.create()]).await;
        assert_there(store, &new).await;
        let mut watching = place.watch(position).await;
        watching.until_fresh().await;
        watching.assert_told(&[(new.kind, new.id)]);
    };
    place.soon("work after dropped reads", works).await;
}

/// A future for the next change that is dropped takes no change with it.
pub async fn a_dropped_question_for_changes_loses_none(harness: &Harness) {
    let place = harness.place().await;
    let mut watching = place.watch_from_now().await;
    let mut expected = Vec::new();
    for id in 1..=ROUNDS {
        for _ in 0..id % 4 {
            watching.poll_once();
            tokio::task::yield_now().await;
        }
        let sample = Sample::user(id);
        commit(place.store(), [sample.create()]).await;
        expected.push((sample.kind, sample.id));
        for _ in 0..id % 3 {
            watching.poll_once();
        }
    }
    watching.until_fresh().await;
    watching.assert_told(&expected);
}
