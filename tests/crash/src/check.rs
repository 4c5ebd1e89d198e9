//! Opening the store after a crash, and comparing it with the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portcullis::store::{
    Change, Index, Kind, Lookup, MaintenanceStore, Position, Record, StoreError, StoreExt,
};
use portcullis::verify::{Finding, verify};
use portcullis::{GrantKey, Id, OrgId, UserId};

use crate::backend::StoreUrl;
use crate::ledger::{Broken, Ledger, Loss, Place};
use crate::workload::{SLOTS, Slot, State, grants, version_of};

/// How long a check may take before the store counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

const PAGE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// A position in the feed from which the next check reads.
#[derive(Clone, Debug)]
pub(crate) struct Bookmark {
    position: Position,
    accounts: BTreeMap<u8, State>,
}

/// Opens the store, compares it with the ledger, settles unknown outcomes there, and closes the store.
///
/// The feed must report every change since the bookmark. Returns the next bookmark.
pub(crate) fn check(
    url: &StoreUrl,
    ledger: &mut Ledger,
    since: Option<&Bookmark>,
) -> Result<Bookmark, Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Broken::new(Loss::Misbehaved, error.to_string()))?;
    let url = url.clone();
    let (mut checked_state, since) = (ledger.clone(), since.cloned());
    let checked = runtime.block_on(async {
        let task = tokio::spawn(async move {
            let bookmark = open_and_compare(url, &mut checked_state, since.as_ref()).await?;
            Ok((checked_state, bookmark))
        });
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(checked)) => checked,
            Ok(Err(panic)) => Err(ledger.unopened(panic.to_string())),
            Err(_) => Err(ledger.unopened(format!("hangs for {PATIENCE:?}"))),
        }
    });
    // A hanging thread is abandoned.
    runtime.shutdown_background();
    let (checked_state, bookmark) = checked?;
    *ledger = checked_state;
    Ok(bookmark)
}

async fn open_and_compare(
    url: StoreUrl,
    ledger: &mut Ledger,
    since: Option<&Bookmark>,
) -> Result<Bookmark, Broken> {
    let opened = tokio::task::spawn_blocking(move || url.open()).await;
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return Err(ledger.unopened(format!("{error:#}"))),
        Err(panic) => return Err(ledger.unopened(panic.to_string())),
    };
    let compared = compare(&store, ledger, since).await;
    let closed = store.close().await;
    let bookmark = compared?;
    closed.map_err(|error| misbehaved("closing", &error))?;
    Ok(bookmark)
}

async fn compare(
    store: &Arc<dyn MaintenanceStore>,
    ledger: &mut Ledger,
    since: Option<&Bookmark>,
) -> Result<Bookmark, Broken> {
    let (found, by_kind) = read_all(store).await?;
    for (writer, account) in &mut ledger.accounts {
        let state = found.get(writer).cloned().unwrap_or_default();
        let came_back = account.settle(&state).map_err(|broken| Broken {
            what: format!("writer {writer} has {}", broken.what),
            ..broken
        })?;
        ledger.tally.came_back += u64::from(came_back);
    }
    if let Some(writer) = found.keys().find(|writer| !ledger.accounts.contains_key(writer)) {
        return Err(Broken::new(Loss::Phantom, format!("writer {writer} has not written")));
    }
    compare_entries(store, ledger, &by_kind).await?;
    let report = verify(&**store, |_| ()).await.map_err(|error| damaged("verify", &error))?;
    // The last uses of the workload are of no authorization.
    let is_expected =
        |finding: &&Finding| matches!(finding, Finding::Dangling { to: Kind::Authorization, .. });
    let expected = report.findings.iter().filter(is_expected).count() as u64;
    if !report.is_ok() || report.dangling > expected {
        let findings = report.findings.iter().filter(|finding| !is_expected(finding));
        let findings: Vec<_> = findings.map(ToString::to_string).collect();
        return Err(Broken::new(Loss::Damaged, findings.join("; ")));
    }

    let position = store.position().await.map_err(|error| misbehaved("position", &error))?;
    let here = Place { incarnation: position.incarnation(), place: position.sequence() };
    if let Some(reported) = ledger.furthest
        && reported.incarnation == here.incarnation
        && here.place < reported.place
    {
        let what = format!("{} after {} was reported", here.place, reported.place);
        return Err(Broken::new(Loss::PositionWentBack, what));
    }
    if let Some(since) = since {
        compare_feed(store, ledger, since).await?;
    }
    ledger.furthest = Some(here);
    let accounts = ledger.accounts.iter();
    let accounts = accounts.map(|(writer, account)| (*writer, account.state.clone())).collect();
    Ok(Bookmark { position, accounts })
}

type ByKind = BTreeMap<Kind, Vec<Record>>;

/// Reads every record, and sorts them by writer.
async fn read_all(
    store: &Arc<dyn MaintenanceStore>,
) -> Result<(BTreeMap<u8, State>, ByKind), Broken> {
    let mut found: BTreeMap<u8, State> = BTreeMap::new();
    let mut by_kind = ByKind::new();
    for kind in Kind::ALL {
        let records = list(store, Index::All(kind)).await?;
        for record in &records {
            let writer = (record.id.as_u64() >> 32).checked_sub(1);
            let number = (record.id.as_u64() & u64::from(u32::MAX)).checked_sub(1);
            let slot = writer
                .and_then(|writer| u8::try_from(writer).ok())
                .zip(number.and_then(|number| u8::try_from(number).ok()))
                .map(|(writer, number)| Slot { writer, number })
                .filter(|slot| slot.number < SLOTS && slot.kind() == kind);
            let Some((slot, version)) = slot.zip(version_of(record)) else {
                let what = format!("no writer wrote {kind} {}", record.id);
                return Err(Broken::new(Loss::Phantom, what));
            };
            if slot.record(version).0 != *record {
                let what = format!("{slot:?} has not what version {version} is: {record:?}");
                return Err(Broken::new(Loss::HalfBatch, what));
            }
            found.entry(slot.writer).or_default().insert(slot.number, version);
        }
        by_kind.insert(kind, records);
    }
    Ok((found, by_kind))
}

/// Looks every record up by each of its present keys, and by its former ones.
async fn compare_entries(
    store: &Arc<dyn MaintenanceStore>,
    ledger: &Ledger,
    by_kind: &ByKind,
) -> Result<(), Broken> {
    let wrong = |what: String| Err(Broken::new(Loss::WrongEntries, what));
    let mut expected: BTreeMap<(Kind, GrantKey), Vec<Id>> = BTreeMap::new();
    for (kind, records) in by_kind {
        for record in records {
            let by_id = get(store, Lookup::Id(*kind, record.id)).await?;
            let by_key = get(store, Lookup::UniqueKey(*kind, record.unique_key.as_str())).await?;
            if by_id.as_ref() != Some(record) || by_key.as_ref() != Some(record) {
                return wrong(format!("{kind} {} is listed and not found", record.id));
            }
        }
    }
    let mut all_grants = BTreeSet::new();
    for (writer, account) in &ledger.accounts {
        all_grants.extend(grants(*writer));
        for number in 0..SLOTS {
            let slot = Slot { writer: *writer, number };
            let now = account.state.get(&number).copied();
            if let Some(version) = now {
                for grant in slot.record(version).1 {
                    expected.entry((slot.kind(), grant)).or_default().push(slot.id());
                }
            }
            // The versions around it, which belonged to this slot or to others.
            let last = now.unwrap_or(ledger.next_version);
            for version in last.saturating_sub(4).max(1)..last.saturating_add(4) {
                let key = slot.key(version);
                let found = get(store, Lookup::UniqueKey(slot.kind(), &key)).await?;
                let expected = now.filter(|now| slot.key(*now) == key).map(|_| slot.id());
                if found.map(|found| found.id) != expected {
                    return wrong(format!("{slot:?} is found by the key of version {version}"));
                }
            }
        }
        let org = OrgId::from_u64(Slot { writer: *writer, number: 0 }.id().as_u64());
        let user = UserId::from_u64(Slot { writer: *writer, number: 1 }.id().as_u64());
        for (kind, records) in by_kind {
            let of = |keep: &dyn Fn(&&Record) -> bool| -> Vec<Record> {
                records.iter().filter(keep).cloned().collect()
            };
            if list(store, Index::Org(*kind, org)).await? != of(&|r| r.org == Some(org)) {
                return wrong(format!("{kind}: not the records of org {org}"));
            }
            if list(store, Index::User(*kind, user)).await? != of(&|r| r.user == Some(user)) {
                return wrong(format!("{kind}: not the records of user {user}"));
            }
        }
    }
    for grant in all_grants {
        for kind in Kind::ALL {
            let listed = list(store, Index::Grant(kind, grant)).await?;
            let listed: Vec<_> = listed.iter().map(|record| record.id).collect();
            let mut expected = expected.remove(&(kind, grant)).unwrap_or_default();
            expected.sort_unstable();
            if listed != expected {
                return wrong(format!("{kind} by {grant}: {listed:?} instead of {expected:?}"));
            }
        }
    }
    Ok(())
}

/// Reads the feed from the bookmark to its end, and checks that it reports each change.
async fn compare_feed(
    store: &Arc<dyn MaintenanceStore>,
    ledger: &Ledger,
    since: &Bookmark,
) -> Result<(), Broken> {
    let mut expected = BTreeSet::new();
    for (writer, account) in &ledger.accounts {
        let before = since.accounts.get(writer).cloned().unwrap_or_default();
        for number in 0..SLOTS {
            if before.get(&number) != account.state.get(&number) {
                let slot = Slot { writer: *writer, number };
                expected.insert((slot.kind(), slot.id()));
            }
        }
    }
    let requested = std::time::Instant::now();
    let changes = store.watch(since.position).await;
    let mut changes = changes.map_err(|error| misbehaved("watch", &error))?;
    while !expected.is_empty() {
        let next = soon(changes.next(), "the feed").await?;
        match next {
            Some(Ok(Change::Changed { kind, id, .. })) => drop(expected.remove(&(kind, id))),
            Some(Ok(Change::Resync { .. })) => return Ok(()),
            Some(Ok(Change::Fresh { as_of })) if as_of < requested => {}
            other => {
                let what = format!("{} changes are not reported: {other:?}", expected.len());
                return Err(Broken::new(Loss::FeedLostChanges, what));
            }
        }
    }
    Ok(())
}

async fn get(
    store: &Arc<dyn MaintenanceStore>,
    lookup: Lookup<'_>,
) -> Result<Option<Record>, Broken> {
    store.get(lookup).await.map_err(|error| damaged("get", &error))
}

async fn list(store: &Arc<dyn MaintenanceStore>, index: Index) -> Result<Vec<Record>, Broken> {
    let mut pages = store.pages(index, PAGE);
    let mut records = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| damaged("list", &error))?;
        if page.unreadable > 0 {
            return Err(Broken::new(Loss::Damaged, format!("{index:?} has unreadable records")));
        }
        records.extend(page.records);
    }
    Ok(records)
}

async fn soon<T>(future: impl Future<Output = T>, what: &str) -> Result<T, Broken> {
    let done = tokio::time::timeout(Duration::from_secs(10), future).await;
    done.map_err(|_| Broken::new(Loss::FeedLostChanges, format!("{what} is silent")))
}

fn damaged(what: &str, error: &StoreError) -> Broken {
    Broken::new(Loss::Damaged, format!("{what}: {error}: {:?}", std::error::Error::source(error)))
}

fn misbehaved(what: &str, error: &StoreError) -> Broken {
    Broken::new(
        Loss::Misbehaved,
        format!("{what}: {error}: {:?}", std::error::Error::source(error)),
    )
}
