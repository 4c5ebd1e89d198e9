//! Reading a snapshot to its end, and reporting every invalid line.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::{self, BufRead};
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::line::{EndLine, Line};
use crate::store::{Batch, Entity, Kind, UniqueKey};
use crate::{
    ApiToken, ApiTokenUse, Authorization, AuthorizationUse, Bucket, DatabaseMappings, DbrpId, Id,
    Org, User, hex,
};

/// The versions there are. Both have the same lines and members; the version is for readers that do not
/// read all members.
const VERSIONS: RangeInclusive<u32> = 1..=2;

/// The longest line in bytes: far more than any record takes.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// The number of invalid lines after which reading stops.
const MAX_ERRORS: usize = 1_000;

/// A snapshot that was read: it is complete and consistent.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) records: Vec<(u64, SnapshotRecord)>,
}

/// A record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotRecord {
    /// An org.
    Org(Org),
    /// A user.
    User(User),
    /// A bucket.
    Bucket(Bucket),
    /// The DBRP mappings of a database.
    Dbrp(DatabaseMappings),
    /// An API token.
    ApiToken(ApiToken),
    /// An authorization.
    Authorization(Authorization),
    /// The last use of an API token.
    ApiTokenUse(ApiTokenUse),
    /// The last use of an authorization.
    AuthorizationUse(AuthorizationUse),
}

impl SnapshotRecord {
    /// Tells whether the record has a member that readers of version 1 refuse.
    pub fn needs_version_2(&self) -> bool {
        match self {
            Self::ApiToken(token) => token.needs_version_2(),
            Self::Authorization(authorization) => {
                authorization.needs_version_2()
                    || authorization.password_set_at.is_some()
                    || !authorization.password_history.is_empty()
            }
            // A reader of version 1 has no such line.
            Self::ApiTokenUse(_) | Self::AuthorizationUse(_) => true,
            Self::Org(_) | Self::User(_) | Self::Bucket(_) | Self::Dbrp(_) => false,
        }
    }

    /// Whether it is the last use of a credential, which is imported after everything else.
    const fn is_use(&self) -> bool {
        matches!(self, Self::ApiTokenUse(_) | Self::AuthorizationUse(_))
    }

    fn identity(&self) -> Result<(Kind, Id, UniqueKey), String> {
        fn of<E: Entity>(entity: &E) -> Result<(Kind, Id, UniqueKey), String> {
            Ok((E::KIND, entity.id(), entity.unique_key().map_err(|error| error.to_string())?))
        }
        match self {
            Self::Org(org) => of(org),
            Self::User(user) => of(user),
            Self::Bucket(bucket) => of(bucket),
            Self::Dbrp(mappings) => of(mappings),
            Self::ApiToken(token) => of(token),
            Self::Authorization(authorization) => of(authorization),
            Self::ApiTokenUse(used) => of(used),
            Self::AuthorizationUse(used) => of(used),
        }
    }
}

/// An invalid line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// Why it is invalid, without secrets.
    pub reason: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Why a text is not a snapshot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidSnapshot {
    /// It could not be read.
    #[error("could not read the snapshot")]
    Io(#[from] io::Error),
    /// The invalid lines, at most 1,000.
    #[error("{} of the snapshot's lines are refused", .0.len())]
    Lines(Vec<LineError>),
}

impl Snapshot {
    /// Reads a snapshot to its end.
    ///
    /// # Errors
    ///
    /// [`InvalidSnapshot::Io`] when reading fails, [`InvalidSnapshot::Lines`] when any line is
    /// invalid: no JSON, an unknown type or member, an invalid id, an id or a name that another
    /// line has, an unsupported hash, a first line without a last one, a last line that contradicts
    /// the lines before it.
    pub fn read(input: impl BufRead) -> Result<Self, InvalidSnapshot> {
        let mut reader = Reader::default();
        reader.read(input)?;
        if reader.errors.is_empty() {
            Ok(reader.snapshot)
        } else {
            Err(InvalidSnapshot::Lines(reader.errors))
        }
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Tells whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the records in the order of their lines.
    pub fn records(&self) -> impl Iterator<Item = &SnapshotRecord> {
        self.records.iter().map(|(_, record)| record)
    }
}

#[derive(Default)]
struct Reader {
    snapshot: Snapshot,
    errors: Vec<LineError>,
    sha256: Sha256,
    /// Whether there is a first line, which requires a last one.
    began: bool,
    ended: bool,
    /// The number of records that are imported in one commit.
    together: usize,
    /// Whether there are more of them than fit into it.
    full: bool,
    /// The line of each id and each unique key.
    ids: HashMap<(Kind, Id), u64>,
    keys: HashMap<(Kind, UniqueKey), u64>,
    /// The line of each DBRP mapping: a line may have several.
    mappings: HashMap<DbrpId, u64>,
}

impl Reader {
    fn read(&mut self, mut input: impl BufRead) -> Result<(), InvalidSnapshot> {
        let mut bytes = Vec::new();
        let mut number = 0;
        loop {
            bytes.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            if io::Read::take(&mut input, limit).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            number += 1;
            let result = if bytes.len() > MAX_LINE_BYTES {
                Err(format!("longer than {MAX_LINE_BYTES} bytes"))
            } else {
                self.line(number, &bytes)
            };
            if let Err(reason) = result {
                self.errors.push(LineError { line: number, reason });
                if self.full || self.errors.len() >= MAX_ERRORS || bytes.len() > MAX_LINE_BYTES {
                    return Ok(());
                }
            }
        }
        if self.began && !self.ended {
            let reason = "the last line is missing: the snapshot was cut short".to_owned();
            self.errors.push(LineError { line: number, reason });
        }
        Ok(())
    }

    fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
        let digest_before = self.sha256.clone();
        self.sha256.update(bytes);
        if text.trim().is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err("there must be nothing after the line `end`".to_owned());
        }
        // An array would be read as the members in their order.
        if !text.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let line: Line = serde_json::from_str(text).map_err(|error| describe(&error))?;
        let record = match line {
            Line::Snapshot(first) => {
                if number != 1 {
                    return Err("the line `snapshot` must be the first".to_owned());
                }
                self.began = true;
                if !VERSIONS.contains(&first.version) {
                    return Err(format!(
                        "version {} is not known here: it was written by a newer Portcullis",
                        first.version
                    ));
                }
                return Ok(());
            }
            Line::End(end) => {
                self.ended = true;
                return self.end(&end, digest_before);
            }
            Line::Org(org) => SnapshotRecord::Org(org),
            Line::User(user) => SnapshotRecord::User(user),
            Line::Bucket(bucket) => SnapshotRecord::Bucket(bucket),
            Line::Dbrp(line) => SnapshotRecord::Dbrp(line.try_into()?),
            Line::ApiToken(line) => SnapshotRecord::ApiToken(line.try_into()?),
            Line::Authorization(authorization) => SnapshotRecord::Authorization(authorization),
            Line::ApiTokenUse(line) => SnapshotRecord::ApiTokenUse(line.into()),
            Line::AuthorizationUse(line) => SnapshotRecord::AuthorizationUse(line.into()),
        };
        self.record(number, record)
    }

    fn record(&mut self, number: u64, record: SnapshotRecord) -> Result<(), String> {
        let (kind, id, key) = record.identity()?;
        self.together += usize::from(!record.is_use());
        let most = 2 * Batch::MAX_OPERATIONS;
        if self.together > Batch::MAX_OPERATIONS || self.snapshot.records.len() == most {
            self.full = true;
            return Err(format!(
                "there are more than {} records: import them in smaller parts",
                Batch::MAX_OPERATIONS
            ));
        }
        claim(&mut self.ids, (kind, id), number)
            .map_err(|other| format!("{kind} {id} is on line {other} already"))?;
        claim(&mut self.keys, (kind, key), number).map_err(|other| {
            let what = if kind == Kind::ApiToken { "token" } else { "name" };
            format!("{kind} {id} has the same {what} as line {other}")
        })?;
        if let SnapshotRecord::Dbrp(mappings) = &record {
            for mapping in mappings.mappings() {
                claim(&mut self.mappings, mapping.id, number).map_err(|other| {
                    format!("the mapping {} is on line {other} already", mapping.id)
                })?;
            }
        }
        self.snapshot.records.push((number, record));
        Ok(())
    }

    fn end(&self, end: &EndLine, digest_before: Sha256) -> Result<(), String> {
        let lines = self.snapshot.records.len() as u64 + self.errors.len() as u64;
        if end.count != lines {
            return Err(format!("`count` is {} and there are {lines} records", end.count));
        }
        if !end.sha256.eq_ignore_ascii_case(&hex::encode(&digest_before.finalize())) {
            return Err("`sha256` does not fit the lines before: they were changed".to_owned());
        }
        Ok(())
    }
}

fn claim<K: std::hash::Hash + Eq>(
    owners: &mut HashMap<K, u64>,
    key: K,
    line: u64,
) -> Result<(), u64> {
    match owners.entry(key) {
        Entry::Occupied(owner) => Err(*owner.get()),
        Entry::Vacant(free) => {
            free.insert(line);
            Ok(())
        }
    }
}

/// Describes an error in the JSON. The messages of this crate's types hold no secret. Serde's own
/// messages quote names and numbers, and a string of the wrong type whole, so it is cut out.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The JSON is always one line; the message begins with the line of the snapshot.
    let text = text.replace(" at line 1 column ", " at column ");
    // A value of the wrong type may be a secret at the wrong member.
    if let Some(rest) = text.strip_prefix("invalid type: ")
        && let (Some(kind), Some((_, expected))) =
            (rest.split([' ', ',']).next(), rest.rsplit_once(", expected "))
    {
        return format!("invalid type: {kind}, expected {expected}");
    }
    match text.split_once("string \"") {
        Some((before, rest)) => {
            let after = rest.rsplit_once("\",").map_or("", |(_, after)| after);
            format!("{before}a string,{after}")
        }
        None => text,
    }
}
