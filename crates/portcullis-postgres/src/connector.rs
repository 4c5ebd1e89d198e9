//! Whom to connect to: the primary, and not one that was replaced.
//!
//! A primary that was halted, or cut off, may not know that there is another one, and goes on as if
//! nothing had happened when it wakes up. It can commit nothing that anybody is told of, for no
//! standby follows it, but it can be read: what was changed since, a password that was revoked for
//! example, is not there. So when there is doubt about the primary, all hosts are asked, and of those
//! that take themselves for the primary the one with the latest timeline is; connections from before
//! are not used again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Config;

use crate::connection::Connection;
use crate::dialect::{self, History};
use crate::error::{Failure, Remedy};
use crate::tls::Tls;

/// How long other hosts may take to say that they are the primary once one has said so. One that was
/// promoted answers at once; one that is gone says nothing.
const OTHERS: Duration = Duration::from_millis(500);

/// For how long it is taken for granted that nobody is the primary when nobody was: those who come
/// meanwhile get their answer at once, and hosts that have enough to do are not asked by each of them.
const NOBODY: Duration = Duration::from_millis(200);

/// How often a connection is begun during which there is doubt about the primary.
const TRIES: u32 = 3;

/// How to connect, and to whom.
pub(crate) struct Connector {
    hosts: Vec<Host>,
    tls: Option<Tls>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    session: String,
    known: Mutex<Known>,
    /// Held by who asks all hosts: one at a time, for everybody.
    asking: AsyncMutex<()>,
}

/// One host, and what is said to it.
pub(crate) struct Host {
    /// Its name and port, for messages.
    pub(crate) name: String,
    pub(crate) config: Config,
}

/// A time without doubt about who the primary is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Era(u64);

/// What is known of the primary.
#[derive(Default)]
struct Known {
    era: Era,
    /// The number of its host, until there is doubt.
    host: Option<usize>,
    /// The one before the doubt.
    former: usize,
    /// The latest that was ever seen.
    history: Option<History>,
    /// What ends the connections to it.
    ends: Vec<AbortHandle>,
    /// When all were asked and nobody was, and what they said.
    nobody: Option<(Instant, String)>,
}

impl Known {
    /// Takes the connection, which one began to make in the era, unless it is to a primary that was
    /// replaced. Tells whether it was taken; if not, there was doubt meanwhile.
    fn accept(
        &mut self,
        number: usize,
        connection: &mut Connection,
        era: Era,
    ) -> Result<bool, Failure> {
        let history = connection.history();
        if self.era != era && self.host != Some(number) {
            return Ok(false);
        }
        if self.history.as_ref().is_some_and(|latest| history.is_before(latest)) {
            return Err(Failure::Unusable(
                "it was a primary before the one that was seen last; if it was restored, start anew",
            ));
        }
        if self.former != number || self.history.as_ref() != Some(history) {
            // Whatever is still under way on the one before is better begun anew.
            self.end_all();
            self.era.0 += 1;
        }
        self.nobody = None;
        self.host = Some(number);
        self.former = number;
        self.history = Some(history.clone());
        self.ends.retain(|end| !end.is_finished());
        self.ends.push(connection.end());
        connection.era = self.era;
        Ok(true)
    }

    /// Ends what is under way.
    fn end_all(&mut self) {
        for end in self.ends.drain(..) {
            end.abort();
        }
    }

    /// What all hosts have said if nobody was the primary, a moment ago or since then.
    fn nobody_since(&self, since: Instant) -> Option<Failure> {
        let (at, said) = self.nobody.as_ref()?;
        let counts = *at >= since || at.elapsed() < NOBODY;
        counts.then(|| any_host(said.clone()))
    }
}

impl Connector {
    pub(crate) fn new(
        hosts: Vec<Host>,
        tls: Option<Tls>,
        schema: &str,
        connect_timeout: Duration,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            hosts,
            tls,
            connect_timeout,
            // After the server has had its chance to say what is wrong.
            answer_timeout: statement_timeout + statement_timeout / 4 + Duration::from_secs(1),
            session: dialect::session(schema, statement_timeout),
            known: Mutex::default(),
            asking: AsyncMutex::default(),
        }
    }

    /// The present era. Connections of another one are of no use.
    pub(crate) fn era(&self) -> Era {
        self.known().era
    }

    /// Says that something was wrong in the era, so that all hosts are asked who the primary is.
    pub(crate) fn doubt(&self, era: Era) {
        let mut known = self.known();
        if known.era == era {
            known.era.0 += 1;
            known.host = None;
        }
    }

    /// Connects to the primary. This takes no longer than twice the timeout, unless there is doubt
    /// again and again.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_connect().await {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) if tries < TRIES => {}
                Ok(None) => return Err(Failure::Unusable("nobody is the primary for long")),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The same, once; `None` if there was doubt meanwhile.
    async fn try_to_connect(&self) -> Result<Option<Connection>, Failure> {
        let since = Instant::now();
        if let Some((era, number)) = self.primary() {
            match self.try_host(number).await.and_then(|one| self.accepted(number, one, era)) {
                Ok(accepted) => return Ok(accepted),
                // Where there are too many connections, those that there are must be kept.
                Err(failure @ Failure::Database { .. }) if failure.remedy() == Remedy::None => {
                    return Err(failure);
                }
                Err(_) => self.doubt(era),
            }
        }
        let _asking = self.asking.lock().await;
        // Somebody else has asked meanwhile.
        if self.primary().is_some() {
            return Ok(None);
        }
        if let Some(nobody) = self.known().nobody_since(since) {
            return Err(nobody);
        }
        let era = self.era();
        let (best, mut refusals) = self.ask_all().await;
        if let Some((number, connection)) = best {
            match self.accepted(number, connection, era) {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => refusals.push((number, failure)),
            }
        }
        Err(self.nobody(refusals))
    }

    /// Asks all hosts, and returns the best of those that can be written to, and what the others say.
    async fn ask_all(&self) -> (Option<(usize, Connection)>, Vec<(usize, Failure)>) {
        let all = 0..self.hosts.len();
        let mut answers: FuturesUnordered<_> =
            all.map(async |number| (number, self.try_host(number).await)).collect();
        let mut refusals = Vec::new();
        let mut best: Option<(usize, Connection)> = None;
        let mut until = Instant::now() + 2 * self.connect_timeout;
        while let Ok(Some((number, answer))) = timeout_at(until, answers.next()).await {
            match answer {
                Ok(connection) => {
                    if best.is_none() {
                        // It was promoted since, so that no other one is to be feared.
                        let wait = if self.is_later(&connection) { Duration::ZERO } else { OTHERS };
                        until = Instant::now() + wait;
                    }
                    best = Some(match best {
                        Some(best) if !self.is_better((number, &connection), &best) => best,
                        _ => (number, connection),
                    });
                }
                Err(failure) => refusals.push((number, failure)),
            }
        }
        (best, refusals)
    }

    /// Tells whether it is to a primary that has replaced the one that was seen last.
    fn is_later(&self, connection: &Connection) -> bool {
        let known = self.known();
        known.history.as_ref().is_some_and(|latest| latest.is_before(connection.history()))
    }

    /// Tells which of two hosts that can be written to is the primary.
    fn is_better(&self, (number, one): (usize, &Connection), other: &(usize, Connection)) -> bool {
        let (is_read_only, other_is) = (one.is_read_only(), other.1.is_read_only());
        let (one, others) = (one.history(), other.1.history());
        if others.is_before(one) || one.is_before(others) {
            return others.is_before(one);
        }
        // None is: one that may be written to, or stay where we are, else the order counts.
        let former = self.known().former;
        (is_read_only, number != former, number) < (other_is, other.0 != former, other.0)
    }

    async fn try_host(&self, number: usize) -> Result<Connection, Failure> {
        let host = self.hosts.get(number).ok_or(Failure::Unusable("there is no host"))?;
        let (tls, session) = (self.tls.as_ref(), &self.session);
        let connect = Connection::open(&host.config, tls, session, self.answer_timeout);
        let connection = timeout(self.connect_timeout, connect).await;
        let connection = connection.unwrap_or(Err(Failure::Silent(self.connect_timeout)));
        if let Err(failure) = &connection {
            tracing::debug!(host = host.name, %failure, "cannot connect");
        }
        connection
    }

    fn accepted(
        &self,
        number: usize,
        mut connection: Connection,
        era: Era,
    ) -> Result<Option<Connection>, Failure> {
        let accepted = self.known().accept(number, &mut connection, era)?;
        Ok(accepted.then_some(connection))
    }

    /// Nobody is the primary. What waits for an answer of the former one is told so, unless that one
    /// does speak.
    fn nobody(&self, mut refusals: Vec<(usize, Failure)>) -> Failure {
        refusals.sort_by_key(|(number, _)| *number);
        let name = |number: usize| self.hosts.get(number).map_or("", |host| host.name.as_str());
        // The others, if any, are standbys or gone; all of it tells more than one.
        let all: Vec<_> =
            refusals.iter().map(|(host, failure)| format!("{}: {failure}", name(*host))).collect();
        let all = all.join("; ");
        let mut known = self.known();
        let speaks = |(number, failure): &(usize, Failure)| {
            *number == known.former && matches!(failure, Failure::Database { .. })
        };
        if !refusals.iter().any(speaks) {
            known.end_all();
        }
        known.nobody = Some((Instant::now(), all.clone()));
        drop(known);
        match refusals.into_iter().next() {
            Some((host, failure)) if self.hosts.len() == 1 => {
                Failure::Connect { host: name(host).to_owned(), cause: Box::new(failure) }
            }
            _ => any_host(all),
        }
    }

    /// The number of the primary's host, as of an era, unless there is doubt.
    fn primary(&self) -> Option<(Era, usize)> {
        let known = self.known();
        Some((known.era, known.host?))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn any_host(said: String) -> Failure {
    Failure::Connect { host: "any host".to_owned(), cause: Box::new(Failure::Lost(said)) }
}
