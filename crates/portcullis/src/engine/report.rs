//! Reports to the audit sink.

use std::net::IpAddr;

use super::Engine;
use crate::store::Kind;
use crate::{
    Actor, AuditAction, AuditEvent, AuditOutcome, AuditRecord, Error, ErrorKind, Identity,
    Principal,
};

/// What came of it, in the words of the audit.
pub(super) fn outcome_of<'a, T>(result: &'a Result<T, Error>, why: &'a str) -> AuditOutcome<'a> {
    match result {
        Ok(_) => AuditOutcome::Done,
        Err(error) => match error.kind() {
            ErrorKind::Internal | ErrorKind::Unavailable => AuditOutcome::Failed(why),
            ErrorKind::Conflict
            | ErrorKind::Forbidden
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::PreconditionFailed
            | ErrorKind::TooManyRequests
            | ErrorKind::Unauthorized => AuditOutcome::Refused(why),
        },
    }
}

/// Why it failed: the refusal, which no response contains, or the message of the response.
fn why<T>(result: &Result<T, Error>) -> String {
    match result {
        Ok(_) => String::new(),
        Err(error) => {
            error.refusal().map_or_else(|| error.message().to_owned(), |why| why.to_string())
        }
    }
}

impl Engine {
    /// Refuses a change that could not be put on record.
    pub(super) fn refuse_unaudited(&self) -> Result<(), Error> {
        match &self.0.audit {
            Some(sink) if !sink.allows_changes() => Err(Error::new(
                ErrorKind::Unavailable,
                "the audit log cannot be written now, so nothing was changed: try again later",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn report(
        &self,
        actor: Actor<'_>,
        source: Option<IpAddr>,
        action: AuditAction,
        record: AuditRecord<'_>,
        outcome: AuditOutcome<'_>,
    ) {
        if let Some(sink) = &self.0.audit {
            let at = self.0.clock.now();
            sink.record(&AuditEvent { at, actor, source, action, record, outcome });
        }
    }

    /// Reports what was made of a change.
    pub(super) fn report_change<T>(
        &self,
        actor: Actor<'_>,
        source: Option<IpAddr>,
        action: AuditAction,
        record: AuditRecord<'_>,
        result: &Result<T, Error>,
    ) {
        if self.0.audit.is_some() {
            let why = why(result);
            self.report(actor, source, action, record, outcome_of(result, &why));
        }
    }

    /// Reports to the audit sink that a query of the principal was refused, for the reason `why`, which must
    /// hold no secret: literals of a query may be some. For hosts that decide queries themselves.
    pub fn report_refused_query(&self, principal: &Principal, source: Option<IpAddr>, why: &str) {
        let record = AuditRecord::of(principal);
        let (actor, outcome) = (Actor::Principal(principal), AuditOutcome::Refused(why));
        self.report(actor, source, AuditAction::Query, record, outcome);
    }

    /// Counts a login that was a cache miss, or was refused, and reports it to the audit sink.
    pub(super) fn report_login(
        &self,
        username: Option<&str>,
        source: Option<IpAddr>,
        result: &Result<Principal, Error>,
    ) {
        match result {
            Ok(_) => self.0.metrics.verified.increment(1),
            Err(error) => self.0.metrics.login_failed(error),
        }
        let presented = username.map(|name| AuditRecord::named(Kind::Authorization, name));
        let record = match result.as_ref().map(Principal::identity) {
            Ok(Identity::Authorization(id, _)) => {
                let record = AuditRecord::new(Kind::Authorization, id.untyped());
                username.map_or(record, |name| record.with_name(name))
            }
            Ok(Identity::ApiToken(id)) => AuditRecord::new(Kind::ApiToken, id.untyped()),
            Ok(Identity::Host) | Err(_) => presented.unwrap_or_default(),
        };
        let actor = result.as_ref().map_or(Actor::Anonymous, Actor::Principal);
        self.report_change(actor, source, AuditAction::Login, record, result);
    }
}
