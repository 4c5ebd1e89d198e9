//! The one thread that writes, and the way to it.
//!
//! Batches wait in a queue. The thread takes all that are there, commits them as one
//! [group](crate::group), and answers each when the group is durable. Between groups it looks
//! what other processes have committed.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::store::{Operation, Position, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::error::Failure;
use crate::group::Committer;
use crate::readers::Readers;

/// How often the thread looks what other processes have committed. Together with the look itself
/// well below the 250 ms within which a change must be told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing must have been written before the log is copied into the file and emptied.
const TIDY_AFTER: Duration = Duration::from_secs(1);

/// How many batches may wait. Who comes then waits for a place, without a thread.
const QUEUE: usize = 1_024;

/// How many operations a group has at most, unless a single batch has more. So a large batch is a
/// group of its own, and nobody else waits for it to become durable.
const GROUP_OPERATIONS: usize = 1_024;

/// A batch that waits to be committed.
pub(crate) struct Job {
    pub(crate) operations: Vec<Operation>,
    answer: oneshot::Sender<Result<Position, StoreError>>,
    _place: OwnedSemaphorePermit,
}

impl Job {
    #[cfg(test)]
    pub(crate) fn new(
        operations: Vec<Operation>,
    ) -> (Self, oneshot::Receiver<Result<Position, StoreError>>) {
        let (answer, answered) = oneshot::channel();
        let places = Arc::new(Semaphore::new(1));
        let job = Self { operations, answer, _place: places.try_acquire_owned().unwrap() };
        (job, answered)
    }

    /// Answers. Whoever asked may have gone.
    pub(crate) fn answer(self, answer: Result<Position, StoreError>) {
        let _ = self.answer.send(answer);
    }
}

/// Handle to the thread. It ends when this is dropped, after what was queued.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    places: Arc<Semaphore>,
    end: watch::Receiver<Option<Result<(), Failure>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the operating system starts no more threads.
    pub(crate) fn start(committer: Committer, readers: Arc<Readers>) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        let (ended, end) = watch::channel(None);
        thread::Builder::new().name("portcullis-sqlite".to_owned()).spawn(move || {
            let end = run(committer, &jobs, &readers);
            ended.send_replace(Some(end));
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), places: Arc::new(Semaphore::new(QUEUE)), end })
    }

    /// Has the operations committed as one batch.
    ///
    /// Once they are in the queue they are carried out, whether or not this future is dropped.
    pub(crate) async fn commit(&self, operations: Vec<Operation>) -> Result<Position, StoreError> {
        let places = Arc::clone(&self.places);
        let place = places.acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job { operations, answer, _place: place.map_err(|_| StoreError::closed())? })?;
        match answered.await {
            Ok(answer) => answer,
            // It ended half way, which only a defect can make it do.
            Err(_) => Err(StoreError::indeterminate(Failure::NoWriter)),
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(StoreError::closed)?;
        queue.send(job).map_err(|_| Failure::NoWriter.into())
    }

    /// Refuses what comes later, and waits until everything before is committed and the thread
    /// has closed its connection.
    pub(crate) async fn finish(&self) -> Result<(), StoreError> {
        self.places.close();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut end = self.end.clone();
        let end = end.wait_for(Option::is_some).await;
        match end.as_deref() {
            Ok(Some(Err(failure))) => Err(StoreError::backend(failure.clone())),
            _ => Ok(()),
        }
    }
}

/// The thread.
fn run(
    mut committer: Committer,
    jobs: &mpsc::Receiver<Job>,
    readers: &Readers,
) -> Result<(), Failure> {
    let mut next = None;
    let mut written = Some(Instant::now());
    committer.look();
    loop {
        let first = match next.take() {
            Some(job) => Ok(job),
            None => jobs.recv_timeout(LOOK_EVERY),
        };
        match first {
            Ok(first) => {
                committer.commit(gather(first, jobs, &mut next));
                written = Some(Instant::now());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                committer.look();
                if written.is_some_and(|written| written.elapsed() >= TIDY_AFTER) {
                    let done = committer.tidy();
                    written = (!done).then(Instant::now);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    // The last connection to go takes the log with it, so the others go first.
    readers.disconnect();
    committer.close()
}

/// Takes what waits in the queue, as much as a group may have.
fn gather(first: Job, jobs: &mpsc::Receiver<Job>, next: &mut Option<Job>) -> Vec<Job> {
    let mut operations = first.operations.len();
    let mut group = vec![first];
    while let Ok(job) = jobs.try_recv() {
        operations = operations.saturating_add(job.operations.len());
        if operations > GROUP_OPERATIONS {
            *next = Some(job);
            break;
        }
        group.push(job);
    }
    group
}
