//! The one thread that writes, for stores whose engine has one writer.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Operation, Position, StoreError};

/// How many requests may wait. Who comes then waits for a place, without a thread.
const QUEUE: usize = 1_024;

/// How many operations a group has at most, unless a single batch has more. So a large batch is a
/// group of its own, and nobody else waits for it to become durable.
const GROUP_OPERATIONS: usize = 1_024;

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
/// Batches that arrive while a group is being made durable become the next group, so that many
/// writers share one wait for the disk. Whatever is in the queue is carried out, whether or not
/// the future that put it there is dropped. The thread ends when the writer is
/// [finished](GroupWriter::finish) or dropped, after everything in the queue.
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
    pub fn refuse_if_finished(&self) -> Result<(), StoreError> {
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
    let mut next = None;
    loop {
        let first = match (next.take(), C::IDLE_EVERY) {
            (Some(request), _) => Ok(request),
            (None, Some(every)) => requests.recv_timeout(every),
            (None, None) => requests.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(Request::Commit(job)) => {
                let (group, answers) = gather(job, requests, &mut next);
                let outcomes = committer.commit(&group);
                for ((answer, _place), outcome) in answers.into_iter().zip(outcomes) {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcome);
                }
            }
            Ok(Request::Call(call, _place)) => call(&mut committer),
            Err(mpsc::RecvTimeoutError::Timeout) => committer.idle(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return committer.close(),
        }
    }
}

type Answer = (oneshot::Sender<Result<Position, StoreError>>, OwnedSemaphorePermit);

/// Takes the batches that wait in the queue, as many as a group may have.
fn gather<C>(
    first: Job,
    requests: &mpsc::Receiver<Request<C>>,
    next: &mut Option<Request<C>>,
) -> (Vec<Vec<Operation>>, Vec<Answer>) {
    let mut operations = first.operations.len();
    let mut group = vec![first.operations];
    let mut answers = vec![(first.answer, first.place)];
    while let Ok(request) = requests.try_recv() {
        match request {
            Request::Commit(job) if operations + job.operations.len() <= GROUP_OPERATIONS => {
                operations += job.operations.len();
                group.push(job.operations);
                answers.push((job.answer, job.place));
            }
            request => {
                *next = Some(request);
                break;
            }
        }
    }
    (group, answers)
}
