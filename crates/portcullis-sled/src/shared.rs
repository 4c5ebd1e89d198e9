//! The trees, as those who read and the one who writes share them.

use std::sync::{Arc, PoisonError, RwLock};

use portcullis::store::StoreError;
use portcullis::toolkit::{InlineReadGate, run_blocking};

use crate::error::{Failure, guarded};
use crate::trees::Trees;

/// The trees. Who reads a page holds the lock shared, so that it shows one moment; who writes
/// holds it alone while a group is applied, though not while it is made durable.
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

    /// How fast reads are, of which each is measured.
    pub(crate) fn gate(&self) -> Arc<InlineReadGate> {
        Arc::clone(&self.gate)
    }

    /// Works on the trees while nobody writes.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Works on the trees while nobody reads.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a few records: at once if nobody writes and it can be expected not to wait for the disk,
    /// or else on a thread where blocking is allowed.
    pub(crate) async fn read_few<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Trees) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(_turn) = self.gate.try_acquire()
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
