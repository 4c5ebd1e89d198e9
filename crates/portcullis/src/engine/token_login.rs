//! Logins with an API token that the cache does not answer.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::Engine;
use super::grace::Failed;
use super::login::Login;
use crate::cache::{KnownBy, Memory};
use crate::store::{Kind, Lookup, StoreExt};
use crate::{ApiToken, Error, Principal, Refusal, TokenDigest};

/// An API token, as a request presents it.
pub(super) struct TokenLogin<'a> {
    pub(super) secret: &'a str,
    pub(super) digest: TokenDigest,
    /// Whether an inactive one is let in: a caller, which may do nothing.
    pub(super) inactive_too: bool,
    pub(super) source: Option<IpAddr>,
}

/// How many logins that the throttle has to keep waiting look up a token at the same time: those
/// with a right one must not be refused for the failures of others, and those with a wrong one must
/// not keep the store busy.
pub(super) const THROTTLED_READS: usize = 4;

/// How long such a login waits for its turn to read.
const MAX_READ_WAIT: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) async fn login_with_token(&self, login: TokenLogin<'_>) -> Result<Principal, Error> {
        let outcome = match self.try_login_with_token(&login).await {
            Ok(principal) => Ok(principal),
            Err(failed) => match self.instead_of_failing(failed, || self.known_token(&login)) {
                Ok(principal) => {
                    self.report_in_grace(login.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        self.report_login(None, login.source, &outcome);
        outcome
    }

    async fn try_login_with_token(&self, login: &TokenLogin<'_>) -> Result<Principal, Failed> {
        let attempt = self.attempt(None, login.source);
        let wait = self.throttled(attempt.as_ref());
        let is_needed = self.known_token(login).is_none();
        let read = self.read_token(login.secret, login.digest, login.inactive_too, is_needed);
        // A right token is let in whatever others have done from the same address.
        let found = match wait {
            Some(wait) => self.throttled_read(wait, read).await?,
            None => read.await?,
        };
        match (found, wait) {
            (Some(principal), _) => Ok(principal),
            (None, Some(wait)) => Err(Error::throttled(wait).into()),
            (None, None) => {
                self.charge(attempt.as_ref())?;
                Err(Error::refused(Refusal::UnknownToken).into())
            }
        }
    }

    /// A login with a username and a password that has to wait for the failures of others, unless
    /// the password is an API token, which cannot be guessed.
    ///
    /// The token is looked for first, so that the time tells nothing about the username.
    pub(super) async fn token_of_a_throttled_login(
        &self,
        login: &Login<'_>,
        wait: Duration,
    ) -> Result<Principal, Failed> {
        let refused = || Failed::from(Error::throttled(wait));
        let secret = std::str::from_utf8(login.password).map_err(|_| refused())?;
        let digest = TokenDigest::of(secret);
        let read = self.read_token(secret, digest, false, true);
        let token = self.throttled_read(wait, read).await?.ok_or_else(refused)?;
        let seen = self.before_read();
        let lookup = Lookup::UniqueKey(Kind::Authorization, login.username);
        if self.0.store.get(lookup).await?.is_some() {
            return Err(refused());
        }
        self.0.known.keep_absent(self.0.keys.name(login.username.as_bytes()), seen);
        Ok(token)
    }

    /// Reads a token for a login that has to wait otherwise, a few at a time.
    async fn throttled_read(
        &self,
        wait: Duration,
        read: impl Future<Output = Result<Option<Principal>, Failed>>,
    ) -> Result<Option<Principal>, Failed> {
        let place = timeout(MAX_READ_WAIT, self.0.throttled_reads.acquire()).await;
        let _place = place.map_err(|_| Error::throttled(wait))?.map_err(Error::internal)?;
        read.await
    }

    /// The principal that is let in with the API token as long as the store does not answer. Not a
    /// caller of the management API, who could do nothing.
    fn known_token(&self, login: &TokenLogin<'_>) -> Option<Principal> {
        if login.inactive_too { None } else { self.token_in_grace(&login.digest) }
    }

    /// Returns the principal of the API token; `None` when there is no such token.
    ///
    /// # Errors
    ///
    /// The refusal, when it is inactive or its user or org is gone or inactive.
    pub(super) async fn read_token(
        &self,
        secret: &str,
        digest: TokenDigest,
        inactive_too: bool,
        is_needed: bool,
    ) -> Result<Option<Principal>, Failed> {
        if secret.is_empty() || self.0.known.is_token_absent(&digest, self.moment()) {
            return Ok(None);
        }
        let record = self.before_read();
        let key = digest.to_text();
        let found = self.patiently(is_needed, self.0.store.find_by_key::<ApiToken>(&key)).await?;
        let Some((token, _)) = found else {
            self.0.known.doubt_token(&digest);
            self.0.known.keep_token_absent(&digest, record);
            return Ok(None);
        };
        let refuse = |refusal| {
            self.0.known.doubt_token(&digest);
            Err(Error::refused(refusal).into())
        };
        if !(inactive_too || token.status.is_active()) {
            return refuse(Refusal::Inactive);
        }
        let (refusal, standing) = self.standing_or_grace(token.user, token.org, is_needed).await?;
        if let Some(refusal) = refusal {
            return refuse(refusal);
        }
        let memory = Memory { by: KnownBy::Token(digest), made_of: None, record, standing };
        let principal = Principal::of_api_token(&token, memory);
        self.0.known.keep(principal.clone());
        Ok(Some(principal))
    }
}
