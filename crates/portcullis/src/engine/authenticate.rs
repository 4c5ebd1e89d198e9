//! The entry points of logins. A hit of the cache is answered here; [`login`](super::login) does the
//! rest.

use std::time::Duration;

use super::Engine;
use super::login::{Login, for_callers};
use super::token_login::TokenLogin;
use crate::cache::{Look, Moment};
use crate::credentials::Presented;
use crate::{Credentials, Error, Identity, Principal, Refusal, TokenDigest};

impl Engine {
    /// Authenticates a v1 client (`docs/spec/login.md`).
    ///
    /// A login that the cache answers reads no store and allocates nothing. It takes no lock, except
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
            Probe::Hit(principal) => self.admit_hit(principal, credentials),
            // On the heap, so that the future of a hit is small.
            Probe::Password(login) => Box::pin(self.login(login)).await,
            Probe::Token(login) => Box::pin(self.login_with_token(login)).await,
        }
    }

    /// Returns the principal if [`Engine::authenticate`] would answer from the cache alone.
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
            Probe::Hit(principal)
                if !is_inactive_token(&principal)
                    && self.hit_wait(credentials, &principal).is_none() =>
            {
                self.0.metrics.warm.increment();
                Some(principal)
            }
            Probe::Hit(_) | Probe::Password(_) | Probe::Token(_) => None,
        }
    }

    /// Authenticates a caller of the management API, which presents an API token.
    ///
    /// A caller whose token is inactive is accepted: every check denies it with that reason.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) `unauthorized access` when no
    /// token has the secret, or for a username and a password;
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
        if let Some(principal) = self.0.known.token(&digest, self.moment()) {
            self.0.metrics.warm.increment();
            return Ok(principal);
        }
        let login = TokenLogin { secret, digest, inactive_too: true, source };
        Box::pin(self.login_with_token(login)).await.map_err(for_callers)
    }

    /// Looks the credentials up in the cache.
    fn probe<'a>(&self, credentials: Credentials<'a>) -> Probe<'a> {
        let now = self.moment();
        let source = credentials.source;
        match credentials.presented {
            Presented::Password { username, password } => {
                let mac = self.0.keys.password(username, password);
                let known = match self.0.known.login(&mac, now) {
                    Look::Warm(principal) => return Probe::Hit(principal),
                    Look::Proven(principal) => Some(principal),
                    Look::Nothing => None,
                };
                let login = Login { username, password, mac, known, source };
                match self.known_token_as_password(&login, now) {
                    Some(principal) => Probe::Hit(principal),
                    None => Probe::Password(login),
                }
            }
            Presented::Token(secret) => {
                let digest = TokenDigest::of(secret);
                match self.0.known.token(&digest, now) {
                    Some(principal) => Probe::Hit(principal),
                    None => {
                        Probe::Token(TokenLogin { secret, digest, inactive_too: false, source })
                    }
                }
            }
        }
    }

    /// Admits a hit of the cache, unless its token is inactive or it has to wait.
    fn admit_hit(
        &self,
        principal: Principal,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        let error = if is_inactive_token(&principal) {
            Error::refused(Refusal::Inactive)
        } else if let Some(wait) = self.hit_wait(credentials, &principal) {
            Error::throttled(wait)
        } else {
            self.0.metrics.warm.increment();
            return Ok(principal);
        };
        let refused = Err(error);
        self.report_login(credentials.username(), credentials.source, &refused);
        refused
    }

    /// How long a hit of the cache has to wait. An API token cannot be guessed, so it never waits.
    fn hit_wait(&self, credentials: Credentials<'_>, principal: &Principal) -> Option<Duration> {
        match (credentials.username(), principal.identity()) {
            (Some(username), Identity::Authorization(..)) => {
                self.warm_wait(username, credentials.source)
            }
            _ => None,
        }
    }

    /// Returns the cached principal of an API token that is presented as a password, if the cache
    /// holds that no authorization has the username.
    fn known_token_as_password(&self, login: &Login<'_>, now: Moment) -> Option<Principal> {
        if login.known.is_some()
            || !self.0.known.is_absent(self.0.keys.name(login.username.as_bytes()), now)
        {
            return None;
        }
        let secret = std::str::from_utf8(login.password).ok()?;
        self.0.known.token(&TokenDigest::of(secret), now)
    }
}

/// The result of a lookup of credentials in the cache.
enum Probe<'a> {
    /// A valid entry: nothing has to be read.
    Hit(Principal),
    /// No valid entry for a username and a password: the store has to be read.
    Password(Login<'a>),
    /// No valid entry for an API token: the store has to be read.
    Token(TokenLogin<'a>),
}

/// An inactive API token is refused on the data path. As a caller of the management API it is
/// accepted, and every check denies it.
fn is_inactive_token(principal: &Principal) -> bool {
    matches!(principal.identity(), Identity::ApiToken(_)) && !principal.is_active()
}
