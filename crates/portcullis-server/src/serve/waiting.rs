//! Which connections wait for a request, and for how long: they make room for others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The connections that wait for a request, in the order in which they began to.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    waiting: Mutex<Waiting>,
    somebody: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// By the number that each got when it began to wait, with the time.
    seats: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// Whether there is somebody to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentAway {
    /// One was told to leave.
    One,
    /// Nobody has waited long enough before this time.
    NotBefore(Instant),
    /// Nobody waits.
    Nobody,
}

impl WaitingRoom {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the one that has waited longest to leave, if that is as long as everybody may stay.
    pub(super) fn send_away_one(&self, stay: Duration) -> SentAway {
        let mut waiting = self.lock();
        let Some(first) = waiting.seats.first_entry() else { return SentAway::Nobody };
        let until = first.get().0 + stay;
        if until > Instant::now() {
            return SentAway::NotBefore(until);
        }
        let (_, leave) = first.remove();
        leave.notify_one();
        SentAway::One
    }

    /// Waits until somebody may have begun to wait.
    pub(super) async fn somebody_waits(&self) {
        self.somebody.notified().await;
    }
}

/// What one connection does: wait for a request, or work on one. It begins with waiting.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<WaitingRoom>,
    leave: Arc<Notify>,
    /// The number in the room, or `WORKS`.
    number: AtomicU64,
    has_received: AtomicBool,
}

impl Seat {
    pub(super) const WORKS: u64 = 0;

    pub(super) fn new(room: Arc<WaitingRoom>) -> Arc<Self> {
        let seat = Self {
            room,
            leave: Arc::default(),
            number: AtomicU64::new(Self::WORKS),
            has_received: AtomicBool::new(false),
        };
        seat.wait();
        Arc::new(seat)
    }

    fn wait(&self) {
        let mut waiting = self.room.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.seats.insert(number, (Instant::now(), Arc::clone(&self.leave)));
        drop(waiting);
        self.number.store(number, Ordering::Release);
        self.room.somebody.notify_one();
    }

    fn stop_waiting(&self) {
        let number = self.number.swap(Self::WORKS, Ordering::AcqRel);
        self.room.lock().seats.remove(&number);
    }

    /// Works until the returned value is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.stop_waiting();
        Work(Arc::clone(self))
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.wait_number() != Self::WORKS
    }

    /// Returns a number that every wait gets anew, [`Seat::WORKS`] when it does not wait.
    pub(super) fn wait_number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Waits until this one is to make room for another.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Takes note that the client has sent something that may be of a request.
    pub(super) fn note_received(&self) {
        self.has_received.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_received(&self) -> bool {
        self.has_received.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

/// A request that is worked on, until its answer was handed over.
#[derive(Debug)]
pub(super) struct Work(Arc<Seat>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_longest_leaves_and_who_works_stays() {
        let room = Arc::new(WaitingRoom::default());
        let send_away = || room.send_away_one(Duration::ZERO);
        assert_eq!(send_away(), SentAway::Nobody);
        let [first, second, third] = [(); 3].map(|()| Seat::new(Arc::clone(&room)));
        let left = |seat: &Seat| seat.told_to_leave().now_or_never().is_some();

        let work = first.work();
        drop(second.work());
        assert_eq!(send_away(), SentAway::One);
        assert!(!left(&first) && !left(&second) && left(&third));
        assert_eq!(send_away(), SentAway::One);
        assert!(!left(&first) && left(&second));
        assert_eq!(send_away(), SentAway::Nobody, "who works does not wait");
        drop(work);
        assert_eq!(send_away(), SentAway::One);
        assert!(left(&first));

        let gone = Seat::new(Arc::clone(&room));
        drop(gone);
        assert_eq!(send_away(), SentAway::Nobody);
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_may_stay_for_a_while() {
        let room = Arc::new(WaitingRoom::default());
        let _seat = Seat::new(Arc::clone(&room));
        let stay = Duration::from_millis(500);
        let SentAway::NotBefore(until) = room.send_away_one(stay) else { panic!("sent away") };
        tokio::time::advance(stay - Duration::from_millis(1)).await;
        assert_eq!(room.send_away_one(stay), SentAway::NotBefore(until));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(room.send_away_one(stay), SentAway::One);
    }
}
