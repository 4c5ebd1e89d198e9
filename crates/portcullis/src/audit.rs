//! Who did what, on which record, from where, and what came of it: for whoever must answer for it.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::store::Kind;
use crate::{Id, Identity, Principal, Timestamp};

/// Where an [`Engine`](crate::Engine) reports changes, refusals, and logins that were not
/// answered from memory.
///
/// It is called on the way of a request, in the order of what happens to each record as far as
/// there is one. So it must not block for long and must not panic; what it cannot keep is its own
/// to count and to tell. A login with a password that is known to be right, the warm path of
/// every write and query, is not reported.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Takes note of the event.
    fn record(&self, event: &AuditEvent<'_>);

    /// Tells whether changes may be made now. Where not, the engine refuses each with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): for those who would rather change
    /// nothing than have a change that is not on record. By default they always may.
    fn allows_changes(&self) -> bool {
        true
    }
}

/// Something that happened, without any secret.
///
/// It serializes to one JSON object, the same for every sink; members without a value are left
/// out:
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
    /// When it was decided.
    pub at: Timestamp,
    /// Who did it, or tried to.
    pub actor: Actor<'a>,
    /// The address that it came from, where the embedding program told one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What was to be done.
    pub action: AuditAction,
    /// The record it is about.
    #[serde(skip_serializing_if = "AuditRecord::is_unknown")]
    pub record: AuditRecord<'a>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: AuditOutcome<'a>,
}

/// Who acts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Actor<'a> {
    /// Nobody known yet: whoever logs in.
    Anonymous,
    /// A user of the operating system, at the command line.
    Command {
        /// The user's name or number.
        os_user: &'a str,
    },
    /// The embedding program itself, through the engine's trusted operations.
    Host,
    /// A caller of the management API, or whoever has just logged in.
    Principal(&'a Principal),
}

impl<'a> AuditEvent<'a> {
    /// An event of the program around the engine, such as a backup.
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

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditAction {
    /// The store was copied to a place for backups.
    BackUp,
    /// A record was made.
    Create,
    /// A record and what depends on it were deleted.
    Delete,
    /// Records of a snapshot were stored.
    Import,
    /// Somebody presented credentials.
    Login,
    /// Somebody who was known was let in although the store could not be asked, as the operator
    /// allows for a time. Reported once for each credential in each outage.
    LoginInGrace,
    /// An inactive credential was made active again, by an update that is reported besides.
    Reactivate,
    /// A record was to be read. Reported only when that was refused.
    Read,
    /// A password's hash was computed anew, with the current parameters. The password is the same.
    Rehash,
    /// Unique keys and index entries were made anew from the records.
    Repair,
    /// A store was made of a backup, or of another store.
    Restore,
    /// A password was set.
    SetPassword,
    /// Permissions were replaced.
    SetPermissions,
    /// A status, or a description, was changed.
    Update,
}

/// Which record it is about, as far as that is known.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub kind: Option<Kind>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub id: Option<Id>,
    /// Its username or name. It is what somebody has typed where there is no such record, and no
    /// more than [`AuditRecord::MAX_NAME`] bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

impl<'a> AuditRecord<'a> {
    /// Longer names are cut.
    pub const MAX_NAME: usize = 256;

    /// A record with an id.
    pub fn new(kind: Kind, id: Id) -> Self {
        Self { kind: Some(kind), id: Some(id), name: None }
    }

    /// Nothing but a name that somebody has given.
    pub fn named(kind: Kind, name: &'a str) -> Self {
        Self { kind: Some(kind), ..Self::default() }.with_name(name)
    }

    /// The same with its name.
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

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuditOutcome<'a> {
    /// It was done.
    Done,
    /// It was not done because something failed; whether anything was changed may be unknown.
    Failed(&'a str),
    /// It was not allowed, or what was asked for is not possible.
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
        let caller = Principal::of_host(OrgId::from_u64(1), UserId::from_u64(2), []);
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
