//! Verifying a store: its records and its entries against each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

use futures_util::StreamExt;

use crate::store::{
    Batch, Entity, Entry, EntryKey, Index, Kind, Lookup, Lookups, MaintenanceStore, Operation,
    PageRequest, Record, StoreError, StoreExt,
};
use crate::{BucketId, DatabaseMappings, Id};

/// The number of records or entries in a page.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// The result of [`verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The number of records of each kind, including unreadable ones. Last uses only if there are any.
    pub records: BTreeMap<Kind, u64>,
    /// The number of entries, including unreadable ones.
    pub entries: u64,
    /// The number of damages.
    pub damages: u64,
    /// The number of references to records that do not exist.
    pub dangling: u64,
    /// The first damages and dangling references, at most [`Report::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// The most findings of a report; further ones are only counted.
    pub const MAX_FINDINGS: usize = 1_000;

    /// Tells whether there is no damage. A dangling reference is none: an import may contain it, and
    /// a host with a directory of its own has neither orgs nor users in the store.
    pub const fn is_ok(&self) -> bool {
        self.damages == 0
    }

    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Dangling { .. } => self.dangling += 1,
            Finding::UnreadableRecords { count, .. } | Finding::UnreadableEntries { count } => {
                self.damages += count;
            }
            _ => self.damages += 1,
        }
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// A damage or a dangling reference. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The storage engine's own check found a damage in its files.
    Files {
        /// Its description.
        complaint: String,
    },
    /// Not even the columns of these records can be read.
    UnreadableRecords {
        /// Their kind.
        kind: Kind,
        /// Their number.
        count: u64,
    },
    /// These entries cannot be read.
    UnreadableEntries {
        /// Their number.
        count: u64,
    },
    /// The record cannot be read.
    Corrupt {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
        /// What is wrong with it.
        problem: String,
    },
    /// A lookup or a list does not find the record.
    MissingEntry {
        /// The missing entry.
        entry: Entry,
    },
    /// A lookup of the record's unique key finds another record.
    UniqueKeyTaken {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: Id,
        /// The id of the other record.
        by: Id,
    },
    /// An entry contradicts its record, or its record does not exist.
    StrayEntry {
        /// The stray entry.
        entry: Entry,
    },
    /// The record refers to an org, a user, a bucket or a credential that does not exist. A credential
    /// cannot be used to log in; a DBRP mapping leads to no bucket; a last use is harmless and can be
    /// [removed](remove_orphaned_uses).
    Dangling {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: Id,
        /// [`Kind::Org`], [`Kind::User`], [`Kind::Bucket`], [`Kind::ApiToken`] or
        /// [`Kind::Authorization`].
        to: Kind,
        /// The id of the org, user, bucket or credential.
        missing: Id,
    },
}

impl Finding {
    /// Tells whether the store is damaged. See [`Report::is_ok`].
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Dangling { .. })
    }

    /// Tells whether [`MaintenanceStore::rebuild_entries`] fixes it.
    pub const fn is_fixed_by_rebuild(&self) -> bool {
        matches!(
            self,
            Self::MissingEntry { .. } | Self::StrayEntry { .. } | Self::UnreadableEntries { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { complaint } => write!(f, "the storage engine reports: {complaint}"),
            Self::UnreadableRecords { kind, count } => {
                write!(f, "{count} records of kind {kind} cannot be read")
            }
            Self::UnreadableEntries { count } => write!(f, "{count} entries cannot be read"),
            Self::Corrupt { kind, id, problem } => write!(f, "{kind} {id}: {problem}"),
            Self::MissingEntry { entry: Entry { kind, key, id } } => {
                write!(f, "{kind} {id} is not found by its {key}")
            }
            Self::UniqueKeyTaken { kind, id, by } => {
                write!(f, "{kind} {id}: by its unique key, {by} is found")
            }
            Self::StrayEntry { entry: Entry { kind, key, id } } => {
                write!(f, "an entry says that {kind} {id} is found by its {key}, which is not so")
            }
            Self::Dangling { kind, id, to, missing } => {
                write!(f, "{kind} {id} refers to {to} {missing}, which does not exist")
            }
        }
    }
}

/// Reads every record and every entry of the store and checks them against each other: that each
/// record can be read, has exactly the entries of its unique key, org, user and grants, and that its
/// org and user exist, the buckets of DBRP mappings, and the credentials of last uses.
///
/// Memory does not grow with the store. The store may be written meanwhile: a damage is checked again
/// before it is reported. `progress` is called with the number of records read since the last call.
///
/// # Errors
///
/// Those of [`Store::list`](crate::store::Store::list) and of [`MaintenanceStore`]. Damages are in the
/// report, not errors.
pub async fn verify(
    store: &dyn MaintenanceStore,
    mut progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for complaint in store.check_files().await? {
        report.add(Finding::Files { complaint });
    }
    let fingerprint = Fingerprint::default();
    let mut expected = 0;
    let mut references = References::default();
    for kind in Kind::ALL {
        let mut pages = store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            let page = page?;
            let seen = (page.records.len() + page.unreadable) as u64;
            if seen > 0 || kind.of_used_credential().is_none() {
                *report.records.entry(kind).or_default() += seen;
            }
            if page.unreadable > 0 {
                let count = page.unreadable as u64;
                report.add(Finding::UnreadableRecords { kind, count });
            }
            for record in &page.records {
                match Entry::all_of(record) {
                    Ok(entries) => expected = fingerprint.add_all(expected, &entries),
                    Err(error) => report.add(corrupt(record, &error)),
                }
            }
            references.check(store, &page.records, &mut report).await?;
            progress(seen);
        }
    }
    let mut found = 0;
    let mut after = None;
    loop {
        let page = store.entries(after, PAGE).await?;
        report.entries += (page.entries.len() + page.unreadable) as u64;
        if page.unreadable > 0 {
            report.add(Finding::UnreadableEntries { count: page.unreadable as u64 });
        }
        found = fingerprint.add_all(found, &page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // Equal sets of entries have equal sums. To look up each entry would take far longer.
    if expected != found {
        report_missing_entries(store, &mut report).await?;
        report_stray_entries(store, &mut report).await?;
    }
    Ok(report)
}

fn corrupt(record: &Record, error: &StoreError) -> Finding {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let problem = source.unwrap_or_else(|| error.to_string());
    Finding::Corrupt { kind: record.kind, id: record.id, problem }
}

/// A sum over a set of entries, independent of their order: compares two sets that do not fit into
/// memory. The keys are random, so that different sets with equal sums cannot be prepared.
#[derive(Default)]
struct Fingerprint {
    high: RandomState,
    low: RandomState,
}

impl Fingerprint {
    fn add_all(&self, sum: u128, entries: &[Entry]) -> u128 {
        entries.iter().fold(sum, |sum, entry| {
            let high = u128::from(self.high.hash_one(entry)) << 64;
            sum.wrapping_add(high | u128::from(self.low.hash_one(entry)))
        })
    }
}

/// Which records exist, of those that were looked up.
///
/// Many records have the same few orgs and users, so this is small, or begins again.
#[derive(Default)]
struct References(HashMap<(Kind, Id), bool>);

impl References {
    /// The number of results from which it begins again.
    const MANY: usize = 65_536;

    /// Adds the references of the records that are dangling to the report.
    async fn check(
        &mut self,
        store: &dyn MaintenanceStore,
        records: &[Record],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if self.0.len() > Self::MANY {
            self.0.clear();
        }
        let references = |record: &Record| {
            let org = record.org.map(|org| (Kind::Org, org.untyped()));
            let user = record.user.map(|user| (Kind::User, user.untyped()));
            let buckets = mapped_buckets(record).into_iter();
            let buckets = buckets.map(|bucket| (Kind::Bucket, bucket.untyped()));
            let credential = record.kind.of_used_credential().map(|kind| (kind, record.id));
            org.into_iter().chain(user).chain(buckets).chain(credential)
        };
        let all: BTreeSet<_> = records.iter().flat_map(references).collect();
        let referred = [Kind::Org, Kind::User, Kind::Bucket, Kind::ApiToken, Kind::Authorization];
        for kind in referred {
            let unknown = all.iter().filter(|it| it.0 == kind && !self.0.contains_key(it));
            let ids: Vec<Id> = unknown.map(|(_, id)| *id).collect();
            for ids in ids.chunks(PAGE.get()) {
                let exist = exist(store, kind, ids).await?;
                self.0.extend(ids.iter().map(|id| (kind, *id)).zip(exist));
            }
        }
        for record in records {
            let Record { kind, id, .. } = *record;
            for (to, missing) in references(record) {
                // It may have been created since.
                if self.0.get(&(to, missing)) == Some(&false)
                    && is_still(store, record).await?
                    && exist(store, to, &[missing]).await? == [false]
                {
                    report.add(Finding::Dangling { kind, id, to, missing });
                }
            }
        }
        Ok(())
    }
}

/// Removes the last uses of credentials that do not exist, and returns their number.
///
/// # Errors
///
/// Those of [`Store::list`](crate::store::Store::list),
/// [`Store::get_many`](crate::store::Store::get_many) and
/// [`Store::commit`](crate::store::Store::commit).
pub async fn remove_orphaned_uses(store: &dyn MaintenanceStore) -> Result<u64, StoreError> {
    let mut removed = 0;
    for kind in Kind::ALL {
        let Some(of) = kind.of_used_credential() else { continue };
        let mut pages = store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            let records = page?.records;
            let ids: Vec<Id> = records.iter().map(|record| record.id).collect();
            let exist = exist(store, of, &ids).await?;
            for (record, _) in records.iter().zip(exist).filter(|(_, exists)| !exists) {
                let delete = Operation::Delete { kind, id: record.id, expect: record.revision };
                match store.commit_resolving(Batch::new().with(delete)).await {
                    Ok(()) => removed += 1,
                    // It was changed or deleted meanwhile.
                    Err(StoreError::Conflict { .. } | StoreError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(removed)
}

/// Returns the buckets that the record maps to; none if it cannot be read, which is a finding of its own.
fn mapped_buckets(record: &Record) -> BTreeSet<BucketId> {
    if record.kind != Kind::Dbrp {
        return BTreeSet::new();
    }
    let mappings = DatabaseMappings::from_record(record).ok();
    mappings.iter().flat_map(|it| it.mappings()).map(|mapping| mapping.bucket).collect()
}

/// Tells of each id whether there is a record. One that cannot be read exists, and is a finding of its
/// own.
async fn exist(
    store: &dyn MaintenanceStore,
    kind: Kind,
    ids: &[Id],
) -> Result<Vec<bool>, StoreError> {
    match store.get_many(Lookups::Ids(kind, ids)).await {
        Ok(found) => Ok(found.iter().map(Option::is_some).collect()),
        Err(StoreError::Corrupt { .. }) => {
            let mut exist = Vec::with_capacity(ids.len());
            for id in ids {
                exist.push(match store.get(Lookup::Id(kind, *id)).await {
                    Ok(found) => found.is_some(),
                    Err(StoreError::Corrupt { .. }) => true,
                    Err(error) => return Err(error),
                });
            }
            Ok(exist)
        }
        Err(error) => Err(error),
    }
}

/// Tells whether the record is unchanged since it was read.
async fn is_still(store: &dyn MaintenanceStore, record: &Record) -> Result<bool, StoreError> {
    let now = read(store, record.kind, record.id).await?;
    Ok(now.is_some_and(|now| now.revision == record.revision))
}

/// Returns the record; `None` also if it cannot be read, which is a finding of its own.
async fn read(
    store: &dyn MaintenanceStore,
    kind: Kind,
    id: Id,
) -> Result<Option<Record>, StoreError> {
    match store.get(Lookup::Id(kind, id)).await {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}

async fn report_missing_entries(
    store: &dyn MaintenanceStore,
    report: &mut Report,
) -> Result<(), StoreError> {
    for kind in Kind::ALL {
        let mut pages = store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            for record in page?.records {
                for entry in Entry::all_of(&record).unwrap_or_default() {
                    if let Some(finding) = missing(store, entry).await?
                        && is_still(store, &record).await?
                    {
                        report.add(finding);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Looks up the record by the entry's key, and returns what is wrong with the entry.
async fn missing(
    store: &dyn MaintenanceStore,
    entry: Entry,
) -> Result<Option<Finding>, StoreError> {
    let Entry { kind, id, .. } = entry;
    let index = match &entry.key {
        EntryKey::UniqueKey(key) => {
            return Ok(match store.get(Lookup::UniqueKey(kind, key)).await {
                Ok(Some(found)) if found.id == id => None,
                Ok(Some(found)) => Some(Finding::UniqueKeyTaken { kind, id, by: found.id }),
                Ok(None) | Err(StoreError::Corrupt { .. }) => Some(Finding::MissingEntry { entry }),
                Err(error) => return Err(error),
            });
        }
        EntryKey::Org(org) => Index::Org(kind, *org),
        EntryKey::User(user) => Index::User(kind, *user),
        EntryKey::Grant(grant) => Index::Grant(kind, *grant),
    };
    let after = id.as_u64().checked_sub(1).map(Id::from_u64);
    let page = store.list(index, PageRequest { after, limit: NonZeroUsize::MIN }).await?;
    let is_found = page.records.first().is_some_and(|first| first.id == id);
    Ok((!is_found).then_some(Finding::MissingEntry { entry }))
}

async fn report_stray_entries(
    store: &dyn MaintenanceStore,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.entries(after.clone(), PAGE).await?;
        let mut strays = Vec::new();
        for entry in page.entries {
            if is_stray(store, &entry).await? {
                strays.push(entry);
            }
        }
        // Records may have changed since the page was read, and their entries with them.
        if !strays.is_empty() {
            let again = store.entries(after, PAGE).await?;
            for entry in strays {
                if again.entries.contains(&entry) && is_stray(store, &entry).await? {
                    report.add(Finding::StrayEntry { entry });
                }
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn is_stray(store: &dyn MaintenanceStore, entry: &Entry) -> Result<bool, StoreError> {
    let record = match store.get(Lookup::Id(entry.kind, entry.id)).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(true),
        // Its entries cannot be derived.
        Err(StoreError::Corrupt { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(Entry::all_of(&record).is_ok_and(|entries| !entries.contains(entry)))
}
