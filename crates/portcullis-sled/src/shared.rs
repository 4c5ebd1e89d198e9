//! The trees, shared by readers and the writer.

use std::sync::{Arc, PoisonError, RwLock};

use portcullis::store::StoreError;
use portcullis::toolkit::{InlineReadGate, run_blocking};

use crate::error::{Failure, guarded};
use crate::trees::Trees;

/// The trees. A read holds the lock shared, so that a page shows one moment. The writer holds it
/// exclusively while a group is applied, but not while the group is made durable.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    gate: Arc<InlineReadGate>,
}

#[derive(Debug)]
pub(crate) enum State {
    Open(Trees),
    /// sled failed and could not be opened again so far.
    Broken(Arc<str>),
    Closed,
}

impl State {
    pub(crate) fn trees(&self) -> Result<&Trees, StoreError> {
        match self {
            Self::Open(trees) => Ok(trees),
            Self::Broken(why) => Err(Failure::Broken(Arc::clone(why)).into()),
            Self::Closed => Err(StoreError::closed()),
        }
    }
}

impl Shared {
    pub(crate) fn new(trees: Trees) -> Self {
        Self { state: RwLock::new(State::Open(trees)), gate: Arc::default() }
    }

    /// Returns the gate of short reads.
    pub(crate) fn gate(&self) -> Arc<InlineReadGate> {
        Arc::clone(&self.gate)
    }

    /// Runs the work while no group is being applied.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs the work while there are no reads.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a short read on this thread if the gate admits it and no group is being applied, or else on
    /// one that may block.
    pub(crate) async fn read_few<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Trees) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(_permit) = self.gate.try_acquire()
            && let Ok(state) = self.state.try_read()
        {
            let trees = state.trees()?;
            return guarded(|| Ok(work(trees)))?;
        }
        self.read_blocking(work).await
    }

    /// Reads on a thread where blocking is allowed.
    pub(crate) async fn read_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Trees) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        run_blocking(move || {
            shared.read(|state| {
                let trees = state.trees()?;
                guarded(|| Ok(work(trees)))?
            })
        })
        .await
    }
}
