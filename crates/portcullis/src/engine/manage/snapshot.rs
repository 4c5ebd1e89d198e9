//! Exporting every record to a snapshot, and importing a snapshot.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroUsize;

use futures_util::StreamExt;
use thiserror::Error;

use crate::engine::Engine;
use crate::snapshot::{LineError, Snapshot, SnapshotRecord, SnapshotWriter, WriteSnapshotError};
use crate::store::{
    Batch, Entity, Expect, Index, Kind, Lookup, Operation, StoreError, StoreExt, put,
};
use crate::{Actor, AuditAction, AuditOutcome, AuditRecord, Error, Id};

const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

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
        let needs_version_2 = self.any_needs_version_2(SnapshotRecord::Authorization).await?
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
    /// checked and nothing stored.
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
        let mut import = Import { engine: self, batch: Batch::new(), lines: HashMap::new() };
        let mut errors = Vec::new();
        // Each record is dropped when its operation is in the batch: there may be a million of them.
        for (line, record) in snapshot.records {
            let outcome = match &record {
                SnapshotRecord::Org(org) => import.add(line, org).await,
                SnapshotRecord::User(user) => import.add(line, user).await,
                SnapshotRecord::Bucket(bucket) => import.add(line, bucket).await,
                SnapshotRecord::Dbrp(mappings) => import.add(line, mappings).await,
                SnapshotRecord::ApiToken(token) => import.add(line, token).await,
                SnapshotRecord::Authorization(authorization) => {
                    import.add(line, authorization).await
                }
            };
            if let Some(reason) = outcome? {
                errors.push(LineError { line, reason });
            }
        }
        if !errors.is_empty() {
            return Err(ImportError::Lines(errors));
        }
        let Import { batch, lines, .. } = import;
        let new = batch.len();
        if new > Batch::MAX_OPERATIONS {
            return Err(Error::from(StoreError::BatchTooLarge { operations: new }).into());
        }
        if dry_run || new == 0 {
            return Ok(new);
        }
        match self.0.store.commit_resolving(batch).await {
            Ok(()) => Ok(new),
            // It was taken after the check above.
            Err(StoreError::AlreadyExists { kind, id, duplicate }) => {
                let line = lines.get(&(kind, id)).copied().unwrap_or_default();
                let reason = format!("{kind} {id}: its {duplicate} has just been taken");
                Err(ImportError::Lines(vec![LineError { line, reason }]))
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

struct Import<'a> {
    engine: &'a Engine,
    batch: Batch,
    lines: HashMap<(Kind, Id), u64>,
}

impl Import<'_> {
    /// Adds the entity to the batch unless it exists already. Returns the reason of a conflict.
    async fn add<E: Entity + PartialEq>(
        &mut self,
        line: u64,
        entity: &E,
    ) -> Result<Option<String>, Error> {
        let (kind, id) = (E::KIND, entity.id());
        let store = self.engine.store();
        if let Some(there) = store.get(Lookup::Id(kind, id)).await? {
            let same = E::from_record(&there).is_ok_and(|there| there == *entity);
            return Ok((!same).then(|| format!("{kind} {id} exists already and differs")));
        }
        let operation: Operation = put(entity, self.engine.revision()?, Expect::Absent)?;
        if let Operation::Put { record, .. } = &operation
            && let Some(there) =
                store.get(Lookup::UniqueKey(kind, record.unique_key.as_str())).await?
        {
            let what = if kind == Kind::ApiToken { "token" } else { "name" };
            return Ok(Some(format!("{kind} {id}: its {what} belongs to {}", there.id)));
        }
        self.lines.insert((kind, id), line);
        self.batch.push(operation);
        Ok(None)
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
