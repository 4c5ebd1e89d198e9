//! Verifying a store: every record, and everything by which it is found, against each other.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

use futures_util::StreamExt;

use crate::store::{
    Entry, EntryKey, Index, Kind, Lookup, Maintain, PageRequest, Record, StoreError, StoreExt,
};
use crate::{Id, OrgId, UserId};

/// How many records or entries are looked at together.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many records there are of each kind, unreadable ones included.
    pub records: BTreeMap<Kind, u64>,
    /// How many entries there are, unreadable ones included.
    pub entries: u64,
    /// How many things are wrong.
    pub damages: u64,
    /// How many references lead nowhere.
    pub dangling: u64,
    /// The first of both kinds, at most [`Report::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// So many findings are kept; the others are counted.
    pub const MAX_FINDINGS: usize = 1_000;

    /// Tells whether nothing is wrong. References that lead nowhere are not: imports may bring
    /// them, and hosts with a directory of their own keep neither orgs nor users here.
    pub const fn is_sound(&self) -> bool {
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

/// One thing that is not as it should be. None of them holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The storage engine's own check complains about its files.
    Files {
        /// What it says.
        complaint: String,
    },
    /// Not even what stands beside the body of these records can be read.
    UnreadableRecords {
        /// Their kind.
        kind: Kind,
        /// How many there are.
        count: u64,
    },
    /// These entries cannot be read.
    UnreadableEntries {
        /// How many there are.
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
    /// The record is not found by what it should be.
    MissingEntry {
        /// The entry that is not there.
        entry: Entry,
    },
    /// Another record is found by the record's unique key.
    UniqueKeyTaken {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: Id,
        /// The id of the one that is found.
        by: Id,
    },
    /// The record is found by what it should not be, or is not there at all.
    StrayEntry {
        /// The entry that should not be there.
        entry: Entry,
    },
    /// The record refers to an org or user that is not there. It cannot be used to log in.
    Dangling {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: Id,
        /// [`Kind::Org`] or [`Kind::User`].
        to: Kind,
        /// The id that it refers to.
        missing: Id,
    },
}

impl Finding {
    /// Tells whether the store is damaged. See [`Report::is_sound`].
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Dangling { .. })
    }

    /// Tells whether making the entries anew mends it ([`Maintain::rebuild_entries`]).
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
            Self::Files { complaint } => write!(f, "the storage engine says: {complaint}"),
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
/// record can be read, is found by its unique key, org, user and grants and by nothing else, and
/// that the org and user it refers to exist.
///
/// Memory does not grow with the store. Others may go on writing: whatever looks wrong is looked
/// at again before it is reported. `progress` is called with the number of records looked at since
/// the last call.
///
/// # Errors
///
/// Those of [`Store::list`](crate::store::Store::list) and of [`Maintain`]. What is wrong with the
/// records is in the report, not an error.
pub async fn verify(
    store: &dyn Maintain,
    mut progress: impl FnMut(u64),
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for complaint in store.check_files().await? {
        report.add(Finding::Files { complaint });
    }
    let fingerprint = Fingerprint::default();
    let mut expected = 0;
    for kind in Kind::ALL {
        let mut references = References::default();
        let mut pages = store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            let page = page?;
            let seen = (page.records.len() + page.unreadable) as u64;
            *report.records.entry(kind).or_default() += seen;
            if page.unreadable > 0 {
                let count = page.unreadable as u64;
                report.add(Finding::UnreadableRecords { kind, count });
            }
            for record in &page.records {
                match Entry::all_of(record) {
                    Ok(entries) => expected = fingerprint.add_all(expected, &entries),
                    Err(error) => report.add(corrupt(record, &error)),
                }
                references.check(store, record, &mut report).await?;
            }
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
    // Equal sets of entries have equal sums; looking up each of them would take far longer.
    if expected != found {
        name_missing_entries(store, &mut report).await?;
        name_stray_entries(store, &mut report).await?;
    }
    Ok(report)
}

fn corrupt(record: &Record, error: &StoreError) -> Finding {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let problem = source.unwrap_or_else(|| error.to_string());
    Finding::Corrupt { kind: record.kind, id: record.id, problem }
}

/// Sums up sets, so that two can be compared whose order differs and which memory does not hold.
/// The keys are random, so that nobody can prepare sets that differ and have the same sum.
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

/// The references checked last, since neighbours often share them.
#[derive(Default)]
struct References {
    org: Option<(OrgId, bool)>,
    user: Option<(UserId, bool)>,
}

impl References {
    async fn check(
        &mut self,
        store: &dyn Maintain,
        record: &Record,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Record { kind, id, .. } = *record;
        if let Some(org) = record.org
            && !known(store, &mut self.org, org, Kind::Org, org.untyped()).await?
            && is_still(store, record).await?
        {
            report.add(Finding::Dangling { kind, id, to: Kind::Org, missing: org.untyped() });
        }
        if let Some(user) = record.user
            && !known(store, &mut self.user, user, Kind::User, user.untyped()).await?
            && is_still(store, record).await?
        {
            report.add(Finding::Dangling { kind, id, to: Kind::User, missing: user.untyped() });
        }
        Ok(())
    }
}

async fn known<T: Copy + PartialEq>(
    store: &dyn Maintain,
    last: &mut Option<(T, bool)>,
    this: T,
    kind: Kind,
    id: Id,
) -> Result<bool, StoreError> {
    match *last {
        Some((known, exists)) if known == this => Ok(exists),
        _ => {
            let exists = match store.get(Lookup::Id(kind, id)).await {
                Ok(found) => found.is_some(),
                // It is there; that it cannot be read is reported by itself.
                Err(StoreError::Corrupt { .. }) => true,
                Err(error) => return Err(error),
            };
            *last = Some((this, exists));
            Ok(exists)
        }
    }
}

/// Tells whether the record is as it was read before.
async fn is_still(store: &dyn Maintain, record: &Record) -> Result<bool, StoreError> {
    let now = read(store, record.kind, record.id).await?;
    Ok(now.is_some_and(|now| now.revision == record.revision))
}

/// Returns the record, `None` also when it cannot be read: that is reported elsewhere.
async fn read(store: &dyn Maintain, kind: Kind, id: Id) -> Result<Option<Record>, StoreError> {
    match store.get(Lookup::Id(kind, id)).await {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}

async fn name_missing_entries(store: &dyn Maintain, report: &mut Report) -> Result<(), StoreError> {
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

/// Says what is wrong when the record is looked for by the entry's key.
async fn missing(store: &dyn Maintain, entry: Entry) -> Result<Option<Finding>, StoreError> {
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

async fn name_stray_entries(store: &dyn Maintain, report: &mut Report) -> Result<(), StoreError> {
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

async fn is_stray(store: &dyn Maintain, entry: &Entry) -> Result<bool, StoreError> {
    let record = match store.get(Lookup::Id(entry.kind, entry.id)).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(true),
        // What it should be found by is not known.
        Err(StoreError::Corrupt { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(Entry::all_of(&record).is_ok_and(|entries| !entries.contains(entry)))
}
