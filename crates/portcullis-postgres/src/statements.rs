//! Plans a batch as few statements, each for as many operations as possible.

use std::collections::{BTreeSet, HashSet};

use portcullis::Id;
use portcullis::store::{Duplicate, Expect, Kind, Operation, Record, Revision, StoreError};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::connection::Connection;
use crate::error::Failure;
use crate::escape;
use crate::tables::{Query, TABLES, Table};

/// How many records one statement inserts, and about how many bytes.
const MAX_ROWS: usize = 1_000;
const MAX_BYTES: usize = 1 << 20;

/// A statement for the operations from `first` on.
pub(crate) struct BatchStatement {
    first: usize,
    table: &'static Table,
    action: Action,
}

enum Action {
    Insert(Box<Columns>),
    Update(Box<Update>),
    Delete { id: Id, expect: Revision },
    Require { ids: Vec<Id> },
}

/// The outcome of a statement.
#[derive(Debug)]
pub(crate) enum Outcome {
    Applied,
    /// The operation of this number could not be applied. The reason, and whether it still holds,
    /// takes a check.
    NotApplied(usize),
}

/// The columns of one or more records.
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
        self.unique_keys.push(escape::escape(record.unique_key.as_str()).into_owned());
        self.orgs.push(record.org.map(|org| org.to_string()));
        self.users.push(record.user.map(|user| user.to_string()));
        self.statuses.push(record.status.as_str());
        self.bodies.push(escape::escape(&record.body).into_owned());
    }
}

struct Update {
    columns: Columns,
    expect: Revision,
}

/// Plans the statements. Isolated operations get a statement of their own.
pub(crate) fn plan(
    operations: &[Operation],
    isolated: &BTreeSet<usize>,
) -> Result<Vec<BatchStatement>, StoreError> {
    let mut planned: Vec<BatchStatement> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let joins = number > 0 && !isolated.contains(&number) && !isolated.contains(&(number - 1));
        let last = planned.last_mut().filter(|_| joins);
        match operation {
            Operation::Put { record, grants, expect } => {
                let table = TABLES.of(record.kind);
                let grants = grants.iter().map(ToString::to_string);
                match (expect, last) {
                    (
                        Expect::Absent,
                        Some(BatchStatement {
                            table: same, action: Action::Insert(columns), ..
                        }),
                    ) if same.kind == table.kind
                        && columns.ids.len() < MAX_ROWS
                        && columns.bytes < MAX_BYTES =>
                    {
                        columns.push(record, grants);
                    }
                    (Expect::Absent, _) => {
                        let mut columns = Box::<Columns>::default();
                        columns.push(record, grants);
                        planned.push(BatchStatement {
                            first: number,
                            table,
                            action: Action::Insert(columns),
                        });
                    }
                    (Expect::Revision(expect), _) => {
                        let mut columns = Columns::default();
                        columns.push(record, grants);
                        let update = Box::new(Update { columns, expect: *expect });
                        planned.push(BatchStatement {
                            first: number,
                            table,
                            action: Action::Update(update),
                        });
                    }
                }
            }
            Operation::Delete { kind, id, expect } => {
                let (table, action) =
                    (TABLES.of(*kind), Action::Delete { id: *id, expect: *expect });
                planned.push(BatchStatement { first: number, table, action });
            }
            Operation::Require { kind, id } => match last {
                Some(BatchStatement { table, action: Action::Require { ids }, .. })
                    if table.kind == *kind && ids.len() < MAX_ROWS =>
                {
                    ids.push(*id);
                }
                _ => {
                    let (table, action) = (TABLES.of(*kind), Action::Require { ids: vec![*id] });
                    planned.push(BatchStatement { first: number, table, action });
                }
            },
            other => return Err(StoreError::backend(format!("unknown operation {other:?}"))),
        }
    }
    Ok(planned)
}

impl BatchStatement {
    /// Returns the number of its first operation.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    pub(crate) async fn prepare(&self, connection: &mut Connection) -> Result<Statement, Failure> {
        let query = match &self.action {
            Action::Insert(_) => Query::Insert,
            Action::Update(_) => Query::Update,
            Action::Delete { .. } => Query::Delete,
            Action::Require { .. } => Query::Require,
        };
        connection.prepared(self.table, query).await
    }

    /// Executes it. The statement is sent when this is polled first.
    pub(crate) async fn run(
        &self,
        client: &Client,
        statement: &Statement,
        batch: i64,
    ) -> Result<Outcome, tokio_postgres::Error> {
        match &self.action {
            Action::Insert(columns) => self.insert(client, statement, columns, batch).await,
            Action::Update(update) => self.update(client, statement, update, batch).await,
            Action::Delete { id, expect } => {
                let id = id.to_string();
                let expect = bytes(*expect);
                let row = client.query_opt(statement, &[&id, &&expect[..], &batch]).await?;
                Ok(self.done_if(row.is_some()))
            }
            Action::Require { ids } => {
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
    ) -> Result<Outcome, tokio_postgres::Error> {
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
            return Ok(Outcome::Applied);
        }
        // Each inserted id is returned once.
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
    ) -> Result<Outcome, tokio_postgres::Error> {
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
            // The id stays, so the unique key violates the constraint.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Ok(Outcome::NotApplied(self.first))
            }
            other => Ok(self.done_if(other?.is_some())),
        }
    }

    fn done_if(&self, done: bool) -> Outcome {
        if done { Outcome::Applied } else { Outcome::NotApplied(self.first) }
    }

    fn first_missing(&self, there: impl Iterator<Item = bool>) -> Outcome {
        let mut there = there.enumerate();
        match there.find(|(_, there)| !there) {
            Some((number, _)) => Outcome::NotApplied(self.first + number),
            None => Outcome::Applied,
        }
    }
}

/// Returns why an operation is refused, after all operations before it; `None` if nothing prevents
/// it. The record is locked, so that this stays true.
pub(crate) async fn check_before(
    connection: &mut Connection,
    operation: &Operation,
) -> Result<Option<StoreError>, Failure> {
    let (kind, id, expect) = match operation {
        Operation::Put { record, expect: Expect::Revision(expect), .. } => {
            (record.kind, record.id, *expect)
        }
        Operation::Delete { kind, id, expect } => (*kind, *id, *expect),
        _ => return Ok(None),
    };
    let table = TABLES.of(kind);
    let statement = connection.prepared(table, Query::Revision).await?;
    let id_text = id.to_string();
    let rows = connection.rows(&statement, &[&id_text]).await?;
    Ok(match rows.first().map(|row| row.try_get::<_, Vec<u8>>(0).ok()) {
        None => Some(StoreError::Missing { kind, id }),
        Some(Some(revision)) if revision == bytes(expect) => None,
        Some(_) => Some(StoreError::Conflict { kind, id }),
    })
}

/// Returns why an isolated operation was not applied although [`check_before`] found nothing; `None`
/// if the reason no longer holds.
///
/// A violated unique key has made the transaction fail as well, so that no query is needed.
pub(crate) async fn check_after(
    connection: &mut Connection,
    operation: &Operation,
) -> Result<Option<StoreError>, Failure> {
    let already_exists = |record: &Record, duplicate| {
        let (kind, id) = (record.kind, record.id);
        Some(StoreError::AlreadyExists { kind, id, duplicate })
    };
    match operation {
        Operation::Require { kind, id } => Ok(Some(StoreError::Missing { kind: *kind, id: *id })),
        Operation::Put { record, expect: Expect::Revision(_), .. } => {
            Ok(already_exists(record, Duplicate::UniqueKey))
        }
        Operation::Put { record, expect: Expect::Absent, .. } => {
            let table = TABLES.of(record.kind);
            // A taken id takes precedence.
            let keys = [
                (Query::ById, Duplicate::Id, record.id.to_string()),
                (
                    Query::ByUniqueKey,
                    Duplicate::UniqueKey,
                    escape::escape(record.unique_key.as_str()).into_owned(),
                ),
            ];
            for (query, duplicate, key) in keys {
                let statement = connection.prepared(table, query).await?;
                if !connection.rows(&statement, &[&key]).await?.is_empty() {
                    return Ok(already_exists(record, duplicate));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Returns what a batch changes, in the order of its operations.
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
