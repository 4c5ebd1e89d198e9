//! Logins with an API token after a cache miss.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::PasswordLogin;
use super::stale_if_error::{Failed, ReadLimit};
use crate::codec::StoreExt;
use crate::engine::Engine;
use crate::stamp::{CacheKey, CacheStamp, Restrictions};
use crate::store::{Kind, Lookup};
use crate::{ApiToken, AuditRecord, Error, Principal, Refusal, TokenDigest};

/// An API token, as a request presents it.
pub(in crate::engine) struct TokenLogin<'a> {
    pub(super) secret: &'a str,
    pub(super) digest: TokenDigest,
    /// Whether an inactive token is accepted: a caller's, which every check denies.
    pub(super) accepts_inactive: bool,
    pub(super) source: Option<IpAddr>,
}

/// How many throttled logins look up a token at the same time. A right token must not be refused for
/// failures of others, and wrong ones must not keep the store busy.
pub(in crate::engine) const THROTTLED_READS: usize = 4;

/// How long a throttled login waits for its turn to read.
const MAX_READ_WAIT: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) async fn login_with_token(&self, login: TokenLogin<'_>) -> Result<Principal, Error> {
        let outcome = match self.try_login_with_token(&login).await {
            Ok(principal) => Ok(principal),
            Err(failed) => match failed.or_stale(|| self.stale_token_login(&login)) {
                Ok(principal) => {
                    self.report_stale_login(login.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        self.report_login(None, login.source, &outcome);
        outcome
    }

    async fn try_login_with_token(&self, login: &TokenLogin<'_>) -> Result<Principal, Failed> {
        let keys = self.throttle_keys(None, login.source);
        let wait = self.throttle_wait(keys.as_ref());
        let limit = ReadLimit::with_fallback(self.stale_token_login(login).is_some());
        let TokenLogin { secret, digest, accepts_inactive, source } = *login;
        let read = self.read_token(secret, digest, accepts_inactive, source, limit);
        // A right token is admitted whatever failed from the same address.
        let found = match wait {
            Some(wait) => self.throttled_read(wait, read).await?,
            None => read.await?,
        };
        match (found, wait) {
            (Some(principal), _) => Ok(principal),
            (None, Some(wait)) => Err(Error::throttled(wait).into()),
            (None, None) => {
                self.charge(keys.as_ref())?;
                Err(Error::refused(Refusal::UnknownToken).into())
            }
        }
    }

    /// A throttled login with a username and a password: it has to wait, unless the password is an
    /// API token, which cannot be guessed.
    ///
    /// The token is read before the username, so that the time reveals nothing about the username.
    pub(super) async fn token_despite_throttle(
        &self,
        login: &PasswordLogin<'_>,
        wait: Duration,
    ) -> Result<Principal, Failed> {
        let refused = || Failed::from(Error::throttled(wait));
        let secret = std::str::from_utf8(login.password).map_err(|_| refused())?;
        let digest = TokenDigest::of(secret);
        let read = self.read_token(secret, digest, false, login.source, ReadLimit::Unlimited);
        let token = self.throttled_read(wait, read).await?.ok_or_else(refused)?;
        let read = self.before_read();
        let lookup = Lookup::UniqueKey(Kind::Authorization, login.username);
        if self.0.store.get(lookup).await?.is_some() {
            return Err(refused());
        }
        self.0.cache.insert_absent(self.0.keys.name(login.username.as_bytes()), read);
        Ok(token)
    }

    /// Reads a token for a throttled login, a few at a time.
    async fn throttled_read(
        &self,
        wait: Duration,
        read: impl Future<Output = Result<Option<Principal>, Failed>>,
    ) -> Result<Option<Principal>, Failed> {
        let permit = timeout(MAX_READ_WAIT, self.0.throttled_reads.acquire()).await;
        let _permit = permit.map_err(|_| Error::throttled(wait))?.map_err(Error::internal)?;
        read.await
    }

    /// Returns the principal of the API token; `None` when there is no such token.
    ///
    /// # Errors
    ///
    /// The refusal, when it is inactive, has expired, may not be used from the address, or its user or org
    /// is gone or inactive.
    pub(super) async fn read_token(
        &self,
        secret: &str,
        digest: TokenDigest,
        accepts_inactive: bool,
        source: Option<IpAddr>,
        limit: ReadLimit,
    ) -> Result<Option<Principal>, Failed> {
        if secret.is_empty() || self.0.cache.is_token_absent(&digest, self.moment()) {
            return Ok(None);
        }
        let record = self.before_read();
        let key = digest.to_text();
        let found = self.read_within(limit, self.0.store.find_by_key::<ApiToken>(&key)).await?;
        let Some((token, _)) = found else {
            self.0.cache.invalidate_contradicted_token(&digest);
            self.0.cache.insert_absent_token(&digest, record);
            return Ok(None);
        };
        let checked = match self.token_refusal(&token, accepts_inactive, source) {
            None => self.check_tenants_within(limit, token.user, token.org).await,
            Some(refusal) => Err(Error::refused(refusal).into()),
        };
        let tenants = checked.inspect_err(|failed| {
            if failed.error.refusal().is_some() {
                self.0.cache.invalidate_contradicted_token(&digest);
            }
        })?;
        let key = CacheKey::Token(digest);
        let stamp = CacheStamp { key, record_mac: None, record, tenants };
        let principal = Principal::from_api_token(&token, stamp);
        self.0.cache.insert(principal.clone());
        Ok(Some(principal))
    }

    /// Returns why the token itself is refused now and from the address, if it is.
    fn token_refusal(
        &self,
        token: &ApiToken,
        accepts_inactive: bool,
        source: Option<IpAddr>,
    ) -> Option<Refusal> {
        if !accepts_inactive && !token.status.is_active() {
            return Some(Refusal::Inactive);
        }
        let restrictions = Restrictions::of_api_token(token)?;
        let refusal = restrictions.refusal(self.0.clock.as_ref(), source)?;
        if let (Refusal::Expired, Some(end)) = (refusal, restrictions.ends_at()) {
            self.report_end(AuditRecord::new(Kind::ApiToken, token.id.untyped()), end);
        }
        Some(refusal)
    }
}
