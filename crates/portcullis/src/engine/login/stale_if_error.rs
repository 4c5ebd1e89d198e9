//! Stale-if-error (RFC 5861): logins with cached entries while the store does not respond.
//!
//! Everything here follows a read that failed, or that exceeded its deadline. A hit of the cache, and
//! a login for which the store responds, do not come here.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::timeout;

use super::{PasswordLogin, TokenLogin};
use crate::engine::Engine;
use crate::stamp::MonotonicTime;
use crate::store::StoreError;
use crate::sync::lock;
use crate::{
    Actor, AuditAction, AuditOutcome, AuditRecord, BucketId, Error, ErrorKind, Id, OrgId,
    Principal, TokenDigest, TrustState,
};

/// Why a login failed.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Whether the store did not respond, and nothing that it returned before contradicts the cached
    /// entry.
    is_unanswered: bool,
}

impl Failed {
    /// The status of a user or an org could not be read, or refuses the login.
    pub(super) fn of_tenants(error: Error, is_of_store: bool) -> Self {
        let is_unanswered = is_of_store && error.kind() == ErrorKind::Unavailable;
        Self { error, is_unanswered }
    }

    /// Returns the cached principal in place of one from the store, if that is allowed.
    pub(super) fn or_stale(
        self,
        stale: impl FnOnce() -> Option<Principal>,
    ) -> Result<Principal, Error> {
        // The entry is looked up now: it may have been invalidated during the read.
        let principal = if self.is_unanswered { stale() } else { None };
        principal.ok_or(self.error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let is_unanswered = matches!(error, StoreError::Unavailable { .. });
        Self { error: error.into(), is_unanswered }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, is_unanswered: false }
    }
}

/// How long a read of the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum ReadLimit {
    /// No limit: only the store can decide.
    Unlimited,
    /// The deadline of stale-if-error: a cache entry can be used instead.
    Deadline,
}

impl ReadLimit {
    pub(in crate::engine) const fn with_fallback(has_fallback: bool) -> Self {
        if has_fallback { Self::Deadline } else { Self::Unlimited }
    }
}

/// The credentials that were admitted by stale-if-error since the change feed was complete the last
/// time: the audit sink receives one event for each.
#[derive(Default)]
pub(in crate::engine) struct ReportedOnce(Mutex<(Option<MonotonicTime>, HashSet<Id>)>);

impl ReportedOnce {
    fn is_first(&self, since: Option<MonotonicTime>, id: Id) -> bool {
        let mut reported = lock(&self.0);
        if reported.0 != since {
            *reported = (since, HashSet::new());
        }
        reported.1.insert(id)
    }
}

impl Engine {
    /// Returns whether cache entries are valid, and why (not).
    pub fn trust_state(&self) -> TrustState {
        self.0.freshness.state(self.moment())
    }

    /// Returns how far the cache lags behind the store's change feed: the time since the feed was
    /// complete; `None` before its first event.
    pub fn change_feed_lag(&self) -> Option<Duration> {
        self.0.freshness.change_feed_lag(self.moment())
    }

    /// Waits for a read, within its limit.
    pub(in crate::engine) async fn read_within<T, E: From<StoreError>>(
        &self,
        limit: ReadLimit,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if limit == ReadLimit::Unlimited {
            return read.await;
        }
        let deadline = self.0.freshness.read_deadline(self.moment());
        match timeout(deadline, read).await {
            Ok(result) => result,
            Err(_) => {
                self.0.freshness.store_failed();
                Err(StoreError::unavailable(format!("no response within {deadline:?}")).into())
            }
        }
    }

    /// Returns the principal that a username and a password get while the store does not respond.
    pub(super) fn stale_login(&self, login: &PasswordLogin<'_>) -> Option<Principal> {
        if !self.0.freshness.allows_stale() {
            return None;
        }
        let now = self.moment();
        if let Some(cached) = &login.cached {
            let is_usable = self.0.cache.is_valid_if_error(cached, now)
                && self.restriction(cached, login.source).is_none();
            return is_usable.then(|| cached.clone());
        }
        // No authorization had the username, and the password was an API token.
        let name = self.0.keys.name(login.username.as_bytes());
        if !self.0.cache.is_absent_if_error(name, now) {
            return None;
        }
        let secret = std::str::from_utf8(login.password).ok()?;
        self.stale_token(&TokenDigest::of(secret), login.source)
    }

    /// The same for an API token. A caller of the management API gets none: without the store it
    /// could do nothing.
    pub(super) fn stale_token_login(&self, login: &TokenLogin<'_>) -> Option<Principal> {
        if login.accepts_inactive { None } else { self.stale_token(&login.digest, login.source) }
    }

    fn stale_token(&self, digest: &TokenDigest, source: Option<IpAddr>) -> Option<Principal> {
        let now = self.0.freshness.allows_stale().then(|| self.moment())?;
        let cached = self.0.cache.token_if_error(digest, now)?;
        let is_usable = cached.is_active() && self.restriction(&cached, source).is_none();
        is_usable.then_some(cached)
    }

    /// The same for a bucket that is looked up by its name.
    pub(in crate::engine) fn stale_bucket(&self, org: OrgId, name: &str) -> Option<BucketId> {
        let is_allowed = self.0.owns_directory && self.0.freshness.allows_stale();
        is_allowed.then(|| self.0.cache.bucket_if_error(org, name, self.moment())).flatten()
    }

    /// Reports and counts a login that stale-if-error admitted.
    pub(super) fn report_stale_login(&self, source: Option<IpAddr>, principal: &Principal) {
        self.0.metrics.stale.increment(1);
        let Some(id) = principal.inner().id() else { return };
        let is_first = || self.0.reported.is_first(self.0.freshness.complete_as_of(), id);
        if self.0.audit.is_none() || !is_first() {
            return;
        }
        let record = AuditRecord::of(principal);
        let actor = Actor::Principal(principal);
        self.report(actor, source, AuditAction::LoginStaleIfError, record, AuditOutcome::Done);
    }
}
