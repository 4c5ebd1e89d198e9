//! Audit events: the actor, the action, the record, the address and the outcome.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::store::Kind;
use crate::{Id, Identity, Principal, Timestamp};

/// Receives changes, refusals, and logins that missed the cache, from an
/// [`Engine`](crate::Engine).
///
/// It is called while a request is handled, for each record in the order of its changes as far as
/// there is one. So it must not block for long and must not panic, and must count events that it
/// drops itself. A login that hits the cache is not reported: every write and query of a client
/// begins with one.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Records the event.
    fn record(&self, event: &AuditEvent<'_>);

    /// Tells whether changes are allowed now. If not, the engine refuses each with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), so that no change is made which
    /// cannot be recorded. Default: always.
    fn allows_changes(&self) -> bool {
        true
    }
}

/// An event. It contains no secret.
///
/// It serializes to one JSON object, the same for every sink, without the members that have no
/// value:
///
/// ```json
/// {"at":"2026-01-31T23:59:59Z","actor":{"kind":"apiToken","id":"…","org":"…","user":"…"},
///  "source":"192.0.2.7","action":"setPassword",
///  "record":{"kind":"authorization","id":"…","name":"telegraf"},
///  "outcome":"refused","reason":"write:users/… is unauthorized"}
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AuditEvent<'a> {
    /// The time of the outcome.
    pub at: Timestamp,
    /// The actor, also of an attempt.
    pub actor: Actor<'a>,
    /// The address of the actor, if the embedding program passed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The action, also of an attempt.
    pub action: AuditAction,
    /// The record it is about.
    #[serde(skip_serializing_if = "AuditRecord::is_unknown")]
    pub record: AuditRecord<'a>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: AuditOutcome<'a>,
}

/// The actor of an event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Actor<'a> {
    /// A client without a valid credential: of a login that was refused, or of a setup.
    Anonymous,
    /// A user of the operating system, at the command line.
    Command {
        /// The user's name or number.
        os_user: &'a str,
    },
    /// The embedding program itself, through the engine's trusted operations.
    Host,
    /// A caller of the management API, or the principal of a login.
    Principal(&'a Principal),
}

impl<'a> AuditEvent<'a> {
    /// Makes an event of the program around the engine, such as a backup.
    pub fn new(
        at: Timestamp,
        actor: Actor<'a>,
        action: AuditAction,
        outcome: AuditOutcome<'a>,
    ) -> Self {
        Self { at, actor, source: None, action, record: AuditRecord::default(), outcome }
    }
}

impl Serialize for Actor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            kind: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            org: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<String>,
            #[serde(rename = "osUser", skip_serializing_if = "Option::is_none")]
            os_user: Option<String>,
        }

        let unknown = |kind| Written { kind, id: None, org: None, user: None, os_user: None };
        let written = match self {
            Self::Anonymous => unknown("anonymous"),
            Self::Command { os_user } => {
                Written { os_user: Some((*os_user).to_owned()), ..unknown("command") }
            }
            Self::Host => unknown("host"),
            Self::Principal(principal) => {
                let (kind, id) = match principal.identity() {
                    Identity::ApiToken(id) => ("apiToken", Some(id.to_string())),
                    Identity::Authorization(id, _) => ("authorization", Some(id.to_string())),
                    Identity::Host => ("hostUser", None),
                };
                let (org, user) = (principal.org().to_string(), principal.user().to_string());
                Written { id, org: Some(org), user: Some(user), ..unknown(kind) }
            }
        };
        written.serialize(serializer)
    }
}

/// The action of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditAction {
    /// The store was backed up.
    BackUp,
    /// A record was created.
    Create,
    /// A record and what depends on it were deleted.
    Delete,
    /// A previous password was ended before its time.
    EndPreviousPassword,
    /// A credential, or its password, has expired. Reported once for each end by each process that
    /// detects it: at the first login that is refused for it, or by a scan.
    Expire,
    /// The records of a snapshot were imported.
    Import,
    /// Credentials were presented.
    Login,
    /// A cached login was accepted while the store was unavailable, as the operator allows for a
    /// time. Reported once for each credential in each outage.
    LoginStaleIfError,
    /// A query was refused, as it needs more than the credential has. Successful queries are not reported.
    Query,
    /// An inactive or expired credential became usable again, by an update that has an event of its own.
    Reactivate,
    /// A read of a record was refused. Successful reads are not reported.
    Read,
    /// The hash of an unchanged password was replaced by one with the current parameters.
    Rehash,
    /// Unique keys and index entries were rebuilt from the records.
    Repair,
    /// A store was created from a backup or from another store.
    Restore,
    /// A password was set, and the previous one still works for a time.
    RotatePassword,
    /// A password was set.
    SetPassword,
    /// Permissions were replaced.
    SetPermissions,
    /// A status, a description, an end or allowed networks were changed.
    Update,
}

/// The record of an event, with the parts that are available.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub kind: Option<Kind>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub id: Option<Id>,
    /// Its username or name, cut to [`AuditRecord::MAX_NAME`] bytes. If there is no such record, it
    /// is the text that was presented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

impl<'a> AuditRecord<'a> {
    /// The longest name in bytes; longer ones are cut.
    pub const MAX_NAME: usize = 256;

    /// Makes it for the record with the id.
    pub fn new(kind: Kind, id: Id) -> Self {
        Self { kind: Some(kind), id: Some(id), name: None }
    }

    /// Makes it for the credential of the principal; empty for [`Principal::trusted`].
    pub(crate) fn of(principal: &'a Principal) -> Self {
        match principal.identity() {
            Identity::Authorization(id, username) => {
                Self::new(Kind::Authorization, id.untyped()).with_name(username.as_str())
            }
            Identity::ApiToken(id) => Self::new(Kind::ApiToken, id.untyped()),
            Identity::Host => Self::default(),
        }
    }

    /// Makes it with the name and without an id.
    pub fn named(kind: Kind, name: &'a str) -> Self {
        Self { kind: Some(kind), ..Self::default() }.with_name(name)
    }

    /// Adds the name.
    #[must_use]
    pub fn with_name(self, name: &'a str) -> Self {
        let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|end| *end <= Self::MAX_NAME).last().unwrap_or(0);
        Self { name: name.get(..end), ..self }
    }

    fn is_unknown(&self) -> bool {
        self.kind.is_none() && self.id.is_none() && self.name.is_none()
    }
}

fn as_text<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditOutcome<'a> {
    /// Done.
    Done,
    /// An operation failed, for this reason. Whether anything was changed may be unknown.
    Failed(&'a str),
    /// Refused, for this reason: not permitted, or not possible.
    Refused(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OrgId, UserId};

    fn json(event: &AuditEvent<'_>) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn an_event_is_one_json_object() {
        let caller = Principal::trusted(OrgId::from_u64(1), UserId::from_u64(2), []);
        let event = AuditEvent {
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::Principal(&caller),
            source: Some("192.0.2.7".parse().unwrap()),
            action: AuditAction::SetPassword,
            record: AuditRecord::new(Kind::Authorization, Id::from_u64(3)).with_name("tele\ngraf"),
            outcome: AuditOutcome::Refused("wrong"),
        };
        assert_eq!(
            json(&event),
            concat!(
                r#"{"at":"1970-01-01T00:00:00Z","actor":{"kind":"hostUser","org":"0000000000000001","#,
                r#""user":"0000000000000002"},"source":"192.0.2.7","action":"setPassword","#,
                r#""record":{"kind":"authorization","id":"0000000000000003","name":"tele\ngraf"},"#,
                r#""outcome":"refused","reason":"wrong"}"#
            )
        );
        let event = AuditEvent {
            actor: Actor::Host,
            source: None,
            record: AuditRecord::default(),
            outcome: AuditOutcome::Done,
            ..event
        };
        assert_eq!(
            json(&event),
            r#"{"at":"1970-01-01T00:00:00Z","actor":{"kind":"host"},"action":"setPassword","outcome":"done"}"#
        );
    }

    #[test]
    fn names_are_cut_between_characters() {
        let name = "ä".repeat(200);
        let cut = AuditRecord::named(Kind::Authorization, &name).name.unwrap();
        assert_eq!(cut, "ä".repeat(128));
    }
}
