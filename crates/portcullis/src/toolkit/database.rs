//! An open database, shared by the readers and the writer of a store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

use super::{InlineReadGate, run_blocking};
use crate::store::{Page, PageRequest, StoreError};

/// The open database of a store, for engines whose calls block, and which are opened again after a
/// failure.
///
/// Reads hold a lock shared. The writer holds it exclusively while it changes or opens the database.
#[derive(Debug)]
pub struct SharedDatabase<D> {
    state: RwLock<State<D>>,
    gate: InlineReadGate,
}

#[derive(Debug)]
enum State<D> {
    Open(D),
    /// The engine failed and could not be opened again so far.
    Broken(Arc<StoreError>),
    Closed,
}

impl<D> State<D> {
    fn get(&self) -> Result<&D, StoreError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Broken(why) => Err(StoreError::unavailable(Broken(Arc::clone(why)))),
            Self::Closed => Err(StoreError::closed()),
        }
    }
}

#[derive(Debug, Error)]
#[error("the engine failed before and could not be opened again")]
struct Broken(#[source] Arc<StoreError>);

/// The engine panicked.
#[derive(Clone, Debug, Error)]
#[error("the engine gave up: {0}")]
pub struct EnginePanic(String);

impl From<EnginePanic> for StoreError {
    fn from(panic: EnginePanic) -> Self {
        Self::backend(panic)
    }
}

/// Runs calls of an engine that panics where it finds itself inconsistent. After a panic the database
/// must be closed.
///
/// # Errors
///
/// Those of the work; [`EnginePanic`] when it panicked.
pub fn catch_panic<T, E: From<EnginePanic>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "no reason given",
        };
        Err(EnginePanic(text.to_owned()).into())
    })
}

impl<D: Send + Sync + 'static> SharedDatabase<D> {
    /// Shares the database.
    pub fn new(database: D) -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(State::Open(database)),
            gate: InlineReadGate::default(),
        })
    }

    /// Reads the database. This blocks.
    ///
    /// # Errors
    ///
    /// Those of the work; [`StoreError::Backend`] when it panicked; [`StoreError::Unavailable`] when the
    /// database is closed, or could not be opened again after a failure.
    pub fn read<T>(&self, work: impl FnOnce(&D) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let database = state.get()?;
        catch_panic(|| work(database))
    }

    /// Changes the database while there are no reads. This blocks.
    ///
    /// # Errors
    ///
    /// As [`read`](SharedDatabase::read).
    pub fn write<T>(
        &self,
        work: impl FnOnce(&mut D) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => catch_panic(|| work(database)),
            state => state.get().and(Err(StoreError::closed())),
        }
    }

    /// Tells whether the engine failed and could not be opened again so far.
    pub fn is_broken(&self) -> bool {
        matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Broken(_))
    }

    /// Drops the database and opens it again: after a failure its state in memory is undefined. Logs when
    /// that fails; the store is unavailable until a later try succeeds. This blocks.
    pub fn reopen(&self, open: impl FnOnce() -> Result<D, StoreError>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Closed) {
            return;
        }
        // Engines release their files when the last handle is dropped.
        *state = State::Closed;
        *state = match open() {
            Ok(database) => State::Open(database),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(cause, "the database cannot be opened again for now: {error}");
                State::Broken(Arc::new(error))
            }
        };
    }

    /// Closes the database, and returns it if it was open. This blocks until earlier reads have ended.
    pub fn close(&self) -> Option<D> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open(database) => Some(database),
            State::Broken(_) | State::Closed => None,
        }
    }

    /// Reads on a thread where blocking is allowed.
    ///
    /// # Errors
    ///
    /// As [`read`](SharedDatabase::read).
    pub async fn read_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&D) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        run_blocking(move || shared.read(work)).await
    }

    /// Reads a record: on this thread if the [gate](InlineReadGate) admits it and the database is not
    /// being changed, or else on one that may block.
    ///
    /// # Errors
    ///
    /// As [`read`](SharedDatabase::read).
    pub async fn read_record<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&D) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        self.read_short(move |database| shared.gate.measure(|| work(database))).await
    }

    /// Reads a page, as [`read_record`](SharedDatabase::read_record) does if it is short. `work` gets the
    /// page that it shall read, which may be shorter.
    ///
    /// # Errors
    ///
    /// As [`read`](SharedDatabase::read).
    pub async fn read_page(
        self: &Arc<Self>,
        page: PageRequest,
        work: impl FnOnce(&D, PageRequest) -> Result<Page, StoreError> + Send + 'static,
    ) -> Result<Page, StoreError> {
        let shared = Arc::clone(self);
        let page = self.gate.page(page);
        let read = move |database: &D| shared.gate.measure_page(|| work(database, page));
        match page.limit.get() {
            ..=InlineReadGate::SHORT => self.read_short(read).await,
            _ => self.read_blocking(read).await,
        }
    }

    async fn read_short<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&D) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(_permit) = self.gate.try_acquire()
            && let Ok(state) = self.state.try_read()
        {
            let database = state.get()?;
            return catch_panic(|| work(database));
        }
        self.read_blocking(work).await
    }
}
