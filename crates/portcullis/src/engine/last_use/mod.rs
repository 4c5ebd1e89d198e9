//! When credentials were last used.
//!
//! A login compares one number with the time, which it has read already. Once in an interval that
//! number is due: the login notes the use in a map in memory, and a background task writes the map to
//! the store from time to time ([`flush`]). The record is the last use's own, so a credential, its
//! revision and its cache entries never change because it is used.
//!
//! A previous password, which works while a rotation goes on, is noted by the same path: its cache
//! entry has a due time of its own, and [`Noted::merge`] and [`flush`] keep
//! [`LastUse::previous_at`] apart from [`LastUse::at`].

mod config;
mod flush;
mod read;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

pub use config::LastUseConfig;
pub(super) use flush::Flusher;
pub(super) use read::{UsesById, read_uses};

use super::Engine;
use crate::metrics::UseMetrics;
use crate::model::LastUse;
use crate::stamp::MonotonicTime;
use crate::store::{Kind, Store};
use crate::sync::lock;
use crate::{Id, Identity, OrgId, Principal, Random, Timestamp, UserId};

/// The uses that are noted and not yet written.
pub(super) struct LastUses {
    config: LastUseConfig,
    store: Arc<dyn Store>,
    random: Arc<dyn Random>,
    /// By the kind of the record of the last use, and the id of the credential.
    noted: Mutex<HashMap<(Kind, Id), Noted>>,
    /// One flush at a time.
    flushing: Semaphore,
    metrics: UseMetrics,
}

/// The use of a credential, to be written.
#[derive(Clone, Copy, Debug)]
struct Noted {
    org: OrgId,
    user: UserId,
    last: LastUse,
}

impl Noted {
    /// Takes what an earlier note of the same credential has and this one has not.
    fn merge(&mut self, earlier: &Self) {
        self.last.previous_at = self.last.previous_at.or(earlier.last.previous_at);
    }
}

impl LastUses {
    pub(super) fn new(
        config: LastUseConfig,
        store: Arc<dyn Store>,
        random: Arc<dyn Random>,
        metrics: UseMetrics,
    ) -> Self {
        let (noted, flushing) = (Mutex::default(), Semaphore::new(1));
        Self { config, store, random, noted, flushing, metrics }
    }

    /// Returns the number of uses to be written.
    pub(super) fn pending(&self) -> usize {
        lock(&self.noted).len()
    }

    /// Notes the use if no other login does so at the same time.
    #[cold]
    #[inline(never)]
    fn note(
        &self,
        principal: &Principal,
        source: Option<IpAddr>,
        now: MonotonicTime,
        at: Timestamp,
    ) {
        let kind = match principal.identity() {
            Identity::Authorization(..) => Kind::AuthorizationUse,
            Identity::ApiToken(_) => Kind::ApiTokenUse,
            Identity::Host => return,
        };
        let inner = principal.inner();
        let Some(id) = inner.id() else { return };
        // A caller whose token is inactive is refused everything.
        if !principal.is_active() || !inner.use_due().claim(now, self.next_due(id, now)) {
            return;
        }
        let mut last = LastUse::new(at, source);
        if inner.is_of_previous_password() {
            last.previous_at = Some(last.at);
        }
        let used = Noted { org: inner.org(), user: inner.user(), last };
        if !self.insert((kind, id), used) {
            let soon = now.after(self.config.flush_every);
            inner.use_due().set(soon);
            self.metrics.dropped.increment(1);
        }
    }

    /// When the use of a credential is noted again: after the interval and a little more, so that a
    /// record is older than the interval then although clocks differ. How much more depends on the
    /// credential: those that were first used together are not written together for ever.
    fn next_due(&self, id: Id, now: MonotonicTime) -> MonotonicTime {
        let spread = id.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let eighth = self.config.interval / 8;
        let more = eighth / 8 + eighth * u32::try_from(spread).unwrap_or(0) / 65_536;
        now.after(self.config.interval + more)
    }

    /// Notes the use in place of an earlier one. Returns false if there is no room.
    fn insert(&self, key: (Kind, Id), mut used: Noted) -> bool {
        let mut noted = lock(&self.noted);
        let is_full = noted.len() >= self.config.max_pending;
        match noted.entry(key) {
            Entry::Occupied(mut entry) => {
                used.merge(entry.get());
                entry.insert(used);
                true
            }
            Entry::Vacant(_) if is_full => false,
            Entry::Vacant(entry) => {
                entry.insert(used);
                true
            }
        }
    }
}

impl Engine {
    /// Notes that the credential was used, if that is due.
    #[inline]
    pub(super) fn note_use(
        &self,
        principal: &Principal,
        source: Option<IpAddr>,
        now: MonotonicTime,
    ) {
        if principal.inner().use_due().is_due(now)
            && let Some(uses) = &self.0.last_uses
        {
            uses.note(principal, source, now, self.0.clock.now());
        }
    }

    /// Writes the last uses of credentials that are noted and not yet written, as the engine does from
    /// time to time. Call it before the store is closed. What cannot be written stays noted.
    pub async fn flush_last_uses(&self) {
        if let Some(uses) = &self.0.last_uses {
            uses.flush().await;
        }
    }
}
