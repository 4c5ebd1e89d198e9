//! An engine, a file, and the report of importing it.

use std::io::Write;
use std::sync::Arc;

use portcullis::store::MemoryStore;
use portcullis::{Action, Credentials, Engine, Error, Principal, Resource, ResourceType};
use portcullis_import::item::Item;
use portcullis_import::{
    Admins, Entry, Format, Options, Outcome, Plan, PlanError, Source, SourceError, plan,
};
use portcullis_testkit::world;
use tempfile::NamedTempFile;

/// An engine on a new store in memory.
pub(crate) async fn engine() -> Engine {
    world::builder(Arc::new(MemoryStore::new().unwrap())).build().await.unwrap()
}

/// Org `acme`, user `ada`.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.org = Some("acme".to_owned());
    options.user = Some("ada".to_owned());
    options
}

pub(crate) fn with_admins(admins: Admins) -> Options {
    let mut options = options();
    options.admins = Some(admins);
    options
}

/// The bytes in a file.
pub(crate) fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn open(bytes: &[u8]) -> Result<Box<dyn Source>, SourceError> {
    Format::Influxdb1x.open(file(bytes).path())
}

/// Every item of a `meta.db`.
pub(crate) fn items(bytes: &[u8]) -> Result<Vec<Item>, SourceError> {
    let mut source = open(bytes)?;
    std::iter::from_fn(|| source.next().transpose()).collect()
}

/// Plans a `meta.db`.
pub(crate) async fn planned(engine: &Engine, bytes: &[u8], options: &Options) -> Plan {
    plan(&mut *open(bytes).unwrap(), engine, options).await.unwrap()
}

/// Imports a `meta.db` into the store, and returns its report.
pub(crate) async fn import(engine: &Engine, bytes: &[u8], options: &Options) -> Vec<Entry> {
    let mut plan = planned(engine, bytes, options).await;
    plan.store(engine).await.unwrap();
    entries(&mut plan)
}

pub(crate) fn entries(plan: &mut Plan) -> Vec<Entry> {
    plan.report_mut().entries().unwrap().map(Result::unwrap).collect()
}

/// A source that holds these items.
pub(crate) struct Items(pub(crate) std::vec::IntoIter<Item>);

impl Items {
    pub(crate) fn new(items: impl IntoIterator<Item = Item>) -> Self {
        Self(items.into_iter().collect::<Vec<_>>().into_iter())
    }
}

impl Source for Items {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.next())
    }
}

/// Imports the items into the store, and returns the report.
pub(crate) async fn import_items(
    engine: &Engine,
    items: impl IntoIterator<Item = Item>,
    options: &Options,
) -> Result<Vec<Entry>, PlanError> {
    let mut plan = plan(&mut Items::new(items), engine, options).await?;
    plan.store(engine).await.unwrap();
    Ok(entries(&mut plan))
}

/// `KIND NAME: OUTCOME` of every entry, `KIND OF/NAME` for grants.
pub(crate) fn lines(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| {
        let of = entry.of.as_ref().filter(|_| entry.kind == "grant");
        let of = of.map(|of| format!("{of}/")).unwrap_or_default();
        format!("{} {of}{}: {}", entry.kind, entry.name, entry.outcome)
    };
    entries.iter().map(line).collect()
}

/// The entry of an item.
pub(crate) fn entry<'e>(entries: &'e [Entry], kind: &str, name: &str) -> &'e Entry {
    let mut found = entries.iter().filter(|entry| entry.kind == kind && entry.name == name);
    let entry = found.next().unwrap_or_else(|| panic!("no {kind} {name} in {entries:?}"));
    assert!(found.next().is_none(), "two entries of {kind} {name}");
    entry
}

pub(crate) fn outcome(entries: &[Entry], kind: &str, name: &str) -> Outcome {
    entry(entries, kind, name).outcome
}

pub(crate) fn notes(entries: &[Entry], kind: &str, name: &str) -> String {
    entry(entries, kind, name).notes.join("; ")
}

pub(crate) async fn login(engine: &Engine, name: &str, password: &str) -> Result<Principal, Error> {
    engine.authenticate(Credentials::password(name, password)).await
}

/// `read`, `write`, both or nothing: what the credential may do in the retention policy of the database.
pub(crate) async fn may(
    engine: &Engine,
    principal: &Principal,
    database: &str,
    policy: Option<&str>,
) -> String {
    let org = principal.org();
    let bucket = engine.database_bucket(org, database, policy).await.unwrap().bucket();
    let Some(bucket) = bucket else { return "no bucket".to_owned() };
    let resource = Resource::all(ResourceType::Buckets).in_org(org).with_id(bucket);
    let held =
        Action::ALL.into_iter().filter(|action| principal.check(*action, &resource).is_allowed());
    held.map(Action::as_str).collect::<Vec<_>>().join(" ")
}
