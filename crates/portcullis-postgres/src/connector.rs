//! Connects to the primary, and never to one that was replaced.
//!
//! A primary that was suspended or cut off may not detect that another one was promoted, and resumes
//! as a primary. It can acknowledge no commit, because no standby follows it, but it can be read, and
//! lacks what was changed since, such as the revocation of a password. When the primary is suspect,
//! the connector therefore probes all hosts and chooses the writable one with the latest timeline.
//! Connections of an earlier generation are not used again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Config;

use crate::connection::{Connection, Generation};
use crate::dialect::{self, History};
use crate::error::{Failure, Retry};
use crate::tls::Tls;

/// How long the other hosts may take to respond once one has responded as the primary. A promoted
/// host responds at once; a lost one does not respond at all.
const OTHER_HOSTS_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the result that no host is the primary is reused, so that callers fail fast and do not
/// each probe hosts that are under load.
const NO_PRIMARY_TTL: Duration = Duration::from_millis(200);

/// How often a connection is attempted during which the primary becomes suspect.
const MAX_ATTEMPTS: u32 = 3;

/// Connects to the primary among several hosts.
pub(crate) struct Connector {
    hosts: Vec<Endpoint>,
    tls: Option<Tls>,
    connect_timeout: Duration,
    response_timeout: Duration,
    session: String,
    state: Mutex<PrimaryState>,
    /// Held while all hosts are probed: one caller does so for all.
    probe: AsyncMutex<()>,
}

/// One host, and how to connect to it.
pub(crate) struct Endpoint {
    /// The host and port, for messages.
    pub(crate) name: String,
    pub(crate) config: Config,
}

/// Which host is the primary.
#[derive(Default)]
struct PrimaryState {
    generation: Generation,
    /// The number of the primary's host; `None` while it is suspect.
    host: Option<usize>,
    /// The number of the last primary's host.
    last_host: usize,
    /// The latest history of any primary.
    history: Option<History>,
    /// What aborts the connections to it.
    abort_handles: Vec<AbortHandle>,
    /// When all hosts were probed last and none was the primary, and what they responded.
    no_primary: Option<(Instant, String)>,
}

impl PrimaryState {
    /// Accepts a connection that was begun in the generation, unless it is to a replaced primary.
    /// Returns false if the primary became suspect meanwhile.
    fn accept(
        &mut self,
        number: usize,
        connection: &mut Connection,
        generation: Generation,
    ) -> Result<bool, Failure> {
        let history = connection.history();
        if self.generation != generation && self.host != Some(number) {
            return Ok(false);
        }
        if self.history.as_ref().is_some_and(|latest| history.is_before(latest)) {
            return Err(Failure::Unusable(
                "it is on an earlier timeline than the last primary; if it was restored, restart \
                 this process",
            ));
        }
        if self.last_host != number || self.history.as_ref() != Some(history) {
            // What is in progress on the last primary is better repeated.
            self.abort_all();
            self.generation.advance();
        }
        self.no_primary = None;
        self.host = Some(number);
        self.last_host = number;
        self.history = Some(history.clone());
        self.abort_handles.retain(|handle| !handle.is_finished());
        self.abort_handles.push(connection.abort_handle());
        connection.generation = self.generation;
        Ok(true)
    }

    /// Aborts all connections.
    fn abort_all(&mut self) {
        for handle in self.abort_handles.drain(..) {
            handle.abort();
        }
    }

    /// Returns what all hosts responded, if none was the primary since that time or a moment ago.
    fn recent_no_primary(&self, since: Instant) -> Option<Failure> {
        let (at, responses) = self.no_primary.as_ref()?;
        let is_recent = *at >= since || at.elapsed() < NO_PRIMARY_TTL;
        is_recent.then(|| any_host(responses.clone()))
    }
}

impl Connector {
    pub(crate) fn new(
        hosts: Vec<Endpoint>,
        tls: Option<Tls>,
        schema: &str,
        connect_timeout: Duration,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            hosts,
            tls,
            connect_timeout,
            // Later than the server's own timeout, which reports what is wrong.
            response_timeout: statement_timeout + statement_timeout / 4 + Duration::from_secs(1),
            session: dialect::session(schema, statement_timeout),
            state: Mutex::default(),
            probe: AsyncMutex::default(),
        }
    }

    /// Returns the current generation. Connections of another one are unusable.
    pub(crate) fn generation(&self) -> Generation {
        self.state().generation
    }

    /// Makes the primary of the generation suspect, so that all hosts are probed.
    pub(crate) fn suspect(&self, generation: Generation) {
        let mut state = self.state();
        if state.generation == generation {
            state.generation.advance();
            state.host = None;
        }
    }

    /// Connects to the primary. This takes at most twice the timeout, unless the primary becomes
    /// suspect meanwhile.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_connect().await {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) if attempts < MAX_ATTEMPTS => {}
                Ok(None) => return Err(Failure::Unusable("no host stays the primary")),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Attempts it once; `None` if the primary became suspect meanwhile.
    async fn try_connect(&self) -> Result<Option<Connection>, Failure> {
        let since = Instant::now();
        if let Some((generation, number)) = self.primary() {
            match self.connect_to(number).await.and_then(|one| self.accept(number, one, generation))
            {
                Ok(accepted) => return Ok(accepted),
                // With too many connections, the present ones must be kept.
                Err(failure @ Failure::Database { .. }) if failure.retry() == Retry::Never => {
                    return Err(failure);
                }
                Err(_) => self.suspect(generation),
            }
        }
        let _probing = self.probe.lock().await;
        // Another caller has found it meanwhile.
        if self.primary().is_some() {
            return Ok(None);
        }
        if let Some(no_primary) = self.state().recent_no_primary(since) {
            return Err(no_primary);
        }
        let generation = self.generation();
        let (best, mut refusals) = self.probe_all().await;
        if let Some((number, connection)) = best {
            match self.accept(number, connection, generation) {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => refusals.push((number, failure)),
            }
        }
        Err(self.no_primary(refusals))
    }

    /// Connects to all hosts. Returns the preferred writable one, and the failures of the others.
    async fn probe_all(&self) -> (Option<(usize, Connection)>, Vec<(usize, Failure)>) {
        let all = 0..self.hosts.len();
        let mut responses: FuturesUnordered<_> =
            all.map(async |number| (number, self.connect_to(number).await)).collect();
        let mut refusals = Vec::new();
        let mut best: Option<(usize, Connection)> = None;
        let mut until = Instant::now() + 2 * self.connect_timeout;
        while let Ok(Some((number, response))) = timeout_at(until, responses.next()).await {
            match response {
                Ok(connection) => {
                    if best.is_none() {
                        // Promoted since: no other host can be later.
                        let is_promoted = self.is_promoted(&connection);
                        let wait = if is_promoted { Duration::ZERO } else { OTHER_HOSTS_TIMEOUT };
                        until = Instant::now() + wait;
                    }
                    best = Some(match best {
                        Some(best) if !self.is_preferred((number, &connection), &best) => best,
                        _ => (number, connection),
                    });
                }
                Err(failure) => refusals.push((number, failure)),
            }
        }
        (best, refusals)
    }

    /// Tells whether the connection is to a primary that has replaced the last one.
    fn is_promoted(&self, connection: &Connection) -> bool {
        let state = self.state();
        state.history.as_ref().is_some_and(|latest| latest.is_before(connection.history()))
    }

    /// Tells whether the first of two writable hosts is preferred as the primary.
    fn is_preferred(
        &self,
        (number, one): (usize, &Connection),
        (other_number, other): &(usize, Connection),
    ) -> bool {
        let (history, other_history) = (one.history(), other.history());
        if other_history.is_before(history) || history.is_before(other_history) {
            return other_history.is_before(history);
        }
        // On the same timeline: one that accepts changes, then the last host, then the first one.
        let last = self.state().last_host;
        (one.is_read_only(), number != last, number)
            < (other.is_read_only(), *other_number != last, *other_number)
    }

    async fn connect_to(&self, number: usize) -> Result<Connection, Failure> {
        let host = self.hosts.get(number).ok_or(Failure::Unusable("there is no host"))?;
        let (tls, session) = (self.tls.as_ref(), &self.session);
        let connect = Connection::open(&host.config, tls, session, self.response_timeout);
        let connection = timeout(self.connect_timeout, connect).await;
        let connection = connection.unwrap_or(Err(Failure::TimedOut(self.connect_timeout)));
        if let Err(failure) = &connection {
            tracing::debug!(host = host.name, %failure, "cannot connect");
        }
        connection
    }

    fn accept(
        &self,
        number: usize,
        mut connection: Connection,
        generation: Generation,
    ) -> Result<Option<Connection>, Failure> {
        let accepted = self.state().accept(number, &mut connection, generation)?;
        Ok(accepted.then_some(connection))
    }

    /// Records that no host is the primary. Requests that wait for the last primary fail, unless
    /// that host responds.
    fn no_primary(&self, mut refusals: Vec<(usize, Failure)>) -> Failure {
        refusals.sort_by_key(|(number, _)| *number);
        let name = |number: usize| self.hosts.get(number).map_or("", |host| host.name.as_str());
        // All of them: one alone does not explain it.
        let all: Vec<_> =
            refusals.iter().map(|(host, failure)| format!("{}: {failure}", name(*host))).collect();
        let all = all.join("; ");
        let mut state = self.state();
        let responds = |(number, failure): &(usize, Failure)| {
            *number == state.last_host && matches!(failure, Failure::Database { .. })
        };
        if !refusals.iter().any(responds) {
            state.abort_all();
        }
        state.no_primary = Some((Instant::now(), all.clone()));
        drop(state);
        match refusals.into_iter().next() {
            Some((host, failure)) if self.hosts.len() == 1 => {
                Failure::Connect { host: name(host).to_owned(), cause: Box::new(failure) }
            }
            _ => any_host(all),
        }
    }

    /// Returns the number of the primary's host and its generation, unless it is suspect.
    fn primary(&self) -> Option<(Generation, usize)> {
        let state = self.state();
        Some((state.generation, state.host?))
    }

    fn state(&self) -> MutexGuard<'_, PrimaryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn any_host(responses: String) -> Failure {
    Failure::Connect {
        host: "any host".to_owned(),
        cause: Box::new(Failure::Disconnected(responses)),
    }
}
