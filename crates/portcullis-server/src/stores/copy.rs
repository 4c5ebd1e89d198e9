//! Copies a store into another one, and compares them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use portcullis::store::{
    Batch, Expect, Index, Kind, Operation, Record, Store, StoreExt as _, grants_of,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The number of records that are read at a time and written as one batch.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// The contents of a store: equal if and only if all records are, revisions included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contents {
    /// The number of records of each kind.
    pub(crate) records: BTreeMap<String, u64>,
    /// SHA-256 of all of them, in hexadecimal digits.
    pub(crate) sha256: String,
}

impl Contents {
    pub(crate) fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.records {
            writeln!(f, "{kind:<15} {count}")?;
        }
        writeln!(f, "{:<15} {}", "SHA-256", self.sha256)
    }
}

/// Reads every record of the store, and passes each page on.
///
/// # Errors
///
/// When a record cannot be read: the copy would be incomplete.
async fn read_all(
    store: &dyn Store,
    mut page_read: impl AsyncFnMut(Vec<Record>) -> anyhow::Result<()>,
) -> anyhow::Result<Contents> {
    let mut records = BTreeMap::new();
    let mut digest = Sha256::new();
    for kind in Kind::ALL {
        let mut count = 0;
        let mut pages = store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            let page = page.context("could not read the store")?;
            if page.unreadable > 0 {
                bail!(
                    "{} records of kind {kind} cannot be read: run `portcullis verify` for details",
                    page.unreadable
                );
            }
            for record in &page.records {
                add(&mut digest, record);
            }
            count += page.records.len() as u64;
            page_read(page.records).await?;
        }
        // As `verify`: last uses are counted only if there are any.
        if count > 0 || !matches!(kind, Kind::ApiTokenUse | Kind::AuthorizationUse) {
            records.insert(kind.to_string(), count);
        }
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Contents { records, sha256 })
}

fn add(digest: &mut Sha256, record: &Record) {
    let id = |id: Option<u64>| id.map(u64::to_be_bytes).unwrap_or_default();
    digest.update(record.kind.to_string());
    digest.update(record.id.as_u64().to_be_bytes());
    digest.update(record.revision.as_u128().to_be_bytes());
    digest.update(id(record.org.map(|org| org.as_u64())));
    digest.update(id(record.user.map(|user| user.as_u64())));
    // With their lengths, so that no byte can move from one to the next without a difference.
    for text in [record.unique_key.as_str(), record.status.as_str(), &record.body] {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
}

/// Returns the contents of the store.
pub(crate) async fn contents(store: &dyn Store) -> anyhow::Result<Contents> {
    read_all(store, async |_| Ok(())).await
}

/// Copies every record with its revision into an empty store, then reads both stores again and compares
/// them. `progress` is called with the number of records copied since the last call.
pub(crate) async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Contents> {
    let there = contents(to).await?;
    if there.total() > 0 {
        bail!("there are {} records in the new store already", there.total());
    }
    let copied = read_all(from, async |records: Vec<Record>| {
        let count = records.len() as u64;
        let mut batch = Batch::new();
        for record in records {
            let grants = grants_of(&record)
                .with_context(|| format!("{} {} cannot be copied", record.kind, record.id))?;
            batch.push(Operation::Put { record, grants, expect: Expect::Absent });
        }
        to.commit(batch).await.context("could not write to the new store")?;
        progress(count);
        Ok(())
    })
    .await?;
    let arrived = contents(to).await?;
    if arrived != copied {
        bail!("the copy differs from what was copied:\n{copied}{arrived}");
    }
    let now = contents(from).await?;
    if now != copied {
        bail!(
            "records were changed while they were copied: stop the server first, or start it with \
             `serve --read-only`"
        );
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use portcullis::store::{Entity as _, MemoryStore, Revision};
    use portcullis::{Id, Name, Status, User};
    use portcullis_sqlite::SqliteStore;
    use portcullis_testkit::dropping::at_each_await;

    use super::*;

    fn put(number: u64, revision: Revision, expect: Expect) -> Batch {
        let name = Name::new(format!("user-{number}")).unwrap();
        let user = User { id: Id::from_u64(number).into(), name, status: Status::Active };
        let record = user.to_record(revision).unwrap();
        Batch::new().with(Operation::Put { record, grants: Vec::new(), expect })
    }

    fn revision(number: u64) -> Revision {
        Revision::from_u128(number.into())
    }

    async fn of_users(numbers: impl IntoIterator<Item = u64>) -> MemoryStore {
        let store = MemoryStore::new().unwrap();
        for number in numbers {
            store.commit(put(number, revision(number), Expect::Absent)).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn a_copy_has_every_record_and_reports_so() {
        let (from, to) = (of_users(1..2_500).await, of_users([]).await);
        let mut copied = 0;
        let reported = copy(&from, &to, |count| copied += count).await.unwrap();
        assert_eq!((reported.total(), copied), (2_499, 2_499));
        assert_eq!(contents(&to).await.unwrap(), reported);
        let again = copy(&from, &to, |_| {}).await.unwrap_err().to_string();
        assert_eq!(again, "there are 2499 records in the new store already");
    }

    /// A dropped copy leaves the old store unchanged, and does not prevent another copy.
    #[tokio::test]
    async fn a_copy_that_is_dropped_at_any_wait_does_not_prevent_another() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| SqliteStore::open(directory.path().join(name)).unwrap();
        let from = open("from.db");
        for number in 1..1_500 {
            from.commit(put(number, revision(number), Expect::Absent)).await.unwrap();
        }
        let before = contents(&from).await.unwrap();
        at_each_await("copy", async |number| {
            let to = open(&format!("{number}.db"));
            let copied = copy(&from, &to, |_| {}).await?;
            assert_eq!(copied, before);
            to.close().await.map_err(anyhow::Error::from)
        })
        .await;
    }

    /// A record is added, removed or replaced: one that was read already, and one that was not.
    #[tokio::test]
    async fn a_change_during_the_copy_is_detected() {
        for changed in [1, 1_500] {
            for change in 0..3 {
                let (from, to) = (of_users((1..2_000).map(|n| 2 * n)).await, of_users([]).await);
                let mut is_changed = false;
                let outcome = copy(&from, &to, |count| {
                    // After the first page of users.
                    if count == 0 || std::mem::replace(&mut is_changed, true) {
                        return;
                    }
                    let even = 2 * changed;
                    let (kind, id, expect) = (Kind::User, Id::from_u64(even), revision(even));
                    let batch = match change {
                        0 => put(even - 1, revision(1), Expect::Absent),
                        1 => Batch::new().with(Operation::Delete { kind, id, expect }),
                        _ => put(even, revision(1), Expect::Revision(expect)),
                    };
                    from.commit(batch).now_or_never().unwrap().unwrap();
                })
                .await;
                // Nothing is wrong with what was changed before it was read.
                if changed == 1 {
                    let error = outcome.unwrap_err().to_string();
                    assert!(error.contains("records were changed"), "{change}: {error}");
                } else {
                    assert_eq!(outcome.unwrap(), contents(&from).await.unwrap());
                }
            }
        }
    }
}
