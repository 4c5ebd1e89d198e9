//! Who is this? What is known is answered here; everything else is for [`login`](super::login).

use std::net::IpAddr;
use std::time::Duration;

use super::Engine;
use super::login::Login;
use super::token_login::TokenLogin;
use crate::cache::{Look, Moment};
use crate::{Credentials, Error, Identity, Principal, Refusal, TokenDigest};

impl Engine {
    /// Lets a v1 client in, or refuses (`docs/spec/login.md`).
    ///
    /// A login with a password that was right a moment ago is answered from the cache: no store is
    /// read and nothing is allocated. No lock is taken, but by one hit in 64, which notes the
    /// address in the login history, and where the username has failed lately. Any other login reads
    /// the store, and a password that is not known to be right costs one hash. A username that does
    /// not exist, is inactive or has no password costs exactly as many, so that time tells nothing
    /// about it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) with the message `Unauthorized`
    /// for every refusal, whose reason is [`Error::refusal`];
    /// [`ErrorKind::TooManyRequests`](crate::ErrorKind::TooManyRequests) when too many have failed
    /// ([`ThrottleConfig`](crate::ThrottleConfig));
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when too many log in at once
    /// ([`HashPoolConfig::max_wait`](crate::password::HashPoolConfig::max_wait)) or the store does
    /// not answer, with [`Error::retry_after`] where it is known when to try again;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when something broke.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Principal, Error> {
        self.authenticate_from(credentials, None).await
    }

    /// Does what [`Engine::authenticate`] does for a client at an address, whose failures are
    /// counted together.
    ///
    /// # Errors
    ///
    /// As [`Engine::authenticate`].
    pub async fn authenticate_from(
        &self,
        credentials: Credentials<'_>,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        match self.probe(credentials, source) {
            Probe::Hit(principal) => self.let_in_warm(principal, credentials, source),
            // On the heap, so that the way of a hit is short.
            Probe::Password(login) => Box::pin(self.login(login)).await,
            Probe::Token(login) => Box::pin(self.login_with_token(login)).await,
        }
    }

    /// Returns the principal that [`Engine::authenticate_from`] answers with from the cache alone.
    ///
    /// For programs that cannot wait, or need not where nothing has to be read: `None` means that
    /// only [`Engine::authenticate_from`] can tell.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// use portcullis::{Credentials, Engine, Error, Principal};
    ///
    /// async fn who(
    ///     engine: &Engine,
    ///     credentials: Credentials<'_>,
    ///     source: Option<IpAddr>,
    /// ) -> Result<Principal, Error> {
    ///     match engine.authenticate_known(credentials, source) {
    ///         Some(principal) => Ok(principal),
    ///         None => engine.authenticate_from(credentials, source).await,
    ///     }
    /// }
    /// ```
    pub fn authenticate_known(
        &self,
        credentials: Credentials<'_>,
        source: Option<IpAddr>,
    ) -> Option<Principal> {
        match self.probe(credentials, source) {
            Probe::Hit(principal)
                if !is_inactive_token(&principal)
                    && self.warm_wait_of(credentials, &principal, source).is_none() =>
            {
                self.0.metrics.warm.increment();
                Some(principal)
            }
            Probe::Hit(_) | Probe::Password(_) | Probe::Token(_) => None,
        }
    }

    /// Lets the caller of the management API in, who presents an API token.
    ///
    /// A caller whose token is inactive is let in and may do nothing: every check says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) `unauthorized access` when no
    /// token has the secret; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when its user
    /// or org is gone or inactive;
    /// [`ErrorKind::TooManyRequests`](crate::ErrorKind::TooManyRequests) when too many have failed;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when nothing is known.
    pub async fn authenticate_caller(&self, secret: &str) -> Result<Principal, Error> {
        self.authenticate_caller_from(secret, None).await
    }

    /// Does what [`Engine::authenticate_caller`] does for a caller at an address, whose failures
    /// are counted together.
    ///
    /// # Errors
    ///
    /// As [`Engine::authenticate_caller`].
    pub async fn authenticate_caller_from(
        &self,
        secret: &str,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        let digest = TokenDigest::of(secret);
        if let Some(principal) = self.0.known.token(&digest, self.moment()) {
            self.0.metrics.warm.increment();
            return Ok(principal);
        }
        let login = TokenLogin { secret, digest, inactive_too: true, source };
        Box::pin(self.login_with_token(login)).await.map_err(super::login::for_callers)
    }

    /// Looks into the cache.
    fn probe<'a>(&self, credentials: Credentials<'a>, source: Option<IpAddr>) -> Probe<'a> {
        let now = self.moment();
        match credentials {
            Credentials::Password { username, password } => {
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
            Credentials::Token(secret) => {
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

    /// Answers from the cache.
    fn let_in_warm(
        &self,
        principal: Principal,
        credentials: Credentials<'_>,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        let error = if is_inactive_token(&principal) {
            Error::refused(Refusal::Inactive)
        } else if let Some(wait) = self.warm_wait_of(credentials, &principal, source) {
            Error::throttled(wait)
        } else {
            self.0.metrics.warm.increment();
            return Ok(principal);
        };
        let username = match credentials {
            Credentials::Password { username, .. } => Some(username),
            Credentials::Token(_) => None,
        };
        let refused = Err(error);
        self.report_login(username, source, &refused);
        refused
    }

    /// How long a login from the cache has to wait. An API token cannot be guessed.
    fn warm_wait_of(
        &self,
        credentials: Credentials<'_>,
        principal: &Principal,
        source: Option<IpAddr>,
    ) -> Option<Duration> {
        match (credentials, principal.identity()) {
            (Credentials::Password { username, .. }, Identity::Authorization(..)) => {
                self.warm_wait(username, source)
            }
            _ => None,
        }
    }

    /// Where it is known that no authorization has the username, and that the password is an API
    /// token.
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

/// What the cache says of credentials.
enum Probe<'a> {
    /// Whose they are: nothing has to be read.
    Hit(Principal),
    /// Nothing that counts: the store has to be read.
    Password(Login<'a>),
    /// The same, of an API token.
    Token(TokenLogin<'a>),
}

/// On the data path an inactive API token lets no request in; on behalf of a caller of the
/// management API it is let in and may do nothing.
fn is_inactive_token(principal: &Principal) -> bool {
    matches!(principal.identity(), Identity::ApiToken(_)) && !principal.is_active()
}
