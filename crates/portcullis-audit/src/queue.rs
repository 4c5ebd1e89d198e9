//! The events that wait to be written.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::line::Line;
use crate::repeats::Repeats;

/// A line of the file: an event, or a marker for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An event, as JSON.
    Event(Vec<u8>),
    /// The number of events that are missing here.
    Lost(u64),
}

/// The next task of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write this line.
    Write(Item),
    /// Reopen the file.
    Reopen,
    /// Everything is written and the log is closed.
    End,
}

/// A bounded queue between the engines that report events and the thread that writes them.
#[derive(Debug)]
pub(crate) struct Queue {
    max_bytes: usize,
    state: Mutex<State>,
    /// Signals the writer that there is a task.
    work: Condvar,
    /// Signals `close` that the writer has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    repeats: Repeats,
    /// Whether the last attempt to write has failed.
    failing: bool,
    items: VecDeque<Item>,
    bytes: usize,
    /// Events that were dropped since the last one that was queued.
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

    /// Adds the line of `events` events, unless the queue would exceed `max_bytes`.
    fn push(&mut self, line: Vec<u8>, events: u64, max_bytes: usize) {
        let fits = self.items.is_empty() || self.bytes + line.len() <= max_bytes;
        if !fits {
            self.missing += events;
            return self.count_lost(events);
        }
        self.push_gap_marker();
        self.bytes += line.len();
        self.items.push_back(Item::Event(line));
    }

    fn count_lost(&mut self, events: u64) {
        self.lost += events;
        metrics::counter!("portcullis_audit_events_lost_total").increment(events);
    }

    /// Adds a marker for dropped events in the place where they are missing.
    fn push_gap_marker(&mut self) {
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
        // No operation leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, unless the queue is full. An empty queue accepts an event of any size.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.closing {
            state.missing += 1;
            return state.count_lost(1);
        }
        state.push(line, 1, self.max_bytes);
        drop(state);
        self.work.notify_one();
    }

    /// Adds a refusal, or counts it. Refusals fill at most half of the queue, so that there is room for
    /// changes.
    pub(crate) fn push_refusal(&self, line: Line, source: Option<IpAddr>) {
        let mut state = self.lock();
        if state.closing {
            state.missing += 1;
            return state.count_lost(1);
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

    /// Sets whether the last attempt to write has failed.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// Returns whether new events can be expected to be written.
    pub(crate) fn is_healthy(&self) -> bool {
        let state = self.lock();
        !state.failing && !state.closing && state.missing == 0
    }

    /// Counts an event that cannot be written as a line.
    pub(crate) fn count_dropped(&self) {
        let mut state = self.lock();
        state.missing += 1;
        state.count_lost(1);
    }

    pub(crate) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits for the next task. A line stays in the queue until it is [done](Self::done).
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
            // There may be no further event that would be preceded by the marker.
            if state.closing || state.items.is_empty() {
                state.push_gap_marker();
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

    /// Removes the line that was written.
    pub(crate) fn done(&self) {
        let mut state = self.lock();
        if let Some(Item::Event(line)) = state.items.pop_front() {
            state.bytes -= line.len();
            metrics::counter!("portcullis_audit_events_total").increment(1);
        }
    }

    /// Waits for `pause`, or until the file is to be reopened or the log is closed. Returns whether it
    /// is closed.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let quiet = |state: &mut State| !state.reopen && !state.closing;
        let waited = self.work.wait_timeout_while(state, pause, quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        // The next attempt checks which file is at the path anyway.
        state.reopen = false;
        state.closing
    }

    /// Lets the writer end after the queued events, and waits for it up to `within`. Returns the number
    /// of events that are not written.
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

    /// Marks the writer as ended: the remaining events are lost.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.closing = true;
        let left = state.items.iter().filter(|item| matches!(item, Item::Event(_))).count();
        state.count_lost(left as u64);
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
    fn dropped_events_are_marked_where_they_are_missing() {
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
    fn an_event_larger_than_the_queue_is_accepted_when_the_queue_is_empty() {
        let queue = Queue::new(10);
        queue.push(event(100));
        queue.push(event(1));
        queue.done();
        queue.push(event(10));
        queue.close(Duration::ZERO);
        assert_eq!(take_all(&queue), [Item::Lost(1), Item::Event(event(10))]);
    }
}
