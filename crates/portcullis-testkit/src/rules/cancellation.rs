//! Dropping a future leaves its operation done in full or not at all.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use futures_util::poll;
use portcullis::snapshot::Snapshot;
use portcullis::store::{Index, Kind, Lookup, Operation, Store};
use portcullis::{Engine, ErrorKind, ExportError, Id, Name, Setup};

use crate::access::{ALL, assert_exists, commit, get, get_by_key, list_ids};
use crate::dropping::{at_each_await, poll_when_woken};
use crate::fixtures::{self, Sample};
use crate::harness::{Harness, TestStore};
use crate::watching::Watching;
use crate::world::cheap_hashing;

const ROUNDS: u64 = 200;

/// A commit that is polled a few times and then dropped is done in full or not at all. If it was done,
/// it is announced; the store continues to work.
pub async fn a_dropped_commit_is_done_in_full_or_not_at_all(harness: &Harness) {
    let test = harness.open().await;
    let mut trial = Trial::begin(&test).await;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let committed = test.store().commit(attempt.batch().into_iter().collect());
        if let Some(response) = poll_for_a_while(committed, polls_of(round)).await {
            response.expect("a valid batch");
            assert!(trial.outcome(&attempt).await, "round {round}: not done");
        }
        trial.attempts.push(attempt);
        if round % 20 == 19 {
            trial.check_works().await;
        }
    }
    trial.finish().await;
}

/// The same at each await of a commit: it is polled only when it is woken, and dropped after the first
/// poll, the second one, and so on, until it completes.
pub async fn a_commit_may_be_dropped_at_any_await(harness: &Harness) {
    let test = harness.open().await;
    let mut trial = Trial::begin(&test).await;
    let mut polls = 0;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let committed = test.store().commit(attempt.batch().into_iter().collect());
        let response = test.within_deadline("a commit", poll_when_woken(committed, polls)).await;
        polls += 1;
        if let Some(response) = response {
            response.expect("a valid batch");
            assert!(trial.outcome(&attempt).await, "round {round}: not done");
            // Restart at the first await, because another commit may wait elsewhere.
            polls = 0;
            trial.check_works().await;
        }
        trial.attempts.push(attempt);
    }
    trial.finish().await;
}

/// The same for tasks that are aborted during their commits, concurrently.
pub async fn aborted_tasks_leave_whole_batches(harness: &Harness) {
    let test = harness.open().await;
    let mut trial = Trial::begin(&test).await;
    for round in 0..ROUNDS {
        let attempt = Attempt::new(round);
        let (store, batch) = (test.handle(), attempt.batch());
        let task = tokio::spawn(async move { commit(&*store, batch).await });
        for _ in 0..polls_of(round) {
            tokio::task::yield_now().await;
        }
        task.abort();
        match task.await {
            Ok(_) => assert!(trial.outcome(&attempt).await, "round {round}: not done"),
            Err(error) => assert!(error.is_cancelled(), "round {round}: refused"),
        }
        trial.attempts.push(attempt);
        if round % 20 == 19 {
            trial.check_works().await;
        }
    }
    trial.finish().await;
}

/// Returns how often to poll in this round: each small number, then increasing ones, up to more than a
/// commit takes.
fn polls_of(round: u64) -> u64 {
    match round % 50 {
        round @ 0..20 => round,
        round => 20 + (1 << ((round - 20) / 2)),
    }
}

/// Polls at most this often, and then drops the future.
async fn poll_for_a_while<T>(future: impl Future<Output = T>, times: u64) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(response) = poll!(future.as_mut()) {
            return Some(response);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A batch that creates two records of different kinds, deletes one, and renames and moves one.
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

    /// Returns which effects of the batch are visible, each under its name.
    async fn read(&self, store: &dyn Store) -> Vec<(&'static str, bool)> {
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

/// The state of all rounds.
struct Trial<'a> {
    test: &'a TestStore,
    watching: Watching,
    attempts: Vec<Attempt>,
    worked: u64,
}

impl<'a> Trial<'a> {
    async fn begin(test: &'a TestStore) -> Self {
        let there = (0..ROUNDS).map(Attempt::new);
        let there = there.flat_map(|it| [it.doomed.create(), it.old.create()]);
        commit(test.store(), there).await;
        Self { test, watching: test.watch_from_now().await, attempts: Vec::new(), worked: 0 }
    }

    /// Tells whether the batch was done. It may still be in progress: if one half is visible, the other
    /// half must follow.
    async fn outcome(&mut self, attempt: &Attempt) -> bool {
        let deadline = Instant::now() + self.test.deadline();
        loop {
            let seen = attempt.read(self.test.store()).await;
            let done = seen[0].1;
            if seen.iter().all(|(_, it)| *it == done) {
                return done;
            }
            assert!(
                Instant::now() < deadline,
                "round {}: only half is done: {seen:?}",
                attempt.round
            );
            self.watching.next().await;
        }
    }

    /// Checks that the store still works.
    async fn check_works(&mut self) {
        self.worked += 1;
        let sample = Sample::deletion(self.worked);
        let work = async {
            commit(self.test.store(), [sample.create()]).await;
            assert_exists(self.test.store(), &sample).await;
        };
        self.test.within_deadline("a commit after dropped ones", work).await;
    }

    /// Checks every round again, and that all changes were announced.
    async fn finish(mut self) {
        let mut expected = Vec::new();
        for attempt in std::mem::take(&mut self.attempts) {
            if self.outcome(&attempt).await {
                let samples = [&attempt.new, &attempt.companion, &attempt.doomed, &attempt.old];
                expected.extend(samples.map(|it| (attempt.round, it.kind, it.id)));
            }
        }
        // A commit may be visible shortly before it ends. The response to a later commit comes after
        // that.
        self.check_works().await;
        self.watching.until_fresh().await;
        assert!(!self.watching.resynced(), "a resync for no reason");
        let changed = self.watching.changed();
        for (round, kind, id) in expected {
            assert!(
                changed.contains(&(kind, id)),
                "round {round}: the change of {kind} {id} was never announced"
            );
        }
        self.check_works().await;
        // The lists agree with the lookups.
        let index = Index::All(Kind::Authorization);
        for id in list_ids(self.test.store(), index, ALL).await {
            let found = get(self.test.store(), index.kind(), Id::from_u64(id)).await;
            assert!(found.is_some(), "{id:x} is listed and not found");
        }
    }
}

/// Each operation of an engine, with several calls of the store, may be dropped at each await: it is
/// done or not, and succeeds afterwards.
pub async fn an_engine_continues_after_dropped_operations(harness: &Harness) {
    let test = harness.open().await;
    let engine = Engine::builder(test.handle()).hashing(cheap_hashing().threads(1)).build().await;
    let engine = engine.expect("an engine");
    let name = |text: String| Name::new(text).expect("a name");
    at_each_await("deleting an org", |number| {
        let engine = engine.clone();
        async move {
            let org = engine.create_org(name(format!("deleted {number}"))).await?;
            for bucket in 0..3 {
                engine.create_bucket(org.id, name(format!("bucket {bucket}"))).await?;
            }
            engine.delete_org(org.id).await
        }
    })
    .await;
    at_each_await("export", |_| snapshot_of(engine.clone())).await;
    let text = snapshot_of(engine.clone()).await.expect("a snapshot");
    at_each_await("import", |_| {
        let (engine, text) = (engine.clone(), text.clone());
        async move {
            let snapshot = Snapshot::read(text.as_slice()).expect("a snapshot");
            engine.import(snapshot, false).await
        }
    })
    .await;
    let again = snapshot_of(engine).await.expect("a snapshot");
    assert_eq!(again, text, "an import of existing records changes nothing");
}

/// A setup that is dropped at any await has done nothing, or all of it: another setup succeeds, or
/// reports that it was done.
pub async fn a_dropped_setup_is_done_in_full_or_not_at_all(harness: &Harness) {
    let name = |text: &str| Name::new(text).expect("a name");
    let setup = || Setup { org: name("o"), user: name("u"), buckets: vec![name("b"), name("c")] };
    for polls in 1..=ROUNDS {
        let test = harness.open().await;
        let engine =
            Engine::builder(test.handle()).hashing(cheap_hashing().threads(1)).build().await;
        let engine = engine.expect("an engine");
        let dropped =
            test.within_deadline("a setup", poll_when_woken(engine.setup(setup()), polls)).await;
        let is_over = dropped.is_some();
        if let Some(done) = dropped {
            done.expect("a setup of an empty store");
        }
        let again =
            test.within_deadline("a setup after a dropped one", engine.setup(setup())).await;
        match again {
            Ok(_) => assert!(!is_over, "{polls} polls: set up twice"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{polls} polls: {error}"),
        }
        for (kind, count) in
            [(Kind::Org, 1), (Kind::User, 1), (Kind::Bucket, 2), (Kind::ApiToken, 1)]
        {
            let ids = list_ids(test.store(), Index::All(kind), ALL).await;
            assert_eq!(ids.len(), count, "{polls} polls: {kind}");
        }
        if is_over {
            return;
        }
    }
    panic!("a setup has more than {ROUNDS} awaits");
}

async fn snapshot_of(engine: Engine) -> Result<Vec<u8>, ExportError> {
    let mut text = Vec::new();
    engine.export(&mut text).await.map(|_| text)
}

/// Reads, position requests and watches that are dropped do no harm.
pub async fn dropped_reads_do_no_harm(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
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
        let works = assert_exists(store, sample);
        test.within_deadline("a read after dropped ones", works).await;
    }
    let new = Sample::user(100);
    let works = async {
        commit(store, [new.create()]).await;
        assert_exists(store, &new).await;
        let mut watching = test.watch(position).await;
        watching.until_fresh().await;
        watching.assert_reported(&[(new.kind, new.id)]);
    };
    test.within_deadline("work after dropped reads", works).await;
}

/// Dropping the future of the next event loses no event.
pub async fn a_dropped_read_of_the_feed_loses_no_change(harness: &Harness) {
    let test = harness.open().await;
    let mut watching = test.watch_from_now().await;
    let mut expected = Vec::new();
    for id in 1..=ROUNDS {
        for _ in 0..id % 4 {
            watching.poll_once();
            tokio::task::yield_now().await;
        }
        let sample = Sample::user(id);
        commit(test.store(), [sample.create()]).await;
        expected.push((sample.kind, sample.id));
        for _ in 0..id % 3 {
            watching.poll_once();
        }
    }
    watching.until_fresh().await;
    watching.assert_reported(&expected);
}
