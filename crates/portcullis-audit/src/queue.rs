//! The events that wait to be written.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::line::Line;
use crate::repeats::Repeats;

/// What stands for an event in the file, or for those that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An event, as JSON.
    Event(Vec<u8>),
    /// So many events could not be kept here.
    Lost(u64),
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write this.
    Write(Item),
    /// Open the file anew.
    Reopen,
    /// There is nothing left to write and never will be.
    End,
}

/// A queue with a bound, between those who report and the one who writes.
#[derive(Debug)]
pub(crate) struct Queue {
    max_bytes: usize,
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For whoever closes: the writer has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    repeats: Repeats,
    /// Whether the last attempt to write has failed.
    failing: bool,
    items: VecDeque<Item>,
    bytes: usize,
    /// Events that found no place since the last one that did.
    missing: u64,
    lost: u64,
    reopen: bool,
    closing: bool,
    ended: bool,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            repeats: Repeats::new(now),
            failing: false,
            items: VecDeque::new(),
            bytes: 0,
            missing: 0,
            lost: 0,
            reopen: false,
            closing: false,
            ended: false,
        }
    }

    /// Adds the line of so many events, unless more than so many bytes would wait then.
    fn push(&mut self, line: Vec<u8>, events: u64, max_bytes: usize) {
        let fits = self.items.is_empty() || self.bytes + line.len() <= max_bytes;
        if !fits {
            self.missing += events;
            return self.lose(events);
        }
        self.tell_missing();
        self.bytes += line.len();
        self.items.push_back(Item::Event(line));
    }

    fn lose(&mut self, events: u64) {
        self.lost += events;
        metrics::counter!("portcullis_audit_events_lost_total").increment(events);
    }

    /// What is missing gets its line where it is missing.
    fn tell_missing(&mut self) {
        if self.missing > 0 {
            self.items.push_back(Item::Lost(std::mem::take(&mut self.missing)));
        }
    }
}

impl Queue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        let state = Mutex::new(State::new(Instant::now()));
        Self { max_bytes, state, work: Condvar::new(), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, unless the queue is full. One that is too large for it has it to itself.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.closing {
            state.missing += 1;
            return state.lose(1);
        }
        state.push(line, 1, self.max_bytes);
        drop(state);
        self.work.notify_one();
    }

    /// Adds a refusal, or counts it. Refusals fill at most half of the queue, so that they take no
    /// room from changes.
    pub(crate) fn push_refusal(&self, line: Line, source: Option<IpAddr>) {
        let mut state = self.lock();
        if state.closing {
            state.missing += 1;
            return state.lose(1);
        }
        let was_counting = state.repeats.due().is_some();
        let line = state.repeats.add(line, source, Instant::now());
        let wakes = line.is_some() || !was_counting;
        if let Some(line) = line {
            state.push(line, 1, self.max_bytes / 2);
        }
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    /// Notes whether the last attempt to write has failed.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// Tells whether what is reported now can be expected to be written.
    pub(crate) fn is_well(&self) -> bool {
        let state = self.lock();
        !state.failing && !state.closing && state.missing == 0
    }

    /// Counts an event that is no line.
    pub(crate) fn lose_one(&self) {
        let mut state = self.lock();
        state.missing += 1;
        state.lose(1);
    }

    pub(crate) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits for the next task. What is to be written stays until it is [done](Self::done).
    pub(crate) fn next(&self) -> Task {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.reopen) {
                return Task::Reopen;
            }
            let now = Instant::now();
            if state.closing || state.repeats.due().is_some_and(|due| due <= now) {
                let all = state.closing;
                for (line, events) in state.repeats.take(now, all) {
                    state.push(line, events, self.max_bytes / 2);
                }
            }
            // Nothing may come that would tell of it.
            if state.closing || state.items.is_empty() {
                state.tell_missing();
            }
            if let Some(item) = state.items.front() {
                return Task::Write(item.clone());
            }
            if state.closing {
                return Task::End;
            }
            state = match state.repeats.due() {
                Some(due) => {
                    let waited = self.work.wait_timeout(state, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes what was written out of the queue.
    pub(crate) fn done(&self) {
        let mut state = self.lock();
        if let Some(Item::Event(line)) = state.items.pop_front() {
            state.bytes -= line.len();
            metrics::counter!("portcullis_audit_events_total").increment(1);
        }
    }

    /// Waits for that long, or until the file is to be opened anew or the log is closed. Returns
    /// whether it is closed.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let quiet = |state: &mut State| !state.reopen && !state.closing;
        let waited = self.work.wait_timeout_while(state, pause, quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        // Whatever is tried next looks which file is at the path.
        state.reopen = false;
        state.closing
    }

    /// Ends the writer once it has written everything, and waits for it. Returns how many events
    /// are not written.
    pub(crate) fn close(&self, within: Duration) -> u64 {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        state.closing = true;
        self.work.notify_one();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.items.iter().filter(|item| matches!(item, Item::Event(_))).count() as u64
    }

    /// The writer has ended; what is left will not be written.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.closing = true;
        let left = state.items.iter().filter(|item| matches!(item, Item::Event(_))).count();
        state.lose(left as u64);
        drop(state);
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(length: usize) -> Vec<u8> {
        vec![b'x'; length]
    }

    fn take_all(queue: &Queue) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            match queue.next() {
                Task::Write(item) => {
                    items.push(item);
                    queue.done();
                }
                Task::Reopen => {}
                Task::End => return items,
            }
        }
    }

    #[test]
    fn what_finds_no_place_is_told_where_it_is_missing() {
        let queue = Queue::new(10);
        queue.push(event(4));
        queue.push(event(6));
        queue.push(event(1));
        queue.push(event(1));
        queue.done();
        queue.push(event(5));
        queue.push(event(4));
        assert_eq!(queue.lost(), 3);
        queue.close(Duration::ZERO);
        queue.push(event(1));
        assert_eq!(
            take_all(&queue),
            [Item::Event(event(6)), Item::Lost(3), Item::Event(event(4)), Item::Lost(1)]
        );
        assert_eq!(queue.lost(), 4);
    }

    #[test]
    fn one_that_is_too_large_has_the_queue_to_itself() {
        let queue = Queue::new(10);
        queue.push(event(100));
        queue.push(event(1));
        queue.done();
        queue.push(event(10));
        queue.close(Duration::ZERO);
        assert_eq!(take_all(&queue), [Item::Lost(1), Item::Event(event(10))]);
    }
}
