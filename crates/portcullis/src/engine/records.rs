//! How the engine writes records: new ids, new revisions, and what to do when they are taken.

use super::Engine;
use crate::store::{Batch, Entity, Expect, Operation, Revision, StoreError, StoreExt, Taken, put};
use crate::{Error, ErrorKind, Id, Timestamp};

/// 1 January 2020, where ids begin to count: in milliseconds since 1970.
const ID_EPOCH_MILLIS: i64 = 1_577_836_800_000;

/// Low bits of an id that are random. The others are the time, so that ids grow with it.
const ID_RANDOM_BITS: u32 = 22;

/// Ids below this are never drawn; small ones are for people to write by hand.
const MIN_ID: u64 = 1_000;

/// How often another id is drawn when one is taken.
const ID_TRIES: u32 = 100;

impl Engine {
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn revision(&self) -> Result<Revision, Error> {
        Ok(Revision::generate(self.0.random.as_ref())?)
    }

    /// Draws an id: roughly ascending in the order of creation, free as far as chance goes.
    pub(super) fn draw_id(&self) -> Result<Id, Error> {
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

    /// Stores a new entity with a fresh id, after the requirements.
    ///
    /// The errors of the store come back as they are, so that the caller can say what is taken or
    /// missing in its own words.
    pub(super) async fn insert<E: Entity>(
        &self,
        mut entity: impl FnMut(Id) -> E + Send,
        requirements: &[Operation],
    ) -> Result<E, WriteError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let id = self.draw_id()?;
            let entity = entity(id);
            let mut batch: Batch = requirements.iter().cloned().collect();
            batch.push(put(&entity, self.revision()?, Expect::Absent)?);
            match self.0.store.commit_resolving(batch).await {
                Ok(()) => return Ok(entity),
                Err(StoreError::AlreadyExists { taken: Taken::Id, .. }) => {
                    if tries == ID_TRIES {
                        return Err(no_free_id().into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Deletes the entity after the check has agreed to what is there; starts over while it is
    /// changed at the same time. Tells whether there was one.
    pub(super) async fn remove<E: Entity>(
        &self,
        id: Id,
        check: impl Fn(&E) -> Result<(), Error> + Send + Sync,
        also: &[Operation],
    ) -> Result<bool, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((entity, expect)) = self.0.store.find::<E>(id).await? else {
                return Ok(false);
            };
            check(&entity)?;
            let mut batch = Batch::new().with(Operation::Delete { kind: E::KIND, id, expect });
            also.iter().cloned().for_each(|operation| batch.push(operation));
            match self.0.store.commit_resolving(batch).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Missing { id: missing, .. }) if missing == id => return Ok(false),
                Err(StoreError::Conflict { .. }) if tries < crate::store::MODIFY_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn no_free_id() -> Error {
    Error::new(ErrorKind::Internal, "unable to generate valid id")
}

/// Why a write failed: what the engine says, or what the store says and the caller may say better.
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
