//! The engine model detects faulty stores, each by another comparison.

#[expect(dead_code, reason = "most of its mistakes are for the conformance suite")]
mod naive;

use std::sync::{Arc, Mutex};

use naive::Fault;
use portcullis::store::{
    Batch, BoxStream, Change, Index, Lookup, Lookups, MemoryStore, Operation, Page, PageRequest,
    Position, Record, Store, StoreError,
};
use portcullis_testkit::engine_model::{Disagreement, Report, Settings, compare};
use portcullis_testkit::{Capabilities, Fixture, Harness, async_trait};

/// The same runs each time, and a short search for a smaller failure.
fn run(harness: &Harness) -> Result<Report, Disagreement> {
    compare(harness, &Settings::default().with_seed(7).with_shorter_runs(20))
}

fn naive_store(fault: Option<Fault>) -> Harness {
    Harness::new(naive::CAPABILITIES, move || async move { naive::place(fault) })
}

#[test]
fn a_store_without_mistakes_agrees() {
    let report = run(&naive_store(None)).unwrap();
    assert!(report.operations > 500 && report.responses > 50 * report.operations, "{report}");
}

macro_rules! catches {
    ($($name:ident: $($fault:ident),+;)+) => {$(
        #[test]
        fn $name() {
            $(
                let outcome = run(&naive_store(Some(Fault::$fault)));
                assert!(outcome.is_err(), "{:?} was not caught", Fault::$fault);
            )+
        }
    )+};
}

catches! {
    forgotten_index_entries: ForgetsGrants, ForgetsUsers;
    names_that_are_taken_for_one_another: CutsKeys, FoldsCase, NormalizesKeys, StopsAtNul, TrimsKeys;
    names_that_stay_taken: KeepsKeysOfDeleted;
    patterns_in_names: MatchesPatterns;
    records_that_are_not_the_last: CachesReads, ReadsAnOlderState;
    records_that_are_skipped: EndsAfterOnePage, SkipsOneRecord;
    deleted_records_that_are_listed: ListsDeleted;
    taken_ids_that_are_drawn_again: OverwritesTakenIds;
    requirements_that_are_ignored: IgnoresRequirements;
    names_that_two_kinds_share: SharesKeysBetweenKinds;
    everything_gone_at_reopening: ForgetsEverything;
}

/// Loses the last commit when it is closed and reopened.
#[derive(Debug)]
struct Forgetful {
    memory: MemoryStore,
    commits: Arc<Mutex<Vec<Vec<Operation>>>>,
}

struct ForgetfulPlace(Arc<Mutex<Vec<Vec<Operation>>>>);

#[async_trait]
impl Fixture for ForgetfulPlace {
    async fn store(&self) -> Arc<dyn Store> {
        let memory = MemoryStore::new().unwrap();
        Arc::new(Forgetful { memory, commits: Arc::clone(&self.0) })
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        let memory = MemoryStore::new().unwrap();
        let kept = {
            let mut commits = self.0.lock().unwrap();
            commits.pop();
            commits.clone()
        };
        for operations in kept {
            memory.commit(operations.into_iter().collect()).await.unwrap();
        }
        Some(Arc::new(Forgetful { memory, commits: Arc::clone(&self.0) }))
    }
}

#[async_trait]
impl Store for Forgetful {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.memory.get(lookup).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        self.memory.get_many(lookups).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.memory.list(index, page).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        let operations = batch.into_operations()?;
        let position = self.memory.commit(operations.iter().cloned().collect()).await?;
        self.commits.lock().unwrap().push(operations);
        Ok(position)
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.memory.position().await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.memory.watch(after).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.memory.close().await
    }
}

#[test]
fn a_write_that_is_lost_at_reopening() {
    let capabilities = Capabilities { survives_reopen: true, shared_between_handles: false };
    let harness = Harness::new(capabilities, async || ForgetfulPlace(Arc::default()));
    let disagreement = run(&harness).unwrap_err();
    assert!(disagreement.what.contains("Reopen"), "{disagreement}");
}

#[test]
fn a_failure_is_made_short() {
    let settings = Settings::default().with_seed(7);
    let disagreement = compare(&naive_store(Some(Fault::FoldsCase)), &settings).unwrap_err();
    // `telegraf` exists from the start: one more that differs in case is enough.
    let steps = disagreement.steps.matches("second_handle").count();
    assert!(steps <= 2, "{steps} steps are left: {disagreement}");
}
