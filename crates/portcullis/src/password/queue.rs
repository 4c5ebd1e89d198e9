//! The bounded queue of the hash pool: fair by source and by name, and between purposes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sync::lock;

/// Which jobs go before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A new password, which takes turns with logins: neither can keep the other waiting for long.
    NewPassword,
    /// A login of a name from a source from which it has logged in before.
    FamiliarLogin,
    /// A login without a history.
    Login,
    /// A login of a name, or from a source, that has failed lately.
    SuspectLogin,
}

impl Lane {
    const COUNT: usize = 4;

    const fn index(self) -> usize {
        match self {
            Self::NewPassword => 0,
            Self::FamiliarLogin => 1,
            Self::Login => 2,
            Self::SuspectLogin => 3,
        }
    }
}

/// The order in which the lanes of logins are searched, in turn: usually the better ones first, and
/// regularly the others, so that no login waits for ever.
const TURNS: [[Lane; 3]; 8] = {
    const FIRST: [Lane; 3] = [Lane::FamiliarLogin, Lane::Login, Lane::SuspectLogin];
    const SECOND: [Lane; 3] = [Lane::Login, Lane::FamiliarLogin, Lane::SuspectLogin];
    const LAST: [Lane; 3] = [Lane::SuspectLogin, Lane::FamiliarLogin, Lane::Login];
    [FIRST, FIRST, FIRST, SECOND, FIRST, FIRST, FIRST, LAST]
};

/// Where a job waits: its lane, and the flows that take turns within the lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) lane: Lane,
    /// Keys of its source, and of its name or caller.
    pub(crate) flows: [Option<u64>; 2],
}

impl Ticket {
    /// A login without name and source.
    pub(crate) const LOGIN: Self = Self { lane: Lane::Login, flows: [None; 2] };
}

/// What a queue requires of its jobs.
pub(super) trait Job {
    /// Tells whether the receiver of the result was dropped.
    fn is_abandoned(&self) -> bool;
}

/// A job was not accepted: too many are ahead of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) ahead: usize,
}

/// Holds at most `capacity` jobs.
pub(super) struct Queue<J> {
    lanes: Mutex<Lanes<J>>,
    wake: Condvar,
    capacity: usize,
}

struct Lanes<J> {
    lanes: [FairLane<J>; Lane::COUNT],
    turn: usize,
    closed: bool,
}

/// Jobs in the order of their tags. The tag of a job is one more than the tag of the previous job of the
/// same flow, so a flow with a thousand jobs gets one turn for each turn of a flow with a single job
/// (start-time fair queueing).
struct FairLane<J> {
    jobs: BTreeMap<Tag, Waiting<J>>,
    /// The last tag of each flow that has, or lately had, jobs in the queue.
    last: HashMap<u64, u64>,
    /// The tag of the job that was removed last.
    now: u64,
    arrivals: u64,
}

/// The virtual start time, and the order of arrival among equals.
type Tag = (u64, u64);

struct Waiting<J> {
    job: J,
    flows: [Option<u64>; 2],
}

impl<J: Job> FairLane<J> {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    fn push(&mut self, flows: [Option<u64>; 2], job: J) -> Tag {
        let mut start = self.now;
        for flow in flows.into_iter().flatten() {
            // Each flow counts its own jobs, so that one cannot delay another.
            let last = self.last.get(&flow).map_or(self.now, |last| self.now.max(last + 1));
            self.last.insert(flow, last);
            start = start.max(last);
        }
        self.arrivals += 1;
        let tag = (start, self.arrivals);
        self.jobs.insert(tag, Waiting { job, flows });
        self.evict_idle_flows();
        tag
    }

    fn pop(&mut self) -> Option<J> {
        while let Some(((start, _), waiting)) = self.jobs.pop_first() {
            if waiting.job.is_abandoned() {
                self.give_back(waiting.flows);
                continue;
            }
            self.now = self.now.max(start);
            return Some(waiting.job);
        }
        None
    }

    /// Removes a job before its turn.
    fn remove(&mut self, tag: Tag) -> Option<J> {
        let waiting = self.jobs.remove(&tag)?;
        self.give_back(waiting.flows);
        Some(waiting.job)
    }

    fn remove_last(&mut self) -> Option<(Tag, J)> {
        let tag = *self.jobs.last_key_value()?.0;
        Some((tag, self.remove(tag)?))
    }

    /// Uncounts a job that had no turn: otherwise attempts that are dropped at once would delay the later
    /// jobs of their flows.
    fn give_back(&mut self, flows: [Option<u64>; 2]) {
        for flow in flows.into_iter().flatten() {
            if let Some(last) = self.last.get_mut(&flow) {
                *last = last.saturating_sub(1).max(self.now);
            }
        }
    }

    /// Removes flows without jobs, once they are many.
    fn evict_idle_flows(&mut self) {
        if self.last.len() > 4 * self.jobs.len() + 64 {
            let now = self.now;
            self.last.retain(|_, last| *last > now);
        }
    }

    fn drop_abandoned(&mut self) {
        let abandoned: Vec<_> =
            self.jobs.iter().filter(|(_, w)| w.job.is_abandoned()).map(|(tag, _)| *tag).collect();
        for tag in abandoned {
            self.remove(tag);
        }
    }
}

impl<J: Job> Lanes<J> {
    fn lane(&mut self, lane: Lane) -> &mut FairLane<J> {
        let [new_password, familiar, login, suspect] = &mut self.lanes;
        match lane {
            Lane::NewPassword => new_password,
            Lane::FamiliarLogin => familiar,
            Lane::Login => login,
            Lane::SuspectLogin => suspect,
        }
    }

    fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.jobs.len()).sum()
    }

    // `&mut`, because the condition variable requires it.
    fn keeps_waiting(&mut self) -> bool {
        !self.closed && self.lanes.iter().all(FairLane::is_empty)
    }

    fn next(&mut self) -> Option<J> {
        self.turn = self.turn.wrapping_add(1);
        let logins = TURNS.get(self.turn / 2 % TURNS.len()).copied().unwrap_or(TURNS[0]);
        let new_passwords_first = self.turn.is_multiple_of(2);
        if new_passwords_first && let Some(job) = self.lane(Lane::NewPassword).pop() {
            return Some(job);
        }
        let login = logins.into_iter().find_map(|lane| self.lane(lane).pop());
        login.or_else(|| self.lane(Lane::NewPassword).pop())
    }

    /// Returns how many jobs are ahead of the one with the tag. Later jobs may still overtake it.
    fn ahead(&self, lane: Lane, tag: Tag) -> usize {
        let within = |lane: usize| {
            let jobs = self.lanes.get(lane).map(|lane| &lane.jobs);
            jobs.map_or(0, |jobs| jobs.range(..tag).count())
        };
        let whole = |lane: usize| self.lanes.get(lane).map_or(0, |lane| lane.jobs.len());
        let own = within(lane.index());
        if lane == Lane::NewPassword {
            let logins: usize = (1..Lane::COUNT).map(whole).sum();
            return own + logins.min(own + 1);
        }
        let better: usize = (1..lane.index()).map(whole).sum();
        let logins = own + better;
        logins + whole(Lane::NewPassword.index()).min(logins + 1)
    }
}

impl<J: Job> Queue<J> {
    pub(super) fn new(capacity: usize) -> Self {
        let lane = || FairLane { jobs: BTreeMap::new(), last: HashMap::new(), now: 0, arrivals: 0 };
        let lanes = Lanes { lanes: [lane(), lane(), lane(), lane()], turn: 0, closed: false };
        Self { lanes: Mutex::new(lanes), wake: Condvar::new(), capacity }
    }

    /// Adds the job, unless more than `most_ahead` are ahead of it or the queue is full of better ones.
    /// Returns the job that was evicted for it, if any.
    ///
    /// # Errors
    ///
    /// [`Full`], and how many are ahead.
    pub(super) fn push(
        &self,
        ticket: Ticket,
        job: J,
        most_ahead: usize,
    ) -> Result<Option<J>, Full> {
        let mut lanes = self.lanes();
        let tag = lanes.lane(ticket.lane).push(ticket.flows, job);
        // Abandoned jobs are removed, and jobs counted, only when many wait.
        if lanes.len() > most_ahead.min(self.capacity) {
            lanes.lanes.iter_mut().for_each(FairLane::drop_abandoned);
            let ahead = lanes.ahead(ticket.lane, tag);
            if ahead > most_ahead {
                lanes.lane(ticket.lane).remove(tag);
                return Err(Full { ahead });
            }
        }
        let evicted = (lanes.len() > self.capacity).then(|| lanes.evict()).flatten();
        match evicted {
            Some((lane, at, _)) if lane == ticket.lane && at == tag => {
                let ahead = lanes.len();
                Err(Full { ahead })
            }
            evicted => {
                drop(lanes);
                self.wake.notify_one();
                Ok(evicted.map(|(.., job)| job))
            }
        }
    }

    /// Waits for a job; `None` once the queue is closed. If none arrives within `idle_after`, `idle` is
    /// called once, and the wait continues.
    pub(super) fn pop(&self, idle_after: Duration, idle: impl FnOnce()) -> Option<J> {
        let mut idle = Some(idle);
        loop {
            let mut lanes = self.wait(idle_after, &mut idle);
            if let Some(job) = lanes.next() {
                return Some(job);
            }
            // All jobs that were left are abandoned.
            if lanes.closed {
                return None;
            }
        }
    }

    fn wait(
        &self,
        idle_after: Duration,
        idle: &mut Option<impl FnOnce()>,
    ) -> MutexGuard<'_, Lanes<J>> {
        let (mut lanes, waited) = self
            .wake
            .wait_timeout_while(self.lanes(), idle_after, Lanes::keeps_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            drop(lanes);
            if let Some(idle) = idle.take() {
                idle();
            }
            lanes = self
                .wake
                .wait_while(self.lanes(), Lanes::keeps_waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        lanes
    }

    /// Returns the number of jobs.
    pub(super) fn len(&self) -> usize {
        self.lanes().len()
    }

    /// Wakes every thread that waits, and drops the jobs.
    pub(super) fn close(&self) {
        let mut lanes = self.lanes();
        lanes.closed = true;
        lanes.lanes.iter_mut().for_each(|lane| lane.jobs.clear());
        drop(lanes);
        self.wake.notify_all();
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<J>> {
        lock(&self.lanes)
    }
}

impl<J: Job> Lanes<J> {
    /// Removes the last job of the worst lane.
    fn evict(&mut self) -> Option<(Lane, Tag, J)> {
        let order = [Lane::SuspectLogin, Lane::NewPassword, Lane::Login, Lane::FamiliarLogin];
        order.into_iter().find_map(|lane| {
            let (tag, job) = self.lane(lane).remove_last()?;
            Some((lane, tag, job))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Named(&'static str, u64);

    impl Job for Named {
        fn is_abandoned(&self) -> bool {
            self.0 == "abandoned"
        }
    }

    struct World(Queue<Named>);

    impl World {
        fn new(capacity: usize) -> Self {
            Self(Queue::new(capacity))
        }

        fn push(&self, lane: Lane, flows: [u64; 2], job: Named) -> Result<Option<Named>, Full> {
            self.0.push(Ticket { lane, flows: flows.map(Some) }, job, usize::MAX)
        }

        fn pop(&self) -> &'static str {
            self.0.pop(Duration::ZERO, || {}).unwrap().0
        }

        /// Removes jobs up to this one, and returns how many were before it.
        fn popped_before(&self, name: &str) -> usize {
            (0..).find(|_| self.pop() == name).unwrap()
        }
    }

    #[test]
    fn a_waiting_thread_is_notified_once_that_it_is_idle_and_continues_to_wait() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            let (notify, idle) = std::sync::mpsc::channel();
            let queue = &queue;
            let waits = scope
                .spawn(move || queue.pop(Duration::from_millis(1), || notify.send(()).unwrap()));
            idle.recv().unwrap();
            let ticket = Ticket { lane: Lane::Login, flows: [None; 2] };
            queue.push(ticket, Named("late", 0), usize::MAX).unwrap();
            assert_eq!(waits.join().unwrap(), Some(Named("late", 0)));
        });
    }

    /// [QUEUE-5]
    #[test]
    fn a_source_with_a_thousand_logins_lets_the_login_of_another_source_go_first() {
        let world = World::new(4_096);
        for name in 0..1_000 {
            world.push(Lane::Login, [1, 1_000 + name], Named("flood", name)).unwrap();
        }
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        assert!(world.popped_before("right") <= 1);
    }

    /// [QUEUE-5]
    #[test]
    fn a_thousand_sources_at_one_name_let_the_login_of_another_name_go_first() {
        let world = World::new(4_096);
        for source in 0..1_000 {
            world.push(Lane::Login, [1_000 + source, 1], Named("flood", source)).unwrap();
        }
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        assert!(world.popped_before("right") <= 1);
    }

    #[test]
    fn a_flood_with_one_login_of_a_name_does_not_delay_that_name() {
        let world = World::new(4_096);
        for name in 0..1_000 {
            world.push(Lane::Login, [1, 1_000 + name], Named("flood", name)).unwrap();
        }
        world.push(Lane::Login, [1, 7], Named("flood", 7)).unwrap();
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        assert!(world.popped_before("right") <= 3);
    }

    /// [QUEUE-4] [QUEUE-5]
    #[test]
    fn familiar_logins_go_first_and_suspect_ones_last_but_none_waits_for_ever() {
        let world = World::new(4_096);
        for number in 0..100 {
            world.push(Lane::SuspectLogin, [number; 2], Named("suspect", number)).unwrap();
            world.push(Lane::Login, [number; 2], Named("new", number)).unwrap();
            world.push(Lane::FamiliarLogin, [number; 2], Named("familiar", number)).unwrap();
        }
        let taken: Vec<_> = (0..80).map(|_| world.pop()).collect();
        let count = |name| taken.iter().filter(|taken| **taken == name).count();
        assert_eq!([count("familiar"), count("new"), count("suspect")], [60, 10, 10]);
    }

    #[test]
    fn new_passwords_and_logins_have_half_of_the_threads_each_whatever_comes() {
        for flooded in [Lane::NewPassword, Lane::Login] {
            let other = if flooded == Lane::Login { Lane::NewPassword } else { Lane::Login };
            let world = World::new(4_096);
            for number in 0..1_000 {
                world.push(flooded, [number; 2], Named("flood", number)).unwrap();
            }
            for number in 0..50 {
                world.push(other, [5_000 + number; 2], Named("other", number)).unwrap();
            }
            let taken: Vec<_> = (0..100).map(|_| world.pop()).collect();
            assert_eq!(taken.iter().filter(|taken| **taken == "other").count(), 50);
        }
    }

    /// [QUEUE-6]
    #[test]
    fn a_full_queue_evicts_the_worst_login_for_a_better_one_and_refuses_a_worse_one() {
        let world = World::new(2);
        assert_eq!(world.push(Lane::SuspectLogin, [1; 2], Named("suspect", 1)), Ok(None));
        assert_eq!(world.push(Lane::SuspectLogin, [2; 2], Named("suspect", 2)), Ok(None));
        let refused = world.push(Lane::SuspectLogin, [1; 2], Named("suspect", 3));
        assert_eq!(refused, Err(Full { ahead: 2 }));
        let evicted = world.push(Lane::FamiliarLogin, [3; 2], Named("familiar", 0));
        assert_eq!(evicted, Ok(Some(Named("suspect", 2))));
        assert_eq!(world.0.len(), 2);
    }

    #[test]
    fn a_job_is_refused_when_more_are_ahead_than_it_could_wait_for() {
        let queue = Queue::new(100);
        let push = |lane, flow: u64, name| {
            queue.push(Ticket { lane, flows: [Some(flow), None] }, Named(name, flow), 3)
        };
        for _ in 0..4 {
            assert_eq!(push(Lane::Login, 1, "login"), Ok(None));
        }
        assert_eq!(push(Lane::Login, 1, "login"), Err(Full { ahead: 4 }));
        assert_eq!(push(Lane::Login, 2, "login"), Ok(None), "ahead of most of the others");
        assert_eq!(push(Lane::FamiliarLogin, 3, "familiar"), Ok(None));
        assert_eq!(push(Lane::SuspectLogin, 4, "suspect"), Err(Full { ahead: 6 }));
    }

    #[test]
    fn abandoned_jobs_make_room() {
        let world = World::new(2);
        for number in 0..100 {
            world.push(Lane::Login, [number; 2], Named("abandoned", number)).unwrap();
        }
        world.push(Lane::Login, [7; 2], Named("login", 7)).unwrap();
        assert_eq!(world.push(Lane::SuspectLogin, [8; 2], Named("suspect", 8)), Ok(None));
        assert!(world.0.len() <= 2);
    }

    /// Attempts that are dropped before their turn, or refused, do not delay the owner of their name.
    #[test]
    fn a_job_without_a_turn_does_not_count() {
        let world = World::new(2_000);
        for number in 0..500 {
            world.push(Lane::Login, [number, 1_000 + number], Named("other", number)).unwrap();
        }
        for number in 0..1_000 {
            world.push(Lane::Login, [5_000 + number, 7], Named("abandoned", number)).unwrap();
        }
        for _ in 0..1_000 {
            let ticket = Ticket { lane: Lane::Login, flows: [Some(9), Some(7)] };
            world.0.push(ticket, Named("refused", 0), 1).unwrap_err();
        }
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        // In turn with the others that wait, each with a flow of its own.
        assert!(world.popped_before("right") <= 501);
    }

    #[test]
    fn flows_without_jobs_are_evicted() {
        let world = World::new(4_096);
        for number in 0..10_000 {
            world.push(Lane::Login, [number, 20_000 + number], Named("login", number)).unwrap();
            world.pop();
        }
        let lanes = world.0.lanes();
        assert!(lanes.lanes.iter().all(|lane| lane.last.len() <= 100));
    }
}
