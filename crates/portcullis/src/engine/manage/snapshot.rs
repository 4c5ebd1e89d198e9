//! Exporting every record to a snapshot, and importing a snapshot.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroUsize;

use futures_util::StreamExt;
use thiserror::Error;

use crate::engine::Engine;
use crate::snapshot::{LineError, Snapshot, SnapshotRecord, SnapshotWriter, WriteSnapshotError};
use crate::store::{
    Batch, Entity, Expect, Index, Kind, Lookups, Operation, Record, Revision, StoreError, StoreExt,
    UniqueKey,
};
use crate::{Actor, AuditAction, AuditOutcome, AuditRecord, Error, GrantKey, Id};

const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

/// How many last uses are stored in one commit.
const USES_AT_ONCE: usize = 10_000;

impl Engine {
    /// Writes every record to a snapshot and returns their number. The snapshot is of version 2 if an
    /// authorization or API token has a member that version 1 does not have.
    ///
    /// A record that is changed meanwhile is in it as it was before or after the change.
    ///
    /// # Errors
    ///
    /// [`ExportError::Engine`] when the store fails or a record cannot be read: an incomplete
    /// snapshot is not finished. [`ExportError::Write`] when it cannot be written.
    pub async fn export(&self, out: impl Write + Send) -> Result<u64, ExportError> {
        self.finish_deletions().await?;
        let needs_version_2 = self.any_needs_version_2(SnapshotRecord::AuthorizationUse).await?
            || self.any_needs_version_2(SnapshotRecord::ApiTokenUse).await?
            || self.any_needs_version_2(SnapshotRecord::Authorization).await?
            || self.any_needs_version_2(SnapshotRecord::ApiToken).await?;
        let mut writer = match needs_version_2 {
            true => SnapshotWriter::begin_version_2(out)?,
            false => SnapshotWriter::begin(out)?,
        };
        self.export_kind(&mut writer, SnapshotRecord::Org).await?;
        self.export_kind(&mut writer, SnapshotRecord::User).await?;
        self.export_kind(&mut writer, SnapshotRecord::Bucket).await?;
        self.export_kind(&mut writer, SnapshotRecord::Dbrp).await?;
        self.export_kind(&mut writer, SnapshotRecord::ApiToken).await?;
        self.export_kind(&mut writer, SnapshotRecord::Authorization).await?;
        self.export_kind(&mut writer, SnapshotRecord::ApiTokenUse).await?;
        self.export_kind(&mut writer, SnapshotRecord::AuthorizationUse).await?;
        Ok(writer.finish()?)
    }

    /// Tells whether a record of the kind needs version 2. A record that gets such a member after this
    /// is refused by readers of version 1 all the same, at its line.
    async fn any_needs_version_2<E: Entity>(
        &self,
        wrap: impl Fn(E) -> SnapshotRecord + Send,
    ) -> Result<bool, ExportError> {
        let mut pages = self.0.store.pages(Index::All(E::KIND), PAGE);
        while let Some(page) = pages.next().await {
            // One that cannot be read is reported when it is to be written.
            let entities = page.map_err(Error::from)?.records;
            let mut entities = entities.iter().filter_map(|record| E::from_record(record).ok());
            if entities.any(|entity| wrap(entity).needs_version_2()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn export_kind<E: Entity>(
        &self,
        writer: &mut SnapshotWriter<impl Write + Send>,
        wrap: impl Fn(E) -> SnapshotRecord + Send,
    ) -> Result<(), ExportError> {
        let mut pages = self.0.store.pages(Index::All(E::KIND), PAGE);
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::from)?;
            if page.unreadable > 0 {
                let message =
                    format!("{} records of kind {} cannot be read", page.unreadable, E::KIND);
                return Err(Error::new(crate::ErrorKind::Internal, message).into());
            }
            for record in page.records {
                let entity = E::from_record(&record).map_err(|error| {
                    Error::new(crate::ErrorKind::Internal, error.to_string()).with_source(error)
                })?;
                writer.record(&wrap(entity))?;
            }
        }
        Ok(())
    }

    /// Stores the records of a snapshot, all or none, and returns the number of new ones. An
    /// identical record that exists already is skipped.
    ///
    /// Ids and uniqueness are checked, the rules of creation are not: users, orgs and buckets may
    /// be missing, permissions empty or on the instance, hashes old. With `dry_run`, everything is
    /// checked and nothing stored. A last use of a credential that exists already stays as it is; if
    /// last uses do not fit into one commit with everything else, they follow in further commits.
    ///
    /// # Errors
    ///
    /// [`ImportError::Lines`] with every line that conflicts with an existing record;
    /// [`ImportError::Engine`] when the store fails, and when there are more new records than fit
    /// into one commit ([`Batch::MAX_OPERATIONS`]).
    pub async fn import(&self, snapshot: Snapshot, dry_run: bool) -> Result<usize, ImportError> {
        let imported = self.import_unreported(snapshot, dry_run).await;
        if !dry_run {
            let why = imported.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let outcome = match &imported {
                Ok(_) => AuditOutcome::Done,
                Err(ImportError::Lines(_)) => AuditOutcome::Refused(&why),
                Err(ImportError::Engine(_)) => AuditOutcome::Failed(&why),
            };
            let record = AuditRecord::default();
            self.report(Actor::Host, None, AuditAction::Import, record, outcome);
        }
        imported
    }

    async fn import_unreported(
        &self,
        snapshot: Snapshot,
        dry_run: bool,
    ) -> Result<usize, ImportError> {
        if !dry_run {
            self.refuse_unaudited()?;
        }
        self.finish_deletions().await?;
        let mut import = Import::new(self);
        let mut records = snapshot.records.into_iter();
        loop {
            // Each record is dropped when its operation is in the batch: there may be a million of them.
            let page: Vec<_> = records.by_ref().take(PAGE.get()).collect();
            if page.is_empty() {
                break;
            }
            import.add(page).await?;
        }
        let Import { batch, uses, lines, mut errors, .. } = import;
        errors.sort_by_key(|error| error.line);
        if !errors.is_empty() {
            return Err(ImportError::Lines(errors));
        }
        let (together, new) = (batch.len(), batch.len() + uses.len());
        if together > Batch::MAX_OPERATIONS {
            return Err(Error::from(StoreError::BatchTooLarge { operations: together }).into());
        }
        if dry_run || new == 0 {
            return Ok(new);
        }
        // In one commit if they fit into it, and unless a login stores one of the uses meanwhile.
        let all = (!uses.is_empty() && new <= Batch::MAX_OPERATIONS)
            .then(|| batch.operations().iter().chain(&uses).cloned().collect::<Batch>());
        let mut committed = match all {
            Some(all) => self.0.store.commit_resolving(all).await.map(|()| true),
            None => Ok(false),
        };
        if let Err(StoreError::AlreadyExists { kind, .. }) = &committed
            && kind.of_used_credential().is_some()
        {
            committed = Ok(false);
        }
        if let (Ok(false), 1..) = (&committed, together) {
            committed = self.0.store.commit_resolving(batch).await.map(|()| false);
        }
        match committed {
            Ok(has_uses) => {
                if !has_uses {
                    self.import_uses(uses).await?;
                }
                Ok(new)
            }
            // It was taken after the check above.
            Err(StoreError::AlreadyExists { kind, id, duplicate }) => {
                let line = lines.get(&(kind, id)).copied().unwrap_or_default();
                let reason = format!("{kind} {id}: its {duplicate} has just been taken");
                Err(ImportError::Lines(vec![LineError { line, reason }]))
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }

    /// Stores last uses, many at a time. A login may have stored one of them meanwhile, which stays.
    async fn import_uses(&self, mut uses: Vec<Operation>) -> Result<(), Error> {
        while !uses.is_empty() {
            let some = uses.split_off(uses.len().saturating_sub(USES_AT_ONCE));
            match self.0.store.commit_resolving(some.iter().cloned().collect()).await {
                Ok(()) => continue,
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            for operation in some {
                match self.0.store.commit_resolving(Batch::new().with(operation)).await {
                    Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

struct Import<'a> {
    engine: &'a Engine,
    batch: Batch,
    /// The last uses, which need not be committed with the rest.
    uses: Vec<Operation>,
    lines: HashMap<(Kind, Id), u64>,
    errors: Vec<LineError>,
}

/// A record of a snapshot, and the operation that creates it.
struct Creation {
    line: u64,
    entity: SnapshotRecord,
    /// Its record, in an [`Operation::Put`].
    put: Operation,
    record: RecordKeys,
}

struct RecordKeys {
    kind: Kind,
    id: Id,
    unique_key: UniqueKey,
}

impl<'a> Import<'a> {
    fn new(engine: &'a Engine) -> Self {
        let (batch, uses) = (Batch::new(), Vec::new());
        Self { engine, batch, uses, lines: HashMap::new(), errors: Vec::new() }
    }

    /// Adds those of the records to the batch that do not exist yet, and notes the conflicts.
    async fn add(&mut self, page: Vec<(u64, SnapshotRecord)>) -> Result<(), Error> {
        let mut creations = Vec::with_capacity(page.len());
        let revisions = self.engine.revisions(page.len())?;
        for ((line, entity), revision) in page.into_iter().zip(revisions) {
            creations.push(Creation::new(line, entity, revision)?);
        }
        for kind in Kind::ALL {
            let (of_kind, others) = creations.into_iter().partition(|it| it.record.kind == kind);
            creations = others;
            if !of_kind.is_empty() {
                self.add_of_kind(kind, of_kind).await?;
            }
        }
        Ok(())
    }

    async fn add_of_kind(&mut self, kind: Kind, creations: Vec<Creation>) -> Result<(), Error> {
        let store = self.engine.store();
        let ids: Vec<Id> = creations.iter().map(|it| it.record.id).collect();
        let there = store.get_many(Lookups::Ids(kind, &ids)).await?;
        let mut absent = Vec::with_capacity(creations.len());
        for (creation, there) in creations.into_iter().zip(there) {
            match there {
                None => absent.push(creation),
                Some(there) if creation.entity.is(&there) => {}
                // A credential is used on after the snapshot.
                Some(there) if there.kind.of_used_credential().is_some() => {}
                Some(there) => {
                    let reason = format!("{kind} {} exists already and differs", there.id);
                    self.errors.push(LineError { line: creation.line, reason });
                }
            }
        }
        let keys: Vec<&str> = absent.iter().map(|it| it.record.unique_key.as_str()).collect();
        let holders = store.get_many(Lookups::UniqueKeys(kind, &keys)).await?;
        for (Creation { line, put, record, .. }, holder) in absent.into_iter().zip(holders) {
            let id = record.id;
            if let Some(holder) = holder {
                let what = if kind == Kind::ApiToken { "token" } else { "name" };
                let reason = format!("{kind} {id}: its {what} belongs to {}", holder.id);
                self.errors.push(LineError { line, reason });
                continue;
            }
            if kind.of_used_credential().is_some() {
                self.uses.push(put);
                continue;
            }
            self.lines.insert((kind, id), line);
            self.batch.push(put);
        }
        Ok(())
    }
}

impl Creation {
    fn new(line: u64, entity: SnapshotRecord, revision: Revision) -> Result<Self, StoreError> {
        let record = entity.to_record(revision)?;
        let keys =
            RecordKeys { kind: record.kind, id: record.id, unique_key: record.unique_key.clone() };
        let put = Operation::Put { record, grants: entity.grants(), expect: Expect::Absent };
        Ok(Self { line, entity, put, record: keys })
    }
}

impl SnapshotRecord {
    fn to_record(&self, revision: Revision) -> Result<Record, StoreError> {
        match self {
            Self::Org(org) => org.to_record(revision),
            Self::User(user) => user.to_record(revision),
            Self::Bucket(bucket) => bucket.to_record(revision),
            Self::Dbrp(mappings) => mappings.to_record(revision),
            Self::ApiToken(token) => token.to_record(revision),
            Self::Authorization(authorization) => authorization.to_record(revision),
            Self::ApiTokenUse(used) => used.to_record(revision),
            Self::AuthorizationUse(used) => used.to_record(revision),
        }
    }

    fn grants(&self) -> Vec<GrantKey> {
        match self {
            Self::Org(org) => org.grants(),
            Self::User(user) => user.grants(),
            Self::Bucket(bucket) => bucket.grants(),
            Self::Dbrp(mappings) => mappings.grants(),
            Self::ApiToken(token) => token.grants(),
            Self::Authorization(authorization) => authorization.grants(),
            Self::ApiTokenUse(used) => used.grants(),
            Self::AuthorizationUse(used) => used.grants(),
        }
    }

    /// Tells whether the record is that of this entity.
    fn is(&self, record: &Record) -> bool {
        fn is<E: Entity + PartialEq>(entity: &E, record: &Record) -> bool {
            E::from_record(record).is_ok_and(|there| there == *entity)
        }
        match self {
            Self::Org(org) => is(org, record),
            Self::User(user) => is(user, record),
            Self::Bucket(bucket) => is(bucket, record),
            Self::Dbrp(mappings) => is(mappings, record),
            Self::ApiToken(token) => is(token, record),
            Self::Authorization(authorization) => is(authorization, record),
            Self::ApiTokenUse(used) => is(used, record),
            Self::AuthorizationUse(used) => is(used, record),
        }
    }
}

/// Why an export failed. The snapshot is incomplete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store failed, or a record cannot be read.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The snapshot could not be written.
    #[error(transparent)]
    Write(#[from] WriteSnapshotError),
}

/// Why an import failed. Nothing was stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The lines that conflict with existing records.
    #[error("{} of the snapshot's lines are refused", .0.len())]
    Lines(Vec<LineError>),
}
