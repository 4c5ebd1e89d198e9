//! When a credential was last used.

use std::net::IpAddr;

use crate::{ApiTokenId, AuthorizationId, OrgId, Timestamp, UserId};

/// When a credential was last used, and from where.
///
/// A login is recorded at most once in an interval
/// ([`LastUseConfig::interval`](crate::LastUseConfig::interval)), so a credential in constant use was
/// used up to one interval later than this says, or two if several engines share the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastUse {
    /// When it was used, in milliseconds.
    pub at: Timestamp,
    /// The address of the client, if it was known.
    pub from: Option<IpAddr>,
    /// When its previous password was used, while a rotation goes on; after it, and in the next one, of an
    /// earlier rotation.
    pub previous_at: Option<Timestamp>,
}

impl LastUse {
    /// Returns when the previous password of the authorization was used since the present one was set.
    pub fn of_previous_password(&self, password_set_at: Option<Timestamp>) -> Option<Timestamp> {
        // Uses have milliseconds.
        let set_at = password_set_at.map(|at| Timestamp::from_unix_millis(at.as_unix_millis()));
        self.previous_at.filter(|used| set_at.flatten().is_none_or(|set_at| *used >= set_at))
    }

    /// A use at this time from this address.
    pub fn new(at: Timestamp, from: Option<IpAddr>) -> Self {
        // What is stored is what is returned, to the digit.
        let at = Timestamp::from_unix_millis(at.as_unix_millis()).unwrap_or(at);
        Self { at, from: from.map(|from| from.to_canonical()), previous_at: None }
    }
}

/// The last use of an authorization: a record of its own with the id of the authorization, so that a
/// login changes nothing of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorizationUse {
    /// The id of the authorization.
    pub id: AuthorizationId,
    /// Its org.
    pub org: OrgId,
    /// Its user.
    pub user: UserId,
    /// When it was last used.
    pub last: LastUse,
}

/// The last use of an API token, as [`AuthorizationUse`]. An authorization and an API token may have
/// the same id, so each has a kind of record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTokenUse {
    /// The id of the API token.
    pub id: ApiTokenId,
    /// Its org.
    pub org: OrgId,
    /// Its user.
    pub user: UserId,
    /// When it was last used.
    pub last: LastUse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_has_milliseconds_and_a_canonical_address() {
        let at: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        let used = LastUse::new(at, Some("::ffff:192.0.2.1".parse().unwrap()));
        assert_eq!(used.at.to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(used.from, Some("192.0.2.1".parse().unwrap()));
    }
}
