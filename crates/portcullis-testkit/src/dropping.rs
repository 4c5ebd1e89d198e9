//! Operations whose futures are dropped wherever they wait: none leaves anything in the way of the
//! next.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use portcullis::store::{
    Batch, Entity as _, Expect, Index, Kind, Maintain, Operation, PageRequest, Revision,
};
use portcullis::verify::verify;
use portcullis::{Name, Status, User, UserId};

/// A bound for what must go on, so that a test fails instead of hanging.
const SOON: Duration = Duration::from_secs(120);

/// More waits than any operation has.
const MOST_WAITS: u64 = 2_000;

/// Polls when the future asks for it, at most so many times, and drops it then.
pub(crate) async fn poll_when_asked<T>(future: impl Future<Output = T>, times: u64) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Begins the operation again and again: dropped after its first wait, after its second and so on,
/// until it ends by itself. After each time it is carried out in full, which must succeed. Operations
/// are told how many there were before.
///
/// # Panics
///
/// When it does not succeed within two minutes, or never ends by itself.
pub async fn at_each_wait<T, E, F>(what: &str, operation: impl Fn(u64) -> F)
where
    E: std::fmt::Debug,
    F: Future<Output = Result<T, E>>,
{
    let mut number = 0;
    for polls in 1..=MOST_WAITS {
        let dropped = poll_when_asked(operation(number), polls);
        let dropped = tokio::time::timeout(SOON, dropped).await;
        let dropped = dropped.unwrap_or_else(|_| panic!("{what} waits, after {polls} polls"));
        let after = tokio::time::timeout(SOON, operation(number + 1)).await;
        let after =
            after.unwrap_or_else(|_| panic!("{what} waits after one dropped at {polls} polls"));
        after
            .unwrap_or_else(|error| panic!("{what} after one dropped at {polls} polls: {error:?}"));
        number += 2;
        match dropped {
            None => {}
            Some(Ok(_)) => return,
            Some(Err(error)) => panic!("{what} at {polls} polls: {error:?}"),
        }
    }
    panic!("{what} waits more than {MOST_WAITS} times");
}

/// Checks that whatever the store offers for its maintenance may be dropped at every wait, and
/// succeeds afterwards: verifying, making entries anew, reading them, and, where a directory is given,
/// backups to it. `open` opens a backup.
///
/// # Panics
///
/// When something does not succeed afterwards, or a backup is neither whole nor absent.
pub async fn maintenance_survives_being_dropped(
    store: Arc<dyn Maintain>,
    backups: Option<&Path>,
    open: impl AsyncFn(&Path) -> Arc<dyn Maintain>,
) {
    let store = &*store;
    const RECORDS: u64 = 1_200;
    let users = (1..=RECORDS).map(create_user);
    store.commit(Batch::from_iter(users)).await.expect("a new store");
    let limit = std::num::NonZeroUsize::new(100).expect("a number");
    let begin = store.position().await.expect("a position");

    at_each_wait("verify", move |_| async move { verify(store, |_| {}).await.map(drop) }).await;
    at_each_wait("check_files", move |_| async move { store.check_files().await.map(drop) }).await;
    at_each_wait("entries", move |_| async move { store.entries(None, limit).await.map(drop) })
        .await;
    at_each_wait("rebuild_entries", move |_| async move { store.rebuild_entries().await }).await;
    at_each_wait("list", move |_| async move {
        let page = PageRequest { after: None, limit: std::num::NonZeroUsize::MAX };
        store.list(Index::All(Kind::User), page).await.map(drop)
    })
    .await;
    at_each_wait("watch", move |_| async move { store.watch(begin).await.map(drop) }).await;
    at_each_wait("position", move |_| async move { store.position().await.map(drop) }).await;
    if let Some(backups) = backups {
        at_each_wait("back_up", move |number| async move { back_up(store, backups, number).await })
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
    assert!(verify(store, |_| {}).await.expect("a report").is_sound());
}

fn create_user(id: u64) -> Operation {
    let name = Name::new(format!("user {id}")).expect("a name");
    let user = User { id: UserId::from_u64(id), name, status: Status::Active };
    let record = user.to_record(Revision::from_u128(id.into())).expect("a record");
    Operation::Put { record, grants: user.grants(), expect: Expect::Absent }
}

/// To the place where the one before was dropped: that one is there in full, or in the way of nothing.
async fn back_up(
    store: &dyn Maintain,
    backups: &Path,
    number: u64,
) -> Result<(), portcullis::store::StoreError> {
    let place = backups.join(format!("backup-{}", number / 2));
    match store.back_up(&place).await {
        Err(_) if number % 2 == 1 && place.exists() => {
            // Another one does not have to wait for it.
            store.back_up(&backups.join(format!("backup-{}-again", number / 2))).await
        }
        done => done,
    }
}
