//! Credentials that have expired, or will soon: reported once, and counted by a scan.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;

use super::Engine;
use crate::codec::may_have_end;
use crate::stamp::{Restrictions, WhichPassword};
use crate::store::{Entity, Index, Kind, Record, StoreExt};
use crate::sync::lock;
use crate::{
    Actor, ApiToken, AuditAction, AuditOutcome, AuditRecord, Authorization, Error, Id, Principal,
    Refusal, Timestamp,
};

/// How many credentials expire soon, as [`Engine::scan_expiry`] has counted them. Inactive ones, and those
/// that have expired, do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiryCounts {
    /// Authorizations.
    pub authorizations: ExpiringSoon,
    /// API tokens.
    pub api_tokens: ExpiringSoon,
    /// Passwords of authorizations.
    pub passwords: ExpiringSoon,
}

impl ExpiryCounts {
    /// For the metrics: within 7 and within 30 days.
    pub(super) fn by_kind(&self) -> [(&'static str, [u64; 2]); 3] {
        let within = |counts: ExpiringSoon| [counts.within_7_days, counts.within_30_days];
        [
            ("authorization", within(self.authorizations)),
            ("api_token", within(self.api_tokens)),
            ("password", within(self.passwords)),
        ]
    }
}

/// How many expire within a time from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringSoon {
    /// Within 7 days.
    pub within_7_days: u64,
    /// Within 30 days, with those of `within_7_days`.
    pub within_30_days: u64,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl ExpiringSoon {
    fn count(&mut self, end: Option<Timestamp>, now: Timestamp) {
        let Some(end) = end.filter(|end| *end > now) else { return };
        let is_within = |days| end <= now.saturating_add(DAY.saturating_mul(days));
        self.within_7_days += u64::from(is_within(7));
        self.within_30_days += u64::from(is_within(30));
    }
}

/// What is remembered of ends.
#[derive(Default)]
pub(super) struct Expiry {
    /// The end for which each expired credential was reported. Only existing credentials get here.
    reported: Mutex<HashMap<(Kind, Id), Timestamp>>,
    /// What the last scan has counted.
    counts: Mutex<Option<ExpiryCounts>>,
}

const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The pause between two pages: a scan takes no more than a small part of a core.
const PAUSE: Duration = Duration::from_millis(5);

impl Engine {
    /// Reads all credentials, page by page with pauses, and counts those that expire soon. The metrics
    /// show the counts until the next scan. Call it from time to time, such as every 10 minutes; a scan of
    /// a million credentials takes half a minute or more, and little of it is work.
    ///
    /// An active credential that has expired in the last two days and was not presented since is reported to
    /// the audit sink ([`AuditAction::Expire`]), unless this engine has reported it already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when the store fails: the counts of the last scan
    /// stay. A record that cannot be read is left out.
    pub async fn scan_expiry(&self) -> Result<ExpiryCounts, Error> {
        let mut counts = ExpiryCounts::default();
        self.scan_ends(Kind::Authorization, |record, now| {
            let Ok(found) = Authorization::from_record(record) else { return };
            if found.status.is_active() {
                counts.authorizations.count(found.expires_at, now);
                counts.passwords.count(found.password_expires_at, now);
                let name = Some(found.username.as_str());
                self.report_recent_end(
                    record,
                    name,
                    Restrictions::of_authorization(&found, WhichPassword::Present),
                    now,
                );
            }
        })
        .await?;
        self.scan_ends(Kind::ApiToken, |record, now| {
            let Ok(found) = ApiToken::from_record(record) else { return };
            if found.status.is_active() {
                counts.api_tokens.count(found.expires_at, now);
                self.report_recent_end(record, None, Restrictions::of_api_token(&found), now);
            }
        })
        .await?;
        *lock(&self.0.expiry.counts) = Some(counts);
        Ok(counts)
    }

    /// Visits the records of the kind that may have an end.
    async fn scan_ends(
        &self,
        kind: Kind,
        mut visit: impl FnMut(&Record, Timestamp) + Send,
    ) -> Result<(), Error> {
        let mut pages = self.0.store.pages(Index::All(kind), PAGE);
        while let Some(page) = pages.next().await {
            let now = self.now();
            page?.records.iter().filter(|it| may_have_end(it)).for_each(|it| visit(it, now));
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Returns what the last scan has counted.
    pub(super) fn expiry_counts(&self) -> Option<ExpiryCounts> {
        *lock(&self.0.expiry.counts)
    }

    /// Reports a credential of which a scan has found that it expired lately. Those that expired earlier were
    /// reported by an earlier process, or by this one.
    fn report_recent_end(
        &self,
        record: &Record,
        name: Option<&str>,
        restrictions: Option<Restrictions>,
        now: Timestamp,
    ) {
        let end = restrictions.and_then(|restrictions| restrictions.ends_at());
        let is_recent = |end: &Timestamp| *end <= now && now <= end.saturating_add(2 * DAY);
        if let Some(end) = end.filter(is_recent) {
            self.report_end(audit_record(record.kind, record.id, name), end);
        }
    }

    /// Reports the principal's credential if it was refused because it has expired.
    pub(super) fn report_if_expired(&self, principal: &Principal, refusal: Refusal) {
        let end = principal.inner().restrictions().and_then(Restrictions::ends_at);
        if let (Refusal::Expired, Some(end)) = (refusal, end) {
            self.report_end(AuditRecord::of(principal), end);
        }
    }

    /// Reports that a credential or its password has expired: once for each end.
    pub(super) fn report_end(&self, record: AuditRecord<'_>, end: Timestamp) {
        let (Some(_), Some(kind), Some(id)) = (&self.0.audit, record.kind, record.id) else {
            return;
        };
        let before = lock(&self.0.expiry.reported).insert((kind, id), end);
        if before != Some(end) {
            self.report(Actor::Host, None, AuditAction::Expire, record, AuditOutcome::Done);
        }
    }
}

fn audit_record(kind: Kind, id: Id, name: Option<&str>) -> AuditRecord<'_> {
    let record = AuditRecord::new(kind, id);
    name.map_or(record, |name| record.with_name(name))
}
