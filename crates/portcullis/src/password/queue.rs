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
    /// A login of which nothing is known.
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

/// The order in which logins are looked for, in turn: the better ones first, and now and then the
/// others, so that none waits for ever.
const TURNS: [[Lane; 3]; 8] = {
    const FIRST: [Lane; 3] = [Lane::FamiliarLogin, Lane::Login, Lane::SuspectLogin];
    const SECOND: [Lane; 3] = [Lane::Login, Lane::FamiliarLogin, Lane::SuspectLogin];
    const LAST: [Lane; 3] = [Lane::SuspectLogin, Lane::FamiliarLogin, Lane::Login];
    [FIRST, FIRST, FIRST, SECOND, FIRST, FIRST, FIRST, LAST]
};

/// Where a job waits: in a lane, in which its flows take turns with the others'.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) lane: Lane,
    /// What stands for its source, and for its name or caller.
    pub(crate) flows: [Option<u64>; 2],
}

impl Ticket {
    /// A login of which neither name nor source is known.
    pub(crate) const LOGIN: Self = Self { lane: Lane::Login, flows: [None; 2] };
}

/// What a queue must know of its jobs.
pub(super) trait Job {
    /// Tells whether the answer is not waited for any more.
    fn is_abandoned(&self) -> bool;
}

/// Says that a job was not taken: this many are ahead of it.
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

/// Jobs in the order of their tags. The tag of a job is one more than that of the job before it in
/// the same flow: so a flow with a thousand jobs has one turn when a flow with one has its turn.
struct FairLane<J> {
    jobs: BTreeMap<Place, Waiting<J>>,
    /// The last tag of each flow that has jobs waiting, or had some lately.
    last: HashMap<u64, u64>,
    /// The tag of the job that was taken last.
    now: u64,
    arrivals: u64,
}

/// The tag, and the order of arrival among equals.
type Place = (u64, u64);

struct Waiting<J> {
    job: J,
    flows: [Option<u64>; 2],
}

impl<J: Job> FairLane<J> {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    fn push(&mut self, flows: [Option<u64>; 2], job: J) -> Place {
        let mut tag = self.now;
        for flow in flows.into_iter().flatten() {
            // Each flow counts its own jobs: one cannot push another back.
            let last = self.last.get(&flow).map_or(self.now, |last| self.now.max(last + 1));
            self.last.insert(flow, last);
            tag = tag.max(last);
        }
        self.arrivals += 1;
        let place = (tag, self.arrivals);
        self.jobs.insert(place, Waiting { job, flows });
        self.forget_flows();
        place
    }

    fn pop(&mut self) -> Option<J> {
        while let Some(((tag, _), waiting)) = self.jobs.pop_first() {
            if waiting.job.is_abandoned() {
                self.give_back(waiting.flows);
                continue;
            }
            self.now = self.now.max(tag);
            return Some(waiting.job);
        }
        None
    }

    /// Takes a job away that had no turn.
    fn remove(&mut self, place: Place) -> Option<J> {
        let waiting = self.jobs.remove(&place)?;
        self.give_back(waiting.flows);
        Some(waiting.job)
    }

    fn remove_last(&mut self) -> Option<(Place, J)> {
        let place = *self.jobs.last_key_value()?.0;
        Some((place, self.remove(place)?))
    }

    /// A job without a turn does not count: otherwise tries that leave at once would push back what
    /// comes after them.
    fn give_back(&mut self, flows: [Option<u64>; 2]) {
        for flow in flows.into_iter().flatten() {
            if let Some(last) = self.last.get_mut(&flow) {
                *last = last.saturating_sub(1).max(self.now);
            }
        }
    }

    /// Forgets flows whose jobs have all been taken, now and then.
    fn forget_flows(&mut self) {
        if self.last.len() > 4 * self.jobs.len() + 64 {
            let now = self.now;
            self.last.retain(|_, last| *last > now);
        }
    }

    fn drop_abandoned(&mut self) {
        let abandoned: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, w)| w.job.is_abandoned())
            .map(|(place, _)| *place)
            .collect();
        for place in abandoned {
            self.remove(place);
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

    // Mutable, since the condition variable asks so.
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

    /// How many jobs are ahead of the one at the place, as far as can be told: more may come.
    fn ahead(&self, lane: Lane, place: Place) -> usize {
        let within = |lane: usize| {
            let jobs = self.lanes.get(lane).map(|lane| &lane.jobs);
            jobs.map_or(0, |jobs| jobs.range(..place).count())
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

    /// Adds the job, unless more than `most_ahead` are ahead of it or there is no room. A job that
    /// had a worse place and made room for it is returned.
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
        let place = lanes.lane(ticket.lane).push(ticket.flows, job);
        // Exact only where it matters: most of the time few wait.
        if lanes.len() > most_ahead.min(self.capacity) {
            lanes.lanes.iter_mut().for_each(FairLane::drop_abandoned);
            let ahead = lanes.ahead(ticket.lane, place);
            if ahead > most_ahead {
                lanes.lane(ticket.lane).remove(place);
                return Err(Full { ahead });
            }
        }
        let evicted = (lanes.len() > self.capacity).then(|| lanes.evict()).flatten();
        match evicted {
            Some((lane, at, _)) if lane == ticket.lane && at == place => {
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

    /// Waits for a job; `None` once the queue is closed. When none has come for so long, `idle` is
    /// called, once, and waiting goes on.
    pub(super) fn pop(&self, patience: Duration, idle: impl FnOnce()) -> Option<J> {
        let mut idle = Some(idle);
        loop {
            let mut lanes = self.wait(patience, &mut idle);
            if let Some(job) = lanes.next() {
                return Some(job);
            }
            // Only such as are not waited for were left.
            if lanes.closed {
                return None;
            }
        }
    }

    fn wait(
        &self,
        patience: Duration,
        idle: &mut Option<impl FnOnce()>,
    ) -> MutexGuard<'_, Lanes<J>> {
        let (mut lanes, waited) = self
            .wake
            .wait_timeout_while(self.lanes(), patience, Lanes::keeps_waiting)
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

    /// How many jobs wait.
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
    /// Takes the job with the worst place away: a login that is suspect, if there is one.
    fn evict(&mut self) -> Option<(Lane, Place, J)> {
        let order = [Lane::SuspectLogin, Lane::NewPassword, Lane::Login, Lane::FamiliarLogin];
        order.into_iter().find_map(|lane| {
            let (place, job) = self.lane(lane).remove_last()?;
            Some((lane, place, job))
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

        /// How many jobs are taken until this one is.
        fn taken_before(&self, name: &str) -> usize {
            (0..).find(|_| self.pop() == name).unwrap()
        }
    }

    #[test]
    fn a_thread_that_waits_is_told_once_that_nothing_comes_and_goes_on_waiting() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            let (told, idle) = std::sync::mpsc::channel();
            let queue = &queue;
            let waits =
                scope.spawn(move || queue.pop(Duration::from_millis(1), || told.send(()).unwrap()));
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
        assert!(world.taken_before("right") <= 1);
    }

    /// [QUEUE-5]
    #[test]
    fn a_thousand_sources_at_one_name_let_the_login_of_another_name_go_first() {
        let world = World::new(4_096);
        for source in 0..1_000 {
            world.push(Lane::Login, [1_000 + source, 1], Named("flood", source)).unwrap();
        }
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        assert!(world.taken_before("right") <= 1);
    }

    #[test]
    fn a_flood_that_names_a_login_once_does_not_push_it_back() {
        let world = World::new(4_096);
        for name in 0..1_000 {
            world.push(Lane::Login, [1, 1_000 + name], Named("flood", name)).unwrap();
        }
        world.push(Lane::Login, [1, 7], Named("flood", 7)).unwrap();
        world.push(Lane::Login, [2, 7], Named("right", 0)).unwrap();
        assert!(world.taken_before("right") <= 3);
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
    fn a_full_queue_makes_room_for_a_better_place_and_refuses_the_worst() {
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
    fn jobs_that_are_not_waited_for_make_room() {
        let world = World::new(2);
        for number in 0..100 {
            world.push(Lane::Login, [number; 2], Named("abandoned", number)).unwrap();
        }
        world.push(Lane::Login, [7; 2], Named("login", 7)).unwrap();
        assert_eq!(world.push(Lane::SuspectLogin, [8; 2], Named("suspect", 8)), Ok(None));
        assert!(world.0.len() <= 2);
    }

    /// Tries that leave before their turn, and such as are refused, do not push back the owner of
    /// their name.
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
        assert!(world.taken_before("right") <= 501);
    }

    #[test]
    fn flows_are_forgotten_once_their_jobs_are_taken() {
        let world = World::new(4_096);
        for number in 0..10_000 {
            world.push(Lane::Login, [number, 20_000 + number], Named("login", number)).unwrap();
            world.pop();
        }
        let lanes = world.0.lanes();
        assert!(lanes.lanes.iter().all(|lane| lane.last.len() <= 100));
    }
}
