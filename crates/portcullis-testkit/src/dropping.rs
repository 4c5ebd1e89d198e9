//! Futures of operations, dropped at each await: none may block the next operation.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use portcullis::store::{
    Batch, Entity as _, Expect, Index, Kind, MaintenanceStore, Operation, PageRequest, Revision,
};
use portcullis::verify::verify;
use portcullis::{Name, Status, User, UserId};

/// How long an operation may take before the test fails instead of hanging.
const DEADLINE: Duration = Duration::from_secs(120);

/// More awaits than any operation has.
const MAX_AWAITS: u64 = 2_000;

/// Polls the future when it is woken, at most this often, and then drops it.
pub(crate) async fn poll_when_woken<T>(future: impl Future<Output = T>, times: u64) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Repeats the operation, dropped at its first await, then at its second, and so on, until it
/// completes. After each drop it runs once in full, and must succeed. The operation's argument is the
/// number of runs before.
///
/// # Panics
///
/// If a full run fails or takes more than two minutes, or the operation never completes.
pub async fn at_each_await<T, E, F>(what: &str, operation: impl Fn(u64) -> F)
where
    E: std::fmt::Debug,
    F: Future<Output = Result<T, E>>,
{
    let mut number = 0;
    for polls in 1..=MAX_AWAITS {
        let dropped = poll_when_woken(operation(number), polls);
        let dropped = tokio::time::timeout(DEADLINE, dropped).await;
        let dropped = dropped.unwrap_or_else(|_| panic!("{what} hangs, after {polls} polls"));
        let after = tokio::time::timeout(DEADLINE, operation(number + 1)).await;
        let after =
            after.unwrap_or_else(|_| panic!("{what} hangs after one dropped at {polls} polls"));
        after
            .unwrap_or_else(|error| panic!("{what} after one dropped at {polls} polls: {error:?}"));
        number += 2;
        match dropped {
            None => {}
            Some(Ok(_)) => return,
            Some(Err(error)) => panic!("{what} at {polls} polls: {error:?}"),
        }
    }
    panic!("{what} has more than {MAX_AWAITS} awaits");
}

/// Checks that the store's maintenance may be dropped at each await and succeeds afterwards:
/// verifying, rebuilding and reading entries, and, if a directory is given, backups into it. `open`
/// opens a backup.
///
/// # Panics
///
/// If an operation fails afterwards, or a backup is neither complete nor absent.
pub async fn maintenance_can_be_dropped_at_any_await(
    store: Arc<dyn MaintenanceStore>,
    backups: Option<&Path>,
    open: impl AsyncFn(&Path) -> Arc<dyn MaintenanceStore>,
) {
    let store = &*store;
    const RECORDS: u64 = 1_200;
    let users = (1..=RECORDS).map(create_user);
    store.commit(Batch::from_iter(users)).await.expect("a new store");
    let limit = std::num::NonZeroUsize::new(100).expect("a number");
    let begin = store.position().await.expect("a position");

    at_each_await("verify", move |_| async move { verify(store, |_| {}).await.map(drop) }).await;
    at_each_await("check_files", move |_| async move { store.check_files().await.map(drop) }).await;
    at_each_await("entries", move |_| async move { store.entries(None, limit).await.map(drop) })
        .await;
    at_each_await("rebuild_entries", move |_| async move { store.rebuild_entries().await }).await;
    at_each_await("list", move |_| async move {
        let page = PageRequest { after: None, limit: std::num::NonZeroUsize::MAX };
        store.list(Index::All(Kind::User), page).await.map(drop)
    })
    .await;
    at_each_await("watch", move |_| async move { store.watch(begin).await.map(drop) }).await;
    at_each_await("position", move |_| async move { store.position().await.map(drop) }).await;
    if let Some(backups) = backups {
        at_each_await(
            "back_up",
            move |number| async move { back_up(store, backups, number).await },
        )
        .await;
        for backup in std::fs::read_dir(backups).expect("the backups") {
            let path = backup.expect("a backup").path();
            let backup = open(&path).await;
            let report = verify(&*backup, |_| {}).await.expect("a whole backup");
            assert_eq!(report.damages, 0, "{}", path.display());
            assert!(report.records[&Kind::User] >= RECORDS, "{}", path.display());
            backup.close().await.expect("a backup that is not needed any more");
        }
    }
    let change = [create_user(RECORDS + 1)].into_iter().collect();
    store.commit(change).await.expect("a change");
    assert!(verify(store, |_| {}).await.expect("a report").is_ok());
}

fn create_user(id: u64) -> Operation {
    let name = Name::new(format!("user {id}")).expect("a name");
    let user = User { id: UserId::from_u64(id), name, status: Status::Active };
    let record = user.to_record(Revision::from_u128(id.into())).expect("a record");
    Operation::Put { record, grants: user.grants(), expect: Expect::Absent }
}

/// Backs up to the path of the previous, dropped backup, which is complete or does not block this one.
async fn back_up(
    store: &dyn MaintenanceStore,
    backups: &Path,
    number: u64,
) -> Result<(), portcullis::store::StoreError> {
    let test = backups.join(format!("backup-{}", number / 2));
    match store.back_up(&test).await {
        Err(_) if number % 2 == 1 && test.exists() => {
            // The next backup need not wait for this one.
            store.back_up(&backups.join(format!("backup-{}-again", number / 2))).await
        }
        done => done,
    }
}
