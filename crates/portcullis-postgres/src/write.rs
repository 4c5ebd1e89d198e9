//! Writing: a batch as one short transaction.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use portcullis::store::{Operation, Position, StoreError};
use portcullis::{Random as _, SystemRandom};
use tokio_postgres::Statement;

use crate::announcements::Announcements;
use crate::connection::{Connection, answer_within};
use crate::dialect::{BEGIN, COMMIT, ROLLBACK};
use crate::error::{Failure, Remedy};
use crate::pool::{NoConnection, Pool};
use crate::steps::{self, Look, Step, Verdict};

/// How often a transaction is begun anew that was undone for the sake of others.
const TRIES: u32 = 10;

/// How long to wait before the second try; twice as long before each later one.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// How many statements may be under way before the answer to the first one is awaited.
const WINDOW: usize = 64;

/// How often operations of a batch are looked at more closely. More than once only if others
/// change what they are about at the same time.
const LOOKS: usize = 32;

/// What became of a transaction.
enum Outcome {
    Committed(Position),
    /// Nothing was changed.
    Refused(StoreError),
    /// Nothing was changed: something was in the way of the operation of this number, and whether
    /// it still is, and what, a closer look will tell.
    Doubtful(usize),
    /// Nothing was changed.
    Failed(Failure),
    /// Nobody knows.
    Unknown(Failure),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a transaction needs besides a connection.
pub(crate) struct Writer {
    pub(crate) pool: Arc<Pool>,
    pub(crate) announcements: Arc<Announcements>,
}

impl Writer {
    /// Carries out the operations or none of them, however often that has to be tried.
    pub(crate) async fn commit(&self, operations: &[Operation]) -> Result<Position, StoreError> {
        let batch = draw_batch()?;
        let mut alone = BTreeSet::new();
        let mut looks = 0;
        let mut tries = 0;
        loop {
            let mut lease = match self.pool.take_to_write().await {
                Ok(lease) => lease,
                Err(NoConnection::Closed) => return Err(StoreError::closed()),
                Err(NoConnection::Failed(failure)) => return Err(failure.into()),
            };
            let transaction = Transaction {
                connection: lease.for_transaction()?,
                announcements: &self.announcements,
                operations,
                alone: &alone,
                batch,
            };
            let outcome = transaction.run().await;
            // Committed or rolled back, or given up below.
            lease.transaction_is_over();
            match outcome {
                Outcome::Committed(position) => return Ok(position),
                Outcome::Refused(error) => return Err(error),
                Outcome::Doubtful(number) => {
                    looks += 1;
                    if looks > LOOKS {
                        let tries = TRIES;
                        let cause = Box::new(Failure::Unusable("others are always in the way"));
                        return Err(Failure::Undone { tries, cause }.into());
                    }
                    alone.insert(number);
                }
                Outcome::Failed(failure) if failure.remedy() == Remedy::Again => {
                    drop(lease);
                    tries += 1;
                    if tries == TRIES {
                        return Err(Failure::Undone { tries, cause: Box::new(failure) }.into());
                    }
                    tokio::time::sleep(pause(tries)).await;
                }
                Outcome::Failed(failure) => {
                    if !lease.give_up(&failure) {
                        return Err(failure.into());
                    }
                }
                Outcome::Unknown(failure) => {
                    lease.abandon();
                    return Err(StoreError::indeterminate(failure));
                }
            }
        }
    }
}

/// Before the try of this number; not the same for everybody who got into each other's way.
fn pause(tries: u32) -> Duration {
    let mut random = [0];
    // Without randomness all wait alike, which is not worse than not waiting.
    let _ = SystemRandom.fill(&mut random);
    let longest = FIRST_PAUSE * 2_u32.saturating_pow(tries.min(7));
    longest / 2 + longest * u32::from(random[0]) / 512
}

fn draw_batch() -> Result<i64, StoreError> {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes).map_err(StoreError::unavailable)?;
    Ok(i64::from_be_bytes(bytes))
}

/// One try.
struct Transaction<'a> {
    connection: &'a mut Connection,
    announcements: &'a Announcements,
    operations: &'a [Operation],
    /// The operations that are looked at closely, each before and after it is carried out.
    alone: &'a BTreeSet<usize>,
    batch: i64,
}

impl Transaction<'_> {
    async fn run(mut self) -> Outcome {
        let steps = match steps::plan(self.operations, self.alone) {
            Ok(steps) => steps,
            Err(error) => return Outcome::Refused(error),
        };
        let filled = match self.fill(&steps).await {
            Ok(()) if steps::changes(self.operations).next().is_none() => {
                Outcome::Committed(self.announcements.feed().position())
            }
            Ok(()) => return self.commit().await,
            Err(outcome) => outcome,
        };
        let is_over = matches!(&filled, Outcome::Failed(failure) if failure.ends_connection());
        // A connection that failed is given up, which ends the transaction as well.
        if !is_over && let Err(failure) = self.connection.run(ROLLBACK).await {
            return match filled {
                // What was found is so even if saying goodbye fails.
                Outcome::Committed(_) | Outcome::Refused(_) if self.connection.has_ended() => {
                    filled
                }
                _ => Outcome::Failed(failure),
            };
        }
        filled
    }

    /// Begins the transaction and carries everything out.
    async fn fill(&mut self, steps: &[Step]) -> Result<(), Outcome> {
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            // The first time on this connection, this asks the server.
            statements.push(step.prepare(self.connection).await?);
        }
        let all: Vec<_> = steps.iter().zip(&statements).collect();
        let is_alone = |(step, _): &(&Step, _)| self.alone.contains(&step.first());
        let segments: Vec<_> = all.split_inclusive(is_alone).collect();
        let mut begin = true;
        for segment in segments {
            let (together, alone) = match segment.split_last() {
                Some((last, before)) if self.alone.contains(&last.0.first()) => {
                    (before, Some(*last))
                }
                _ => (segment, None),
            };
            let connection = &*self.connection;
            if let Verdict::Not(number) = send_all(connection, begin, together, self.batch).await? {
                return Err(Outcome::Doubtful(number));
            }
            begin = false;
            if let Some((step, statement)) = alone {
                self.carry_out_alone(step, statement).await?;
            }
        }
        Ok(())
    }

    async fn carry_out_alone(&mut self, step: &Step, statement: &Statement) -> Result<(), Outcome> {
        let Some(operation) = self.operations.get(step.first()) else { return Ok(()) };
        match steps::look_before(self.connection, operation).await? {
            Look::Clear => {}
            Look::Refused(error) => return Err(Outcome::Refused(error)),
        }
        let answer = step.run(self.connection.client(), statement, self.batch);
        match self.connection.answer(answer).await? {
            Verdict::Done => Ok(()),
            Verdict::Not(number) => {
                Err(match steps::look_after(self.connection, operation).await? {
                    Some(error) => Outcome::Refused(error),
                    None => Outcome::Doubtful(number),
                })
            }
        }
    }

    async fn commit(self) -> Outcome {
        let warnings = self.connection.warnings();
        self.announcements.commits(self.batch);
        let failure = match self.connection.run(COMMIT).await {
            Ok(()) if self.connection.warnings() == warnings => {
                let changes = steps::changes(self.operations);
                return Outcome::Committed(self.announcements.committed(self.batch, changes));
            }
            // Somebody has ended the wait for the standbys: a failover may lose it.
            Ok(()) => Failure::Unusable("it may not have reached the standbys"),
            Err(failure) => failure,
        };
        self.announcements.gave_up(self.batch);
        match failure.remedy() {
            Remedy::Again => Outcome::Failed(failure),
            Remedy::Elsewhere | Remedy::None => Outcome::Unknown(failure),
        }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Verdict, tokio_postgres::Error>> + Send + 'a>>;

/// A statement that was sent.
enum Sent<'a> {
    Waiting(Answer<'a>),
    Answered(Result<Verdict, tokio_postgres::Error>),
}

impl<'a> Sent<'a> {
    async fn new(mut answer: Answer<'a>) -> Self {
        match poll!(answer.as_mut()) {
            Poll::Ready(answer) => Self::Answered(answer),
            Poll::Pending => Self::Waiting(answer),
        }
    }

    async fn answer(self) -> Result<Verdict, tokio_postgres::Error> {
        match self {
            Self::Waiting(answer) => answer.await,
            Self::Answered(answer) => answer,
        }
    }
}

/// Sends the statements without waiting for the answers, as far as there is room on the way, and
/// then awaits them.
async fn send_all(
    connection: &Connection,
    begin: bool,
    steps: &[(&Step, &Statement)],
    batch: i64,
) -> Result<Verdict, Failure> {
    let client = connection.client();
    let limit = connection.answer_limit();
    let mut sent = VecDeque::new();
    if begin {
        let begin = async { client.batch_execute(BEGIN).await.map(|()| Verdict::Done) };
        sent.push_back(Sent::new(Box::pin(begin)).await);
    }
    for (step, statement) in steps {
        if sent.len() >= WINDOW
            && let Some(first) = sent.pop_front()
            && let not @ Verdict::Not(_) = answer_within(limit, first.answer()).await?
        {
            return Ok(not);
        }
        sent.push_back(Sent::new(Box::pin(step.run(client, statement, batch))).await);
    }
    for sent in sent {
        if let not @ Verdict::Not(_) = answer_within(limit, sent.answer()).await? {
            return Ok(not);
        }
    }
    Ok(Verdict::Done)
}
