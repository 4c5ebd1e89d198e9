//! What a batch is to the database: few statements, each for as many operations as it can be.

use std::collections::{BTreeSet, HashSet};

use portcullis::Id;
use portcullis::store::{Expect, Kind, Operation, Record, Revision, StoreError, Taken};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::connection::Connection;
use crate::error::Failure;
use crate::tables::{self, Ask, Table};
use crate::text;

/// How many records one statement inserts, and about how many bytes of them.
const MOST_ROWS: usize = 1_000;
const MOST_BYTES: usize = 1 << 20;

/// A statement, for the operations from `first` on.
pub(crate) struct Step {
    first: usize,
    table: &'static Table,
    work: Work,
}

enum Work {
    Insert(Box<Columns>),
    Update(Box<Update>),
    Delete { id: Id, expect: Revision },
    Require { ids: Vec<Id> },
}

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Verdict {
    Done,
    /// The operation of this number could not be carried out. Why, and whether it could be now, is
    /// for another look.
    Not(usize),
}

/// What is new of several records.
#[derive(Default)]
struct Columns {
    ids: Vec<String>,
    revisions: Vec<[u8; 16]>,
    unique_keys: Vec<String>,
    orgs: Vec<Option<String>>,
    users: Vec<Option<String>>,
    statuses: Vec<&'static str>,
    bodies: Vec<String>,
    granted_ids: Vec<String>,
    grants: Vec<String>,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, record: &Record, grants: impl IntoIterator<Item = String>) {
        let id = record.id.to_string();
        for grant in grants {
            self.granted_ids.push(id.clone());
            self.grants.push(grant);
        }
        self.bytes += record.body.len() + record.unique_key.as_str().len();
        self.ids.push(id);
        self.revisions.push(bytes(record.revision));
        self.unique_keys.push(text::kept(record.unique_key.as_str()).into_owned());
        self.orgs.push(record.org.map(|org| org.to_string()));
        self.users.push(record.user.map(|user| user.to_string()));
        self.statuses.push(record.status.as_str());
        self.bodies.push(text::kept(&record.body).into_owned());
    }
}

struct Update {
    columns: Columns,
    expect: Revision,
}

/// Makes the steps. Operations that had a closer look coming get a step of their own.
pub(crate) fn plan(
    operations: &[Operation],
    alone: &BTreeSet<usize>,
) -> Result<Vec<Step>, StoreError> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let joins = number > 0 && !alone.contains(&number) && !alone.contains(&(number - 1));
        let last = steps.last_mut().filter(|_| joins);
        match operation {
            Operation::Put { record, grants, expect } => {
                let table = tables::of(record.kind)?;
                let grants = grants.iter().map(ToString::to_string);
                match (expect, last) {
                    (
                        Expect::Absent,
                        Some(Step { table: same, work: Work::Insert(columns), .. }),
                    ) if same.kind == table.kind
                        && columns.ids.len() < MOST_ROWS
                        && columns.bytes < MOST_BYTES =>
                    {
                        columns.push(record, grants);
                    }
                    (Expect::Absent, _) => {
                        let mut columns = Box::<Columns>::default();
                        columns.push(record, grants);
                        steps.push(Step { first: number, table, work: Work::Insert(columns) });
                    }
                    (Expect::Revision(expect), _) => {
                        let mut columns = Columns::default();
                        columns.push(record, grants);
                        let update = Box::new(Update { columns, expect: *expect });
                        steps.push(Step { first: number, table, work: Work::Update(update) });
                    }
                }
            }
            Operation::Delete { kind, id, expect } => {
                let (table, work) = (tables::of(*kind)?, Work::Delete { id: *id, expect: *expect });
                steps.push(Step { first: number, table, work });
            }
            Operation::Require { kind, id } => match last {
                Some(Step { table, work: Work::Require { ids }, .. })
                    if table.kind == *kind && ids.len() < MOST_ROWS =>
                {
                    ids.push(*id);
                }
                _ => {
                    let (table, work) = (tables::of(*kind)?, Work::Require { ids: vec![*id] });
                    steps.push(Step { first: number, table, work });
                }
            },
            other => return Err(StoreError::backend(format!("unknown operation {other:?}"))),
        }
    }
    Ok(steps)
}

impl Step {
    /// The number of its first operation.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    pub(crate) async fn prepare(&self, connection: &mut Connection) -> Result<Statement, Failure> {
        let ask = match &self.work {
            Work::Insert(_) => Ask::Insert,
            Work::Update(_) => Ask::Update,
            Work::Delete { .. } => Ask::Delete,
            Work::Require { .. } => Ask::Require,
        };
        connection.prepared(self.table, ask).await
    }

    /// Carries it out. The statement is sent when this is polled first.
    pub(crate) async fn run(
        &self,
        client: &Client,
        statement: &Statement,
        batch: i64,
    ) -> Result<Verdict, tokio_postgres::Error> {
        match &self.work {
            Work::Insert(columns) => self.insert(client, statement, columns, batch).await,
            Work::Update(update) => self.update(client, statement, update, batch).await,
            Work::Delete { id, expect } => {
                let id = id.to_string();
                let expect = bytes(*expect);
                let row = client.query_opt(statement, &[&id, &&expect[..], &batch]).await?;
                Ok(self.done_if(row.is_some()))
            }
            Work::Require { ids } => {
                let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let rows = client.query(statement, &[&texts]).await?;
                let there: HashSet<&str> =
                    rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
                Ok(self.first_missing(texts.iter().map(|id| there.contains(id.as_str()))))
            }
        }
    }

    async fn insert(
        &self,
        client: &Client,
        statement: &Statement,
        new: &Columns,
        batch: i64,
    ) -> Result<Verdict, tokio_postgres::Error> {
        let revisions: Vec<&[u8]> = new.revisions.iter().map(|revision| &revision[..]).collect();
        let rows = client
            .query(
                statement,
                &[
                    &new.ids,
                    &revisions,
                    &new.unique_keys,
                    &new.orgs,
                    &new.users,
                    &new.statuses,
                    &new.bodies,
                    &new.granted_ids,
                    &new.grants,
                    &batch,
                ],
            )
            .await?;
        if rows.len() == new.ids.len() {
            return Ok(Verdict::Done);
        }
        // Those that come back were inserted, one each.
        let mut inserted: HashSet<&str> =
            rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        Ok(self.first_missing(new.ids.iter().map(|id| inserted.remove(id.as_str()))))
    }

    async fn update(
        &self,
        client: &Client,
        statement: &Statement,
        Update { columns: new, expect }: &Update,
        batch: i64,
    ) -> Result<Verdict, tokio_postgres::Error> {
        let expect = bytes(*expect);
        let updated = client
            .query_opt(
                statement,
                &[
                    &new.ids.first(),
                    &new.revisions.first().map(|revision| &revision[..]),
                    &new.unique_keys.first(),
                    &new.orgs.first().and_then(Option::as_ref),
                    &new.users.first().and_then(Option::as_ref),
                    &new.statuses.first(),
                    &new.bodies.first(),
                    &&expect[..],
                    &new.grants,
                    &batch,
                ],
            )
            .await;
        match updated {
            // By the constraint: the id stays, so it is the unique key that is taken.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Ok(Verdict::Not(self.first))
            }
            other => Ok(self.done_if(other?.is_some())),
        }
    }

    fn done_if(&self, done: bool) -> Verdict {
        if done { Verdict::Done } else { Verdict::Not(self.first) }
    }

    fn first_missing(&self, there: impl Iterator<Item = bool>) -> Verdict {
        let mut there = there.enumerate();
        match there.find(|(_, there)| !there) {
            Some((number, _)) => Verdict::Not(self.first + number),
            None => Verdict::Done,
        }
    }
}

/// What a closer look has found out about an operation.
pub(crate) enum Look {
    /// Nothing is in its way: carry it out.
    Clear,
    Refused(StoreError),
}

/// Looks what is in the way of an operation, after all operations before it. What it finds is
/// locked: nothing will be in its way later.
pub(crate) async fn look_before(
    connection: &mut Connection,
    operation: &Operation,
) -> Result<Look, Failure> {
    let (kind, id, expect) = match operation {
        Operation::Put { record, expect: Expect::Revision(expect), .. } => {
            (record.kind, record.id, *expect)
        }
        Operation::Delete { kind, id, expect } => (*kind, *id, *expect),
        _ => return Ok(Look::Clear),
    };
    let Ok(table) = tables::of(kind) else { return Ok(Look::Clear) };
    let statement = connection.prepared(table, Ask::Revision).await?;
    let id_text = id.to_string();
    let rows = connection.rows(&statement, &[&id_text]).await?;
    Ok(match rows.first().map(|row| row.try_get::<_, Vec<u8>>(0).ok()) {
        None => Look::Refused(StoreError::Missing { kind, id }),
        Some(Some(revision)) if revision == bytes(expect) => Look::Clear,
        Some(_) => Look::Refused(StoreError::Conflict { kind, id }),
    })
}

/// Says why an operation that was alone in its step, and had nothing in its way that a look
/// [before](look_before) could find, was not carried out. `None` when it no longer is so.
///
/// Where a unique key made an update fail, the transaction has failed with it, and nothing needs to
/// be asked.
pub(crate) async fn look_after(
    connection: &mut Connection,
    operation: &Operation,
) -> Result<Option<StoreError>, Failure> {
    let already_exists = |record: &Record, taken| {
        let (kind, id) = (record.kind, record.id);
        Some(StoreError::AlreadyExists { kind, id, taken })
    };
    match operation {
        Operation::Require { kind, id } => Ok(Some(StoreError::Missing { kind: *kind, id: *id })),
        Operation::Put { record, expect: Expect::Revision(_), .. } => {
            Ok(already_exists(record, Taken::UniqueKey))
        }
        Operation::Put { record, expect: Expect::Absent, .. } => {
            let Ok(table) = tables::of(record.kind) else { return Ok(None) };
            // A taken id is told first.
            let keys = [
                (Ask::ById, Taken::Id, record.id.to_string()),
                (
                    Ask::ByUniqueKey,
                    Taken::UniqueKey,
                    text::kept(record.unique_key.as_str()).into_owned(),
                ),
            ];
            for (ask, taken, key) in keys {
                let statement = connection.prepared(table, ask).await?;
                if !connection.rows(&statement, &[&key]).await?.is_empty() {
                    return Ok(already_exists(record, taken));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// What a batch changes, in the order of its operations.
pub(crate) fn changes(operations: &[Operation]) -> impl Iterator<Item = (Kind, Id)> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Put { record, .. } => Some((record.kind, record.id)),
        Operation::Delete { kind, id, .. } => Some((*kind, *id)),
        _ => None,
    })
}

fn bytes(revision: Revision) -> [u8; 16] {
    revision.as_u128().to_be_bytes()
}
