//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex. A panic of another thread that held it is ignored: no code panics between two
/// changes that belong together.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
