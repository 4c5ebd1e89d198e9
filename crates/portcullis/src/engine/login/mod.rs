//! Logins. The entry points are here, and handle cache hits; [`attempt`] and [`token`] do the
//! rest.

mod attempt;
mod rehash;
mod revalidate;
mod stale_if_error;
mod token;
mod verification;

use std::net::IpAddr;
use std::time::Duration;

use attempt::Attempt;
pub(super) use rehash::Rehashing;
pub(super) use stale_if_error::{ReadLimit, ReportedOnce};
pub(super) use token::{THROTTLED_READS, TokenLogin};
pub(super) use verification::Verified;

use super::Engine;
use crate::cache::Lookup;
use crate::credentials::Presented;
use crate::stamp::{Mac, MonotonicTime, ReadStamp};
use crate::{Credentials, Error, ErrorKind, Identity, Principal, Refusal, TokenDigest};

/// A username and a password, as a request presents them.
struct PasswordLogin<'a> {
    username: &'a str,
    password: &'a [u8],
    mac: Mac,
    /// The cached principal for this username and password, which is not valid any more.
    cached: Option<Principal>,
    source: Option<IpAddr>,
}

/// Turns a refusal into the error that callers of the management API get.
fn for_callers(error: Error) -> Error {
    let say = |kind, message: &'static str, refusal| Error::new(kind, message).with_source(refusal);
    match error.refusal() {
        Some(Refusal::Throttled) | None => error,
        Some(refusal @ Refusal::Org) => {
            say(ErrorKind::Forbidden, "Organization is inactive", refusal)
        }
        Some(refusal @ Refusal::User) => say(ErrorKind::Forbidden, "User is inactive", refusal),
        Some(refusal) => say(ErrorKind::Unauthorized, "unauthorized access", refusal),
    }
}

impl Engine {
    /// Authenticates a v1 client (`docs/spec/login.md`).
    ///
    /// A cache hit reads no store and allocates nothing. It takes no lock, except
    /// for one hit in 64, which updates the login history, and for usernames that have failed
    /// lately. Any other login reads the store, and computes one hash unless its password is
    /// already proved. A username that does not exist, is inactive or has no password costs exactly
    /// as many hashes, so that the time reveals nothing about it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) with the message `Unauthorized`
    /// for every refusal, whose reason is [`Error::refusal`];
    /// [`ErrorKind::TooManyRequests`](crate::ErrorKind::TooManyRequests) after too many failures
    /// ([`ThrottleConfig`](crate::ThrottleConfig));
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when too many log in at once
    /// ([`HashPoolConfig::max_wait`](crate::password::HashPoolConfig::max_wait)) or the store does
    /// not respond, with [`Error::retry_after`] if the time of the next attempt can be estimated;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when something broke.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Principal, Error> {
        match self.probe(credentials) {
            Probe::Hit(principal, now) => self.admit_hit(principal, now, credentials),
            // On the heap, so that the future of a hit is small.
            Probe::Password(login) => {
                let admitted = Box::pin(Attempt::new(self, login).run()).await;
                self.noted(admitted, credentials.source)
            }
            Probe::Token(login) => {
                let admitted = Box::pin(self.login_with_token(login)).await;
                self.noted(admitted, credentials.source)
            }
        }
    }

    /// Returns the principal if [`Engine::authenticate`] would have a cache hit.
    ///
    /// For programs that cannot wait, or avoid the cost of a future for a hit. `None` means that
    /// only [`Engine::authenticate`] can decide.
    ///
    /// ```
    /// use portcullis::{Credentials, Engine, Error, Principal};
    ///
    /// async fn login(engine: &Engine, credentials: Credentials<'_>) -> Result<Principal, Error> {
    ///     match engine.authenticate_cached(credentials) {
    ///         Some(principal) => Ok(principal),
    ///         None => engine.authenticate(credentials).await,
    ///     }
    /// }
    /// ```
    pub fn authenticate_cached(&self, credentials: Credentials<'_>) -> Option<Principal> {
        match self.probe(credentials) {
            Probe::Hit(principal, now)
                if !is_inactive_token(&principal)
                    && self.wait_of_hit(credentials, &principal).is_none() =>
            {
                self.0.metrics.cached.increment();
                self.note_use(&principal, credentials.source, now);
                Some(principal)
            }
            Probe::Hit(..) | Probe::Password(_) | Probe::Token(_) => None,
        }
    }

    /// Authenticates a caller of the management API, which presents an API token.
    ///
    /// A caller whose token is inactive is accepted: every check denies it with that reason.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) `unauthorized access` when no
    /// token has the secret, when the token has expired or may not be used from the client's address, or
    /// for a username and a password;
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when its user or org is gone or
    /// inactive;
    /// [`ErrorKind::TooManyRequests`](crate::ErrorKind::TooManyRequests) after too many failures;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when the store cannot be read.
    pub async fn authenticate_caller(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        let source = credentials.source;
        let Presented::Token(secret) = credentials.presented else {
            let refused = Err(Error::refused(Refusal::UnknownToken));
            self.report_login(credentials.username(), source, &refused);
            return refused.map_err(for_callers);
        };
        let digest = TokenDigest::of(secret);
        let now = self.moment();
        if let Some(principal) = self.cached_token(&digest, source, now) {
            self.0.metrics.cached.increment();
            self.note_use(&principal, source, now);
            return Ok(principal);
        }
        let login = TokenLogin { secret, digest, accepts_inactive: true, source };
        let admitted = Box::pin(self.login_with_token(login)).await;
        self.noted(admitted, source).map_err(for_callers)
    }

    /// Notes the use of a credential that was admitted after a cache miss.
    fn noted(
        &self,
        admitted: Result<Principal, Error>,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        admitted.inspect(|principal| self.note_use(principal, source, self.moment()))
    }

    /// Returns why the principal's credential is refused now and from the address, if it is. Without a
    /// restriction no clock is read.
    #[inline]
    pub(super) fn restriction(
        &self,
        principal: &Principal,
        source: Option<IpAddr>,
    ) -> Option<Refusal> {
        let restrictions = principal.inner().restrictions()?;
        restrictions.refusal(self.0.clock.as_ref(), source)
    }

    /// Returns the valid cache entry of an API token that may be used now and from the address.
    fn cached_token(
        &self,
        digest: &TokenDigest,
        source: Option<IpAddr>,
        now: MonotonicTime,
    ) -> Option<Principal> {
        let cached = self.0.cache.token(digest, now);
        cached.filter(|principal| self.restriction(principal, source).is_none())
    }

    pub(super) fn moment(&self) -> MonotonicTime {
        self.0.freshness.moment(self.0.clock.instant())
    }

    /// Returns the stamp of a read that begins after this call.
    pub(super) fn before_read(&self) -> ReadStamp {
        self.0.freshness.before_read(self.0.clock.instant())
    }

    /// Looks the credentials up in the cache.
    fn probe<'a>(&self, credentials: Credentials<'a>) -> Probe<'a> {
        let now = self.moment();
        let source = credentials.source;
        match credentials.presented {
            Presented::Password { username, password } => {
                let mac = self.0.keys.password(username, password);
                let cached = match self.0.cache.login(&mac, now) {
                    Lookup::Hit(principal) if self.restriction(&principal, source).is_none() => {
                        return Probe::Hit(principal, now);
                    }
                    // The store decides: an end may have been moved since.
                    Lookup::Hit(principal) | Lookup::Stale(principal) => Some(principal),
                    Lookup::Miss => None,
                };
                let login = PasswordLogin { username, password, mac, cached, source };
                match self.cached_token_as_password(&login, now) {
                    Some(principal) => Probe::Hit(principal, now),
                    None => Probe::Password(login),
                }
            }
            Presented::Token(secret) => {
                let digest = TokenDigest::of(secret);
                match self.cached_token(&digest, source, now) {
                    Some(principal) => Probe::Hit(principal, now),
                    None => {
                        Probe::Token(TokenLogin { secret, digest, accepts_inactive: false, source })
                    }
                }
            }
        }
    }

    /// Admits a hit of the cache, unless its token is inactive or it has to wait.
    fn admit_hit(
        &self,
        principal: Principal,
        now: MonotonicTime,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        let error = if is_inactive_token(&principal) {
            Error::refused(Refusal::Inactive)
        } else if let Some(wait) = self.wait_of_hit(credentials, &principal) {
            Error::throttled(wait)
        } else {
            self.0.metrics.cached.increment();
            self.note_use(&principal, credentials.source, now);
            return Ok(principal);
        };
        let refused = Err(error);
        self.report_login(credentials.username(), credentials.source, &refused);
        refused
    }

    /// How long a hit of the cache has to wait. An API token cannot be guessed, so it never waits.
    fn wait_of_hit(&self, credentials: Credentials<'_>, principal: &Principal) -> Option<Duration> {
        match (credentials.username(), principal.identity()) {
            (Some(username), Identity::Authorization(..)) => {
                self.hit_wait(username, credentials.source)
            }
            _ => None,
        }
    }

    /// Returns the cached principal of an API token that is presented as a password, if the cache
    /// holds that no authorization has the username.
    fn cached_token_as_password(
        &self,
        login: &PasswordLogin<'_>,
        now: MonotonicTime,
    ) -> Option<Principal> {
        if login.cached.is_some()
            || !self.0.cache.is_absent(self.0.keys.name(login.username.as_bytes()), now)
        {
            return None;
        }
        let secret = std::str::from_utf8(login.password).ok()?;
        self.cached_token(&TokenDigest::of(secret), login.source, now)
    }
}

/// The result of a lookup of credentials in the cache.
enum Probe<'a> {
    /// A valid entry: nothing has to be read. With the time of the lookup.
    Hit(Principal, MonotonicTime),
    /// No valid entry for a username and a password: the store has to be read.
    Password(PasswordLogin<'a>),
    /// No valid entry for an API token: the store has to be read.
    Token(TokenLogin<'a>),
}

/// An inactive API token is refused on the data path. As a caller of the management API it is
/// accepted, and every check denies it.
fn is_inactive_token(principal: &Principal) -> bool {
    matches!(principal.identity(), Identity::ApiToken(_)) && !principal.is_active()
}
