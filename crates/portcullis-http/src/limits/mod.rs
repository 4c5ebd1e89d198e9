//! Limits of each credential by itself: requests in a time, and requests at the same time.

mod config;
mod layer;
mod most_refused;
mod table;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Unit, counter, describe_counter};
use portcullis::{Error, ErrorKind, Id, Identity, Principal};

pub use self::config::{CredentialLimits, InvalidRequestRate, RequestRate};
pub use self::layer::{CredentialLimitLayer, CredentialLimitService, LimitedBody};
use self::most_refused::MostRefused;
use self::table::{Refused, Table};

const REFUSED: &str = "portcullis_credential_limited_total";

/// `Retry-After` of a request that is refused because of others in flight: none of them has a known end.
const RETRY_IN_FLIGHT: Duration = Duration::from_secs(1);

/// The credential that is limited. An authorization and an API token may have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    ApiToken(Id),
    Authorization(Id),
}

impl Key {
    fn of(principal: &Principal) -> Option<Self> {
        match principal.identity() {
            Identity::ApiToken(id) => Some(Self::ApiToken(id.untyped())),
            Identity::Authorization(id, _) => Some(Self::Authorization(id.untyped())),
            // The host has authenticated it, and limits it.
            _ => None,
        }
    }

    const fn id(self) -> Id {
        match self {
            Self::ApiToken(id) | Self::Authorization(id) => id,
        }
    }
}

/// Counts the requests of each credential, and refuses those beyond its [`CredentialLimits`].
///
/// Clones share their counts: give the same one to everything that serves v1 clients. A request is counted
/// once it is authenticated. One that is refused does not count. Memory is bounded by the credentials that
/// have a request in flight or have been used so lately that it matters; all others are forgotten.
///
/// The counter `portcullis_credential_limited_total` has the label `limit`: `rate` or `in_flight`. The recorder
/// of the `metrics` crate must have been installed before.
#[derive(Clone)]
pub struct CredentialLimiter(Arc<Inner>);

struct Inner {
    limits: CredentialLimits,
    table: Table,
    /// The beginning of the times in the table.
    begun: Instant,
    most_refused: Mutex<MostRefused>,
    refused_by_rate: Counter,
    refused_in_flight: Counter,
}

impl CredentialLimiter {
    /// Begins to count.
    pub fn new(limits: CredentialLimits) -> Self {
        describe_counter!(
            REFUSED,
            Unit::Count,
            "Authenticated requests that a limit of their credential has refused, by limit"
        );
        Self(Arc::new(Inner {
            limits,
            table: Table::new(limits),
            begun: Instant::now(),
            most_refused: Mutex::default(),
            refused_by_rate: counter!(REFUSED, "limit" => "rate"),
            refused_in_flight: counter!(REFUSED, "limit" => "in_flight"),
        }))
    }

    /// Returns the limits.
    pub fn limits(&self) -> CredentialLimits {
        self.0.limits
    }

    /// Counts a request of the principal, which is in flight until the permit is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] beyond a limit, with a time after which to retry. A v1 client receives it
    /// as [`V1Rejection`](crate::V1Rejection).
    pub fn begin(&self, principal: &Principal) -> Result<RequestPermit, Error> {
        let Some(key) = Key::of(principal) else { return Ok(RequestPermit(None)) };
        self.admit(key, true)?;
        let is_counted = self.0.limits.max_in_flight().is_some();
        Ok(RequestPermit(is_counted.then(|| (self.clone(), key))))
    }

    /// Counts a request of the principal whose end is not known, for instance because a proxy carries it out:
    /// only the rate is limited.
    ///
    /// # Errors
    ///
    /// As [`CredentialLimiter::begin`].
    pub fn count(&self, principal: &Principal) -> Result<(), Error> {
        Key::of(principal).map_or(Ok(()), |key| self.admit(key, false))
    }

    /// Returns the credentials with the most refused requests since the start, the most first: the id of the
    /// authorization or API token, and how many. At most 256 are counted at a time; of more, one with many
    /// refused requests is always among them, and a count is too high by at most a 256th of all.
    pub fn most_refused(&self, at_most: usize) -> Vec<(Id, u64)> {
        let counts = self.0.most_refused.lock().unwrap_or_else(PoisonError::into_inner);
        counts.first(at_most).map(|(key, count)| (key.id(), count)).collect()
    }

    fn admit(&self, key: Key, is_in_flight: bool) -> Result<(), Error> {
        let Err(refused) = self.0.table.admit(key, self.0.begun.elapsed(), is_in_flight) else {
            return Ok(());
        };
        let mut counts = self.0.most_refused.lock().unwrap_or_else(PoisonError::into_inner);
        counts.count(key);
        drop(counts);
        Err(match refused {
            Refused::Rate(wait) => {
                self.0.refused_by_rate.increment(1);
                too_many("too many requests with this credential").with_retry_after(wait)
            }
            Refused::InFlight => {
                self.0.refused_in_flight.increment(1);
                too_many("too many requests at the same time with this credential")
                    .with_retry_after(RETRY_IN_FLIGHT)
            }
        })
    }
}

fn too_many(message: &'static str) -> Error {
    Error::new(ErrorKind::TooManyRequests, message)
}

impl fmt::Debug for CredentialLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialLimiter").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

/// A request in flight. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as in flight until this is dropped"]
pub struct RequestPermit(Option<(CredentialLimiter, Key)>);

impl RequestPermit {
    /// Returns the body of the response, with whose end the request ends.
    pub fn hold_by<B>(self, body: B) -> LimitedBody<B> {
        LimitedBody::new(body, self)
    }

    /// Tells whether anything is counted: requests in flight are limited, and the principal is of a credential.
    pub const fn is_counted(&self) -> bool {
        self.0.is_some()
    }

    /// A permit that counts nothing.
    pub(crate) const fn of_nothing() -> Self {
        Self(None)
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        if let Some((limiter, key)) = self.0.take() {
            limiter.0.table.end(key);
        }
    }
}
