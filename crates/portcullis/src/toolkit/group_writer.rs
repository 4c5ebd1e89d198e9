//! The one thread that writes, for stores whose engine has one writer.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::store::{Operation, Position, StoreError};

/// How many requests may wait. Who comes then waits for a place, without a thread.
const QUEUE: usize = 1_024;

/// How many operations a group has at most, unless a single batch has more. So a large batch is a
/// group of its own, and nobody else waits for it to become durable.
const GROUP_OPERATIONS: usize = 1_024;

/// How long a group waits at the most for those who are expected to come back.
const MOST_PATIENCE: Duration = Duration::from_micros(500);

/// How long the thread stays awake after a group, and gives way to whoever has something to do. At a
/// hundred groups a second that is a hundredth of the time.
const AWAKE: Duration = Duration::from_micros(100);

/// What a [`GroupWriter`] does on its thread.
pub trait Committer: Send + 'static {
    /// After how long without anything to do [`idle`](Committer::idle) is called, again and again.
    /// `None`: never.
    const IDLE_EVERY: Option<Duration>;

    /// Commits the batches as one group, announces what has changed, and says what became of each
    /// batch, in their order. It returns when all of them are durable: refusals wait as well, for
    /// they may be due to another batch of the group.
    fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>>;

    /// Does what is to be done between groups.
    fn idle(&mut self);

    /// Ends what watches and lets go of files.
    ///
    /// # Errors
    ///
    /// When something could not be written out.
    fn close(self) -> Result<(), StoreError>;
}

/// A thread that commits batches in groups, and the queue of what it is asked to do.
///
/// Batches that arrive while a group is being made durable become the next group, and so do those of
/// writers who were answered with it and come back at once: many writers share one wait for the
/// disk. Whatever is in the queue is carried out, whether or not the future that put it there is
/// dropped. The thread ends when the writer is [finished](GroupWriter::finish) or dropped, after
/// everything in the queue.
#[derive(Debug)]
pub struct GroupWriter<C> {
    queue: Mutex<Option<mpsc::Sender<Request<C>>>>,
    places: Arc<Semaphore>,
    end: watch::Receiver<Option<Result<(), Arc<StoreError>>>>,
}

enum Request<C> {
    Commit(Job),
    Call(Box<dyn FnOnce(&mut C) + Send>, OwnedSemaphorePermit),
}

struct Job {
    operations: Vec<Operation>,
    answer: oneshot::Sender<Result<Position, StoreError>>,
    place: OwnedSemaphorePermit,
}

#[derive(Debug, Error)]
#[error("the thread that writes is gone: open the store again")]
struct NoWriter;

impl<C: Committer> GroupWriter<C> {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the operating system starts no more threads.
    pub fn start(name: &str, committer: C) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel();
        let (ended, end) = watch::channel(None);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let end = run(committer, &requests);
            ended.send_replace(Some(end.map_err(Arc::new)));
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), places: Arc::new(Semaphore::new(QUEUE)), end })
    }

    /// Has the operations committed as one batch.
    ///
    /// # Errors
    ///
    /// What the committer says; [`StoreError::Unavailable`] when the writer is finished;
    /// [`StoreError::Indeterminate`] when the thread ended half way, which only a defect can make
    /// it do.
    pub async fn commit(&self, operations: Vec<Operation>) -> Result<Position, StoreError> {
        let place = self.place().await?;
        let (answer, answered) = oneshot::channel();
        self.enqueue(Request::Commit(Job { operations, answer, place }))?;
        answered.await.unwrap_or_else(|_| Err(StoreError::indeterminate(NoWriter)))
    }

    /// Has something done on the thread, between groups.
    ///
    /// # Errors
    ///
    /// What `call` returns; otherwise as [`commit`](GroupWriter::commit).
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.place().await?;
        let (answer, answered) = oneshot::channel();
        let call = Box::new(move |committer: &mut C| {
            // Whoever asked may have gone.
            let _ = answer.send(call(committer));
        });
        self.enqueue(Request::Call(call, place))?;
        answered.await.unwrap_or_else(|_| Err(StoreError::indeterminate(NoWriter)))
    }

    /// Refuses what comes later, and waits until everything before is done and the thread has
    /// ended.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] with what [`Committer::close`] says.
    pub async fn finish(&self) -> Result<(), StoreError> {
        self.places.close();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut end = self.end.clone();
        let end = end.wait_for(Option::is_some).await;
        match end.as_deref() {
            Ok(Some(Err(error))) => Err(StoreError::backend(Arc::clone(error))),
            _ => Ok(()),
        }
    }

    /// Refuses with [`StoreError::Unavailable`] once it is being [finished](GroupWriter::finish).
    ///
    /// # Errors
    ///
    /// As said.
    pub fn check_running(&self) -> Result<(), StoreError> {
        match self.places.is_closed() {
            true => Err(StoreError::closed()),
            false => Ok(()),
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| StoreError::closed())
    }

    fn enqueue(&self, request: Request<C>) -> Result<(), StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(StoreError::closed)?;
        queue.send(request).map_err(|_| StoreError::unavailable(NoWriter))
    }
}

/// The thread.
fn run<C: Committer>(
    mut committer: C,
    requests: &mpsc::Receiver<Request<C>>,
) -> Result<(), StoreError> {
    // Taken out of the queue and not begun.
    let mut ahead = VecDeque::new();
    let mut crowd = Crowd::default();
    let mut answered = None;
    loop {
        let soon = ahead.pop_front().or_else(|| next_soon(requests, answered));
        let first = match (soon, C::IDLE_EVERY) {
            (Some(request), _) => Ok(request),
            (None, Some(every)) => requests.recv_timeout(every),
            (None, None) => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(Request::Commit(job)) => {
                let (group, answers) = gather(job, requests, &mut ahead, crowd);
                let begin = Instant::now();
                let outcomes = committer.commit(&group);
                // Whoever is here before the answers go out is none of those who get one.
                ahead.extend(requests.try_iter());
                crowd = Crowd {
                    writers: answers.len() + ahead.len(),
                    patience: (begin.elapsed() / 4).min(MOST_PATIENCE),
                };
                for ((answer, _place), outcome) in answers.into_iter().zip(outcomes) {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcome);
                }
                answered = Some(Instant::now());
            }
            Ok(Request::Call(call, _place)) => call(&mut committer),
            Err(RecvTimeoutError::Timeout) => {
                crowd = Crowd::default();
                committer.idle();
            }
            Err(RecvTimeoutError::Disconnected) => return committer.close(),
        }
    }
}

/// Returns a request that comes soon after others were answered.
///
/// Who writes one change after the other comes back within microseconds, and would wait about as long
/// again for this thread to wake up.
fn next_soon<C>(
    requests: &mpsc::Receiver<Request<C>>,
    answered: Option<Instant>,
) -> Option<Request<C>> {
    let answered = answered?;
    loop {
        match requests.try_recv() {
            Err(TryRecvError::Empty) if answered.elapsed() < AWAKE => thread::yield_now(),
            request => return request.ok(),
        }
    }
}

/// How many are writing, as far as could be seen last, and how long to wait for all of them.
///
/// Those who were answered together come back within some microseconds. If the first of them were a
/// group of its own, all others would wait for it: half of the groups would have one batch in them.
/// One who writes alone is never waited for.
#[derive(Clone, Copy, Default)]
struct Crowd {
    writers: usize,
    patience: Duration,
}

type Answer = (oneshot::Sender<Result<Position, StoreError>>, OwnedSemaphorePermit);

/// Takes the batches that wait in the queue, as many as a group may have, and waits a moment for
/// those of the crowd that are not there yet.
fn gather<C>(
    first: Job,
    requests: &mpsc::Receiver<Request<C>>,
    ahead: &mut VecDeque<Request<C>>,
    crowd: Crowd,
) -> (Vec<Vec<Operation>>, Vec<Answer>) {
    let until = Instant::now() + crowd.patience;
    let mut operations = first.operations.len();
    let mut group = vec![first.operations];
    let mut answers = vec![(first.answer, first.place)];
    let next = |ahead: &mut VecDeque<_>, gathered: usize| {
        if let Some(request) = ahead.pop_front() {
            return Some(request);
        }
        if gathered < crowd.writers {
            return requests.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        requests.try_recv().ok()
    };
    while let Some(request) = next(ahead, group.len()) {
        match request {
            Request::Commit(job) if operations + job.operations.len() <= GROUP_OPERATIONS => {
                operations += job.operations.len();
                group.push(job.operations);
                answers.push((job.answer, job.place));
            }
            request => {
                ahead.push_front(request);
                break;
            }
        }
    }
    (group, answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a while for each group, and notes how many batches each had.
    struct Slow(mpsc::Sender<usize>);

    impl Committer for Slow {
        const IDLE_EVERY: Option<Duration> = None;

        fn commit(&mut self, group: &[Vec<Operation>]) -> Vec<Result<Position, StoreError>> {
            thread::sleep(Duration::from_millis(4));
            self.0.send(group.len()).unwrap();
            group.iter().map(|_| Ok(Position::new(1, 1))).collect()
        }

        fn idle(&mut self) {}

        fn close(self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// The sizes of the groups in which so many writers make their changes.
    async fn groups_of(writers: usize, changes: usize) -> Vec<usize> {
        let (sender, sizes) = mpsc::channel();
        let writer = Arc::new(GroupWriter::start("slow", Slow(sender)).unwrap());
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let writer = Arc::clone(&writer);
                tokio::spawn(async move {
                    for _ in 0..changes {
                        writer.commit(Vec::new()).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        writer.finish().await.unwrap();
        sizes.iter().collect()
    }

    #[tokio::test]
    async fn writers_that_come_back_at_once_are_one_group() {
        let sizes = groups_of(8, 40).await;
        assert_eq!(sizes.iter().sum::<usize>(), 320);
        // Two fifths more than there must be, for a machine that is busy.
        assert!(sizes.len() <= 56, "{sizes:?}");
        let sizes = groups_of(2, 40).await;
        assert!(sizes.len() <= 56, "{sizes:?}");
    }

    #[tokio::test]
    async fn one_who_writes_alone_is_not_waited_for() {
        let begin = Instant::now();
        assert_eq!(groups_of(1, 20).await, [1; 20]);
        assert!(begin.elapsed() < 3 * 20 * Duration::from_millis(4), "{:?}", begin.elapsed());
    }
}
