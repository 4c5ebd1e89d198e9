//! Letting in who is known while the store does not answer, where the operator has said so.
//!
//! Everything here comes after a read that failed, or was not answered in time. Whoever is answered
//! from memory, and whoever the store answers about, does not come here.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::timeout;

use super::Engine;
use super::login::Login;
use crate::cache::{Moment, TrustState};
use crate::store::StoreError;
use crate::{
    Actor, AuditAction, AuditOutcome, AuditRecord, BucketId, Error, ErrorKind, Id, Identity, OrgId,
    Principal, TokenDigest,
};

/// Why a login failed.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Whether it is because the store did not answer, and nothing that it did say speaks against
    /// what is known.
    unanswered: bool,
}

impl Failed {
    /// Somebody's standing could not be told.
    pub(super) fn of_standing(error: Error, is_of_store: bool) -> Self {
        let unanswered = is_of_store && error.kind() == ErrorKind::Unavailable;
        Self { error, unanswered }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let unanswered = matches!(error, StoreError::Unavailable { .. });
        Self { error: error.into(), unanswered }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, unanswered: false }
    }
}

/// Who was let in without the store, since the feed told everything the last time: the audit is
/// told of each once.
#[derive(Default)]
pub(super) struct Reported(Mutex<(Option<Moment>, HashSet<Id>)>);

impl Reported {
    fn is_first(&self, since: Option<Moment>, id: Id) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.0 != since {
            *reported = (since, HashSet::new());
        }
        reported.1.insert(id)
    }
}

impl Engine {
    /// Returns whether what is remembered is used, and why (not).
    pub fn trust_state(&self) -> TrustState {
        self.0.trust.state(self.moment())
    }

    /// Returns how old the last word of the store's feed of changes is; `None` before the first.
    pub fn feed_age(&self) -> Option<std::time::Duration> {
        self.0.trust.feed_age(self.moment())
    }

    /// Waits for a read; not for long where the answer may be given without it.
    pub(super) async fn patiently<T, E: From<StoreError>>(
        &self,
        is_needed: bool,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if is_needed {
            return read.await;
        }
        let patience = self.0.trust.patience(self.moment());
        match timeout(patience, read).await {
            Ok(answer) => answer,
            Err(_) => {
                self.0.trust.store_failed();
                Err(StoreError::unavailable(format!("no answer within {patience:?}")).into())
            }
        }
    }

    /// Returns who is let in with a username and a password as long as the store does not answer.
    pub(super) fn in_grace(&self, login: &Login<'_>) -> Option<Principal> {
        if !self.0.trust.has_grace() {
            return None;
        }
        let now = self.moment();
        if let Some(known) = &login.known {
            return self.0.known.is_in_grace(known, now).then(|| known.clone());
        }
        // Nobody had the username, and the password was an API token.
        let name = self.0.keys.name(login.username.as_bytes());
        if !self.0.known.is_absent_in_grace(name, now) {
            return None;
        }
        self.token_in_grace(&TokenDigest::of(std::str::from_utf8(login.password).ok()?))
    }

    /// The same, with an API token.
    pub(super) fn token_in_grace(&self, digest: &TokenDigest) -> Option<Principal> {
        let now = self.0.trust.has_grace().then(|| self.moment())?;
        self.0.known.token_in_grace(digest, now).filter(Principal::is_active)
    }

    /// The same of a bucket that is looked for by its name.
    pub(super) fn bucket_in_grace(&self, org: OrgId, name: &str) -> Option<BucketId> {
        let may = self.0.owns_directory && self.0.trust.has_grace();
        may.then(|| self.0.known.bucket_in_grace(org, name, self.moment())).flatten()
    }

    /// Answers in place of a store that did not, if that may be.
    pub(super) fn instead_of_failing(
        &self,
        failed: Failed,
        in_grace: impl FnOnce() -> Option<Principal>,
    ) -> Result<Principal, Error> {
        // Asked again: what was changed here while the store was waited for counts.
        let principal = if failed.unanswered { in_grace() } else { None };
        principal.ok_or(failed.error)
    }

    /// Reports and counts a login of somebody who was let in without the store.
    pub(super) fn report_in_grace(&self, source: Option<IpAddr>, principal: &Principal) {
        self.0.metrics.grace.increment(1);
        let Some(id) = principal.facts().id() else { return };
        if self.0.audit.is_none() || !self.0.reported.is_first(self.0.trust.told_as_of(), id) {
            return;
        }
        let record = match principal.identity() {
            Identity::Authorization(_, username) => {
                AuditRecord::new(crate::store::Kind::Authorization, id).with_name(username.as_str())
            }
            Identity::ApiToken(_) | Identity::Host => {
                AuditRecord::new(crate::store::Kind::ApiToken, id)
            }
        };
        let actor = Actor::Principal(principal);
        self.report(actor, source, AuditAction::LoginInGrace, record, AuditOutcome::Done);
    }
}
