//! A bounded queue with two lanes, from whoever asks to the threads that work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

impl<J> Lanes<J> {
    // Mutable, since the condition variable asks so.
    fn keeps_waiting(&mut self) -> bool {
        !self.closed && self.first.is_empty() && self.second.is_empty()
    }

    fn next(&mut self) -> Option<J> {
        self.first.pop_front().or_else(|| self.second.pop_front())
    }
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

    /// Waits for a job; `None` once the queue is closed. When none has come for so long, `idle` is
    /// called, once, and waiting goes on.
    pub(super) fn pop(&self, patience: Duration, idle: impl FnOnce()) -> Option<J> {
        let (mut lanes, waited) = self
            .wake
            .wait_timeout_while(self.lanes(), patience, Lanes::keeps_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            drop(lanes);
            idle();
            lanes = self
                .wake
                .wait_while(self.lanes(), Lanes::keeps_waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        lanes.next()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_once_that_nothing_comes_and_goes_on_waiting() {
        let queue = Queue::new(1);
        let mut told = 0;
        let job = queue.pop(Duration::ZERO, || {
            told += 1;
            assert!(queue.push(Lane::First, "at last"));
        });
        assert_eq!((job, told), (Some("at last"), 1));
    }

    #[test]
    fn who_finds_a_job_or_the_end_is_not_told_to_be_idle() {
        let queue = Queue::new(1);
        let idle = || panic!("there was something to do");
        assert!(queue.push(Lane::Second, "second") && queue.push(Lane::First, "first"));
        assert!(!queue.push(Lane::First, "one too many"));
        assert_eq!(queue.pop(Duration::ZERO, idle), Some("first"));
        assert_eq!(queue.pop(Duration::ZERO, idle), Some("second"));
        queue.close();
        assert_eq!(queue.pop(Duration::ZERO, idle), None);
    }
}
