//! A bounded queue with two lanes, from whoever asks to the threads that work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Which jobs go before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    First,
    Second,
}

/// Each lane holds so many jobs and no more.
pub(super) struct Queue<J> {
    lanes: Mutex<Lanes<J>>,
    wake: Condvar,
    capacity: usize,
}

struct Lanes<J> {
    first: VecDeque<J>,
    second: VecDeque<J>,
    closed: bool,
}

impl<J> Queue<J> {
    pub(super) fn new(capacity: usize) -> Self {
        let lanes = Lanes { first: VecDeque::new(), second: VecDeque::new(), closed: false };
        Self { lanes: Mutex::new(lanes), wake: Condvar::new(), capacity }
    }

    /// Adds the job; tells whether there was room.
    pub(super) fn push(&self, lane: Lane, job: J) -> bool {
        let mut lanes = self.lanes();
        let queue = match lane {
            Lane::First => &mut lanes.first,
            Lane::Second => &mut lanes.second,
        };
        if queue.len() >= self.capacity {
            return false;
        }
        queue.push_back(job);
        drop(lanes);
        self.wake.notify_one();
        true
    }

    /// Waits for a job; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<J> {
        let mut lanes = self.lanes();
        loop {
            if lanes.closed {
                return None;
            }
            let next = lanes.first.pop_front();
            if let Some(job) = next.or_else(|| lanes.second.pop_front()) {
                return Some(job);
            }
            lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        let lanes = self.lanes();
        lanes.first.len() + lanes.second.len()
    }

    /// Ends everybody who waits, and drops what waits.
    pub(super) fn close(&self) {
        let mut lanes = self.lanes();
        lanes.closed = true;
        lanes.first.clear();
        lanes.second.clear();
        drop(lanes);
        self.wake.notify_all();
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<J>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
