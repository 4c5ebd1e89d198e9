//! Calls a store, and checks its responses.

use std::num::NonZeroUsize;

use portcullis::Id;
use portcullis::store::{
    Duplicate, Index, Kind, Lookup, Operation, PageRequest, Position, Record, Store, StoreError,
};

use crate::fixtures::Sample;

/// Commits the operations as one batch.
pub(crate) async fn try_commit(
    store: &dyn Store,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<Position, StoreError> {
    store.commit(operations.into_iter().collect()).await
}

/// Commits the operations as one batch, which must succeed.
#[track_caller]
pub(crate) fn commit(
    store: &dyn Store,
    operations: impl IntoIterator<Item = Operation>,
) -> impl Future<Output = Position> + Send {
    let caller = std::panic::Location::caller();
    let committed = store.commit(operations.into_iter().collect());
    async move {
        match committed.await {
            Ok(position) => position,
            Err(error) => panic!("{caller}: a valid batch was refused: {error:?}"),
        }
    }
}

/// The reason why a batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Conflict(Kind, Id),
    Missing(Kind, Id),
    Taken(Kind, Id, Duplicate),
    TooLarge,
}

impl Refusal {
    pub(crate) fn conflict(sample: &Sample) -> Self {
        Self::Conflict(sample.kind, sample.id)
    }

    pub(crate) fn missing(sample: &Sample) -> Self {
        Self::Missing(sample.kind, sample.id)
    }

    pub(crate) fn id_taken(sample: &Sample) -> Self {
        Self::Taken(sample.kind, sample.id, Duplicate::Id)
    }

    pub(crate) fn key_taken(sample: &Sample) -> Self {
        Self::Taken(sample.kind, sample.id, Duplicate::UniqueKey)
    }

    /// Returns the refusal, if any; any other error fails the test.
    #[track_caller]
    pub(crate) fn of(response: Result<Position, StoreError>) -> Option<Self> {
        match response {
            Ok(_) => None,
            Err(StoreError::AlreadyExists { kind, id, duplicate }) => {
                Some(Self::Taken(kind, id, duplicate))
            }
            Err(StoreError::BatchTooLarge { .. }) => Some(Self::TooLarge),
            Err(StoreError::Conflict { kind, id }) => Some(Self::Conflict(kind, id)),
            Err(StoreError::Missing { kind, id }) => Some(Self::Missing(kind, id)),
            Err(error) => panic!("neither committed nor refused: {error:?}"),
        }
    }
}

/// Commits the operations as one batch, which must be refused for this reason.
#[track_caller]
pub(crate) fn refused(
    store: &dyn Store,
    operations: impl IntoIterator<Item = Operation>,
    expected: Refusal,
) -> impl Future<Output = ()> + Send {
    let caller = std::panic::Location::caller();
    let committed = store.commit(operations.into_iter().collect());
    async move {
        let refusal = Refusal::of(committed.await);
        assert_eq!(refusal, Some(expected), "{caller}: the result of the batch");
    }
}

pub(crate) async fn get(store: &dyn Store, kind: Kind, id: Id) -> Option<Record> {
    store.get(Lookup::Id(kind, id)).await.expect("get by id")
}

pub(crate) async fn get_by_key(store: &dyn Store, kind: Kind, key: &str) -> Option<Record> {
    store.get(Lookup::UniqueKey(kind, key)).await.expect("get by unique key")
}

/// Checks that both id and unique key find exactly this sample.
#[track_caller]
pub(crate) fn assert_exists<'a>(
    store: &'a dyn Store,
    sample: &'a Sample,
) -> impl Future<Output = ()> + Send + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let Sample { kind, id, key, .. } = sample;
        let by_id = get(store, *kind, *id).await;
        assert_same(by_id, sample, &format!("{caller}: {kind} {id}"));
        let by_key = get_by_key(store, *kind, key).await;
        assert_same(by_key, sample, &format!("{caller}: {kind} {}", shown(key)));
    }
}

/// Checks that neither id nor unique key finds a record.
#[track_caller]
pub(crate) fn assert_absent<'a>(
    store: &'a dyn Store,
    sample: &'a Sample,
) -> impl Future<Output = ()> + Send + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let Sample { kind, id, key, .. } = sample;
        let by_id = get(store, *kind, *id).await;
        assert!(by_id.is_none(), "{caller}: {kind} {id} is found");
        let by_key = get_by_key(store, *kind, key).await;
        assert!(by_key.is_none(), "{caller}: {kind} {} finds {by_key:?}", shown(key));
    }
}

/// Compares field by field, because the debug output of records omits values.
fn assert_same(record: Option<Record>, sample: &Sample, what: &str) {
    let Some(record) = record else {
        panic!("{what} is not found");
    };
    let expected = sample.record();
    assert_eq!(record.kind, expected.kind, "{what}: kind");
    assert_eq!(record.id, expected.id, "{what}: id");
    assert_eq!(record.revision, expected.revision, "{what}: revision");
    assert!(
        record.unique_key == expected.unique_key,
        "{what}: unique key: {}",
        shown(record.unique_key.as_str())
    );
    assert_eq!(record.org, expected.org, "{what}: org");
    assert_eq!(record.user, expected.user, "{what}: user");
    assert_eq!(record.status, expected.status, "{what}: status");
    assert!(
        record.body == expected.body,
        "{what}: body: {} instead of {}",
        shown(&record.body),
        shown(&expected.body)
    );
}

/// Returns the text for a message.
pub(crate) fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(60).collect();
    // Escaped, because many of these texts look alike.
    format!("`{}` ({} bytes)", beginning.escape_default(), text.len())
}

/// A limit that no list of these tests reaches.
pub(crate) const ALL: usize = 1_000_000;

/// Lists one page, and checks what holds for every page.
pub(crate) async fn page(
    store: &dyn Store,
    index: Index,
    after: Option<Id>,
    limit: usize,
) -> (Vec<Record>, Option<Id>) {
    let limit = NonZeroUsize::new(limit).expect("a limit");
    let request = PageRequest { after, limit };
    let page = store.list(index, request).await.expect("list");
    let what = format!("{index:?} {request:?}");
    assert!(page.records.len() <= limit.get(), "{what}: {} records", page.records.len());
    let mut last = after;
    for record in &page.records {
        assert_eq!(record.kind, index.kind(), "{what}: a record of another kind");
        assert!(last < Some(record.id), "{what}: {} comes after {last:?}", record.id);
        last = Some(record.id);
    }
    if let Some(next) = page.next {
        assert!(Some(next) > after, "{what}: the cursor stays at {next}");
        assert!(Some(next) >= last, "{what}: the cursor goes back from {last:?} to {next}");
    }
    (page.records, page.next)
}

/// Lists all pages.
pub(crate) async fn list(store: &dyn Store, index: Index, limit: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let (found, next) = page(store, index, after, limit).await;
        records.extend(found);
        match next {
            Some(next) => after = Some(next),
            None => return records,
        }
    }
}

/// Lists the ids of all pages.
pub(crate) async fn list_ids(store: &dyn Store, index: Index, limit: usize) -> Vec<u64> {
    let records = list(store, index, limit).await;
    records.iter().map(|record| record.id.as_u64()).collect()
}
