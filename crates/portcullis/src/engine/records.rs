//! Writing records: ids, revisions, and retries when they are taken or changed meanwhile.

use super::Engine;
use crate::id::{ID_EPOCH_MILLIS, ID_RANDOM_BITS};
use crate::store::{
    Batch, Duplicate, Entity, Expect, Lookup, Operation, Record, Revision, StoreError, StoreExt,
    put,
};
use crate::{Error, ErrorKind, Id, Timestamp};

/// The lowest id that is generated. Lower ones are for imports and tests.
const MIN_ID: u64 = 1_000;

/// How often another id is generated when one is taken.
const ID_TRIES: u32 = 100;

impl Engine {
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn revision(&self) -> Result<Revision, Error> {
        Ok(Revision::generate(self.0.random.as_ref())?)
    }

    /// Generates so many revisions, with one call of the source of random bytes.
    pub(super) fn revisions(&self, count: usize) -> Result<Vec<Revision>, Error> {
        let mut bytes = vec![0; size_of::<u128>() * count];
        self.0.random.fill(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks();
        let revision = |number: &[u8; 16]| Revision::from_u128(u128::from_be_bytes(*number));
        Ok(numbers.iter().map(revision).collect())
    }

    /// Generates an id. Ids ascend roughly in the order of creation; one is hardly ever taken.
    pub(super) fn generate_id(&self) -> Result<Id, Error> {
        let millis = self.0.clock.now().as_unix_millis().saturating_sub(ID_EPOCH_MILLIS);
        let time = u64::try_from(millis).unwrap_or(0) << ID_RANDOM_BITS;
        for _ in 0..ID_TRIES {
            let mut bytes = [0; 8];
            self.0.random.fill(&mut bytes)?;
            let random = u64::from_be_bytes(bytes) & ((1 << ID_RANDOM_BITS) - 1);
            if time | random >= MIN_ID {
                return Ok(Id::from_u64(time | random));
            }
        }
        Err(no_free_id())
    }

    /// Stores a new entity with a fresh id, after the requirements. Returns it with its revision.
    ///
    /// Errors of the store are returned unchanged, so that each operation has its own messages for a
    /// taken name or a missing record.
    pub(super) async fn insert<E: Entity>(
        &self,
        mut entity: impl FnMut(Id) -> E + Send,
        requirements: &[Operation],
    ) -> Result<(E, Revision), WriteError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let id = self.generate_id()?;
            let entity = entity(id);
            let mut batch: Batch = requirements.iter().cloned().collect();
            let revision = self.revision()?;
            batch.push(put(&entity, revision, Expect::Absent)?);
            match self.0.store.commit_resolving(batch).await {
                Ok(()) => return Ok((entity, revision)),
                Err(StoreError::AlreadyExists { duplicate: Duplicate::Id, .. }) => {
                    if tries == ID_TRIES {
                        return Err(no_free_id().into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Changes the entity, and retries while it is changed meanwhile. `None` if it does not exist.
    pub(super) async fn modify<E: Entity>(
        &self,
        id: Id,
        mut change: impl FnMut(&mut E) + Send,
    ) -> Result<Option<E>, Error> {
        let change = |entity: &mut E| {
            change(entity);
            Ok::<_, Error>(())
        };
        self.0.store.modify(id, change, &[], || self.revision()).await
    }

    /// Deletes the entity with its last use, if the check accepts it and its revision, and retries while
    /// one of them is changed meanwhile. Tells whether it existed.
    pub(super) async fn remove<E: Entity>(
        &self,
        id: Id,
        check: impl Fn(&E, Revision) -> Result<(), Error> + Send + Sync,
        also: &[Operation],
    ) -> Result<bool, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((entity, expect)) = self.0.store.find::<E>(id).await? else {
                return Ok(false);
            };
            check(&entity, expect)?;
            let mut batch = Batch::new().with(Operation::Delete { kind: E::KIND, id, expect });
            also.iter().cloned().for_each(|operation| batch.push(operation));
            if let Some(kind) = E::KIND.of_last_use()
                && let Some(Record { revision: expect, .. }) =
                    self.0.store.get(Lookup::Id(kind, id)).await?
            {
                batch.push(Operation::Delete { kind, id, expect });
            }
            match self.0.store.commit_resolving(batch).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Missing { kind, id: missing })
                    if (kind, missing) == (E::KIND, id) =>
                {
                    return Ok(false);
                }
                Err(StoreError::Missing { id: missing, .. })
                    if missing == id && tries < crate::store::MODIFY_TRIES => {}
                Err(StoreError::Conflict { .. }) if tries < crate::store::MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn no_free_id() -> Error {
    Error::new(ErrorKind::Internal, "unable to generate valid id")
}

/// Why a write failed: an error of the engine, or one of the store for which the caller may have a
/// message of its own.
pub(super) enum WriteError {
    Engine(Error),
    Store(StoreError),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Engine(error) => error,
            WriteError::Store(error) => error.into(),
        }
    }
}
