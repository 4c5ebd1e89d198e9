//! What becomes of the items of a source: new records, and a report.

mod credentials;
mod grants;
mod ids;
mod store;
mod tenants;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::str::FromStr;

use portcullis::store::StoreError;
use portcullis::{
    ApiTokenId, BucketId, Engine, Error, Id, OrgId, Permission, RandomUnavailable, SystemRandom,
    Timestamp, TokenSecret, UserId,
};
use thiserror::Error;

use self::ids::Ids;
pub use self::store::StorePlanError;
use crate::item::{Item, Key, NotCarried};
use crate::line::Line;
use crate::names::{Names, Seen};
use crate::report::{Entry, Outcome, Report};
use crate::source::{Source, SourceError};
use crate::spool::Spool;

/// What the operator decides about an import.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The org of what has none in the source, by id or name. It is created if there is none of the name.
    pub org: Option<String>,
    /// The user to which credentials belong that have none in the source, by id or name. It is created if
    /// there is none of the name.
    pub user: Option<String>,
    /// What becomes of administrators. Without a choice they are [`Outcome::Undecided`].
    pub admins: Option<Admins>,
    /// The buckets that credentials and API tokens may read, by id or name, of a source
    /// [without grants](Source::has_grants). Each is in [`Options::org`], and is created if there is none of the
    /// name.
    pub read_buckets: Vec<String>,
    /// The same for writing.
    pub write_buckets: Vec<String>,
}

/// What becomes of a credential that may do everything in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admins {
    /// It keeps its grants, and a new API token holds the permissions of an operator.
    OperatorToken,
    /// It may read and write all buckets of its org.
    OrgOwner,
    /// It is not carried.
    Skip,
}

impl Admins {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::OperatorToken, Self::OrgOwner, Self::Skip];

    /// Returns the name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OperatorToken => "operator-token",
            Self::OrgOwner => "org-owner",
            Self::Skip => "skip",
        }
    }
}

impl FromStr for Admins {
    type Err = String;

    /// Parses the exact name.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|admins| admins.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not operator-token, org-owner or skip"))
    }
}

/// An API token that an import creates for an administrator.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The username of the administrator.
    pub name: String,
    /// The id of the token.
    pub id: ApiTokenId,
    /// Its secret, which is not stored.
    pub secret: TokenSecret,
}

/// The new records of an import, and its report. Nothing is stored before [`Plan::store`].
///
/// What is long is in temporary files.
pub struct Plan {
    records: Spool,
    report: Report,
    tokens: Vec<NewToken>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records.len();
        f.debug_struct("Plan").field("records", &records).finish_non_exhaustive()
    }
}

impl Plan {
    /// Returns the number of new records.
    pub const fn new_records(&self) -> u64 {
        self.records.len()
    }

    /// Returns the report.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the report, whose entries are read from a temporary file.
    pub const fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// Returns the API tokens that are created for administrators.
    pub fn new_tokens(&self) -> &[NewToken] {
        &self.tokens
    }
}

/// Why there is no plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store failed, or a password could not be hashed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// Something in the file has no org, and the operator has not named one.
    #[error("what is in the file belongs to no org: name one")]
    OrgRequired,
    /// A credential belongs to no user, and the operator has not named one.
    #[error("the credentials in the file belong to no user: name one")]
    UserRequired,
    /// The name of the org or of the user cannot be that of a record.
    #[error("`{name}`: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator named buckets, and the source has grants.
    #[error("the format has permissions of its own: no buckets can be named")]
    HasGrants,
    /// A temporary file could not be written.
    #[error("a temporary file could not be written")]
    TemporaryFile(#[from] io::Error),
    /// There are no random numbers.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// Decides what becomes of the items of the source. Reads the records of the engine, and stores nothing.
///
/// The source is read in between, which blocks: do not call this on a thread that serves requests.
///
/// # Errors
///
/// [`PlanError`]: the file, the store, a temporary file, or an org or user that has to be named.
pub async fn plan(
    source: &mut dyn Source,
    engine: &Engine,
    options: &Options,
) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(engine, options)?;
    planner.name_buckets(source.has_grants()).await?;
    while let Some(item) = source.next()? {
        planner.add(item).await?;
    }
    let Planner { records, report, tokens, .. } = planner;
    Ok(Plan { records, report, tokens })
}

/// Plans item by item.
struct Planner<'a> {
    engine: &'a Engine,
    options: &'a Options,
    records: Spool,
    report: Report,
    tokens: Vec<NewToken>,
    ids: Ids,
    now: Timestamp,
    names: Names,
    /// What the keys of the source are here. One that is missing was skipped.
    orgs: HashMap<Key, OrgId>,
    users: HashMap<Key, UserId>,
    buckets: HashMap<Key, (OrgId, BucketId)>,
    /// The new orgs and users by their names.
    new_orgs: HashMap<String, OrgId>,
    new_users: HashMap<String, UserId>,
    /// The new buckets and databases: a name is unique in an org.
    new_buckets: HashSet<(OrgId, String)>,
    new_databases: HashSet<(OrgId, String)>,
    named_org: Option<OrgId>,
    named_user: Option<UserId>,
    /// Permissions on the buckets that the operator named.
    named_permissions: Vec<Permission>,
}

impl<'a> Planner<'a> {
    fn new(engine: &'a Engine, options: &'a Options) -> Result<Self, PlanError> {
        let now = Timestamp::now();
        Ok(Self {
            engine,
            options,
            records: Spool::new(),
            report: Report::new(),
            tokens: Vec::new(),
            ids: Ids::starting(now, &SystemRandom)?,
            now,
            names: Names::new(&SystemRandom)?,
            orgs: HashMap::new(),
            users: HashMap::new(),
            buckets: HashMap::new(),
            new_orgs: HashMap::new(),
            new_users: HashMap::new(),
            new_buckets: HashSet::new(),
            new_databases: HashSet::new(),
            named_org: None,
            named_user: None,
            named_permissions: Vec::new(),
        })
    }

    async fn add(&mut self, item: Item) -> Result<(), PlanError> {
        match item {
            Item::Org(item) => self.add_org(item).await,
            Item::User(item) => self.add_user(item).await,
            Item::Bucket(item) => self.add_bucket(item).await,
            Item::Database(item) => self.add_database(item).await,
            Item::Credential(item) => self.add_credential(item).await,
            Item::Token(item) => self.add_token(item).await,
            Item::NotCarried(NotCarried { kind, name, why, is_skipped }) => {
                let outcome = if is_skipped { Outcome::Skipped } else { Outcome::NotCarried };
                self.report(&Entry::new(outcome, &kind, &name).note(why))
            }
        }
    }

    fn report(&mut self, entry: &Entry) -> Result<(), PlanError> {
        Ok(self.report.add(entry)?)
    }

    fn record(&mut self, line: &Line<'_>) -> Result<(), PlanError> {
        Ok(self.records.push(line)?)
    }

    /// Adds the name of a new record to those of its kind, and returns the note about a similar one.
    fn note_of_name(&mut self, kind: &'static str, name: &str) -> Option<String> {
        match self.names.add(kind, name) {
            Seen::Similar(folded) => Some(format!(
                "another name differs from this one only by case or Unicode form: both are `{folded}` \
                 without"
            )),
            Seen::New | Seen::Same => None,
        }
    }
}

/// The id of a new record: the one of the source, or a fresh one and the note about it.
fn kept(id: Option<Id>, is_free: bool, ids: &mut Ids) -> (Id, Option<String>) {
    match id {
        Some(id) if is_free && !id.is_zero() => (id, None),
        Some(id) => (ids.next(), Some(format!("its id {id} is not free: it has another one"))),
        None => (ids.next(), None),
    }
}

/// `Changed` if there is a change, otherwise `Taken`.
fn taken_or_changed<'n>(changes: impl IntoIterator<Item = &'n String>) -> Outcome {
    match changes.into_iter().next() {
        Some(_) => Outcome::Changed,
        None => Outcome::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_for_administrators_is_its_exact_name() {
        for admins in Admins::ALL {
            assert_eq!(admins.as_str().parse(), Ok(admins));
        }
        assert!("Skip".parse::<Admins>().is_err());
    }
}
