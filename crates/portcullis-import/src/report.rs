//! What becomes of each item.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use portcullis::Id;
use serde::{Deserialize, Serialize};

use crate::spool::Spool;

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is carried as it is.
    Taken,
    /// It is carried, with the changes that the notes describe.
    Changed,
    /// The store has it.
    AlreadyThere,
    /// Portcullis has no record for it, and nothing that it would do is lost: it stays where it is.
    NotCarried,
    /// It is not carried, for the reason in the notes.
    Skipped,
    /// The operator has to decide what becomes of it.
    Undecided,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Taken,
        Self::Changed,
        Self::AlreadyThere,
        Self::NotCarried,
        Self::Skipped,
        Self::Undecided,
    ];

    /// Returns the name, in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Changed => "changed",
            Self::AlreadyThere => "already there",
            Self::NotCarried => "not carried",
            Self::Skipped => "skipped",
            Self::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An item and what becomes of it. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What it is: `org`, `user`, `bucket`, `database`, `credential`, `grant`, `API token`, or the name of
    /// something that the format has besides.
    pub kind: String,
    /// Its name in the source.
    pub name: String,
    /// What it belongs to: the credential or API token of a grant, the org of a bucket or a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The id of its record in Portcullis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// How it is changed, why it is skipped, and what is remarkable about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Whether the operator chose that it is skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

impl Entry {
    /// Makes an entry without notes.
    pub(crate) fn new(outcome: Outcome, kind: &str, name: &str) -> Self {
        Self {
            outcome,
            kind: kind.to_owned(),
            name: name.to_owned(),
            of: None,
            id: None,
            notes: Vec::new(),
            chosen: false,
        }
    }

    pub(crate) fn of(self, of: impl Into<String>) -> Self {
        Self { of: Some(of.into()), ..self }
    }

    pub(crate) fn id(self, id: impl Into<Id>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}

/// How many items have each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    /// Returns the number of items with the outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or_default()
    }

    /// Returns the number of items.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count += 1;
        }
    }
}

/// The report of a plan: an entry for each item of the source, and for each record that the operator named.
///
/// A long one is in a temporary file.
pub struct Report {
    entries: Spool,
    counts: BTreeMap<String, Counts>,
    all: Counts,
    chosen: u64,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { entries: Spool::new(), counts: BTreeMap::new(), all: Counts::default(), chosen: 0 }
    }

    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        match self.counts.get_mut(&entry.kind) {
            Some(counts) => counts.add(entry.outcome),
            None => self.counts.entry(entry.kind.clone()).or_default().add(entry.outcome),
        }
        self.all.add(entry.outcome);
        self.chosen += u64::from(entry.chosen);
        self.entries.push(entry)
    }

    /// Returns the entries, in the order of the source.
    ///
    /// # Errors
    ///
    /// Those of the temporary file; each entry may fail as well.
    pub fn entries(&mut self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        self.entries.items()
    }

    /// Returns the number of items of each kind.
    pub const fn counts(&self) -> &BTreeMap<String, Counts> {
        &self.counts
    }

    /// Returns the number of items.
    pub const fn total(&self) -> &Counts {
        &self.all
    }

    /// Returns how many items are skipped although the operator did not choose so.
    pub fn skipped(&self) -> u64 {
        self.all.of(Outcome::Skipped).saturating_sub(self.chosen)
    }

    /// Returns how many items wait for a decision of the operator.
    pub fn undecided(&self) -> u64 {
        self.all.of(Outcome::Undecided)
    }
}
