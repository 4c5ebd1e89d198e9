//! Until when, and from where, a credential may be used.

use std::net::IpAddr;

use crate::{AllowedNetworks, ApiToken, Authorization, Clock, Refusal, Timestamp};

/// Which password of an authorization a login presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhichPassword {
    /// The one that was set last.
    Present,
    /// The one before, which still works for a time.
    Previous,
}

/// The end of a credential and its networks. A principal has none if the credential has neither: then a
/// cache hit reads no clock.
///
/// The end is compared with the wall clock each time, without tolerance: when the clock jumps, the
/// credential is refused, or admitted again, from the next request on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restrictions {
    /// The earlier of the ends of the credential and of its present password.
    ends_at: Option<Timestamp>,
    /// The end of the previous password, if the login presents it. From then on it is a wrong password.
    previous_ends_at: Option<Timestamp>,
    networks: AllowedNetworks,
}

impl Restrictions {
    /// Returns those of the authorization with one of its passwords.
    pub(crate) fn of_authorization(
        authorization: &Authorization,
        which: WhichPassword,
    ) -> Option<Self> {
        let Authorization { expires_at, password_expires_at, allowed_networks, .. } = authorization;
        match which {
            WhichPassword::Present => {
                let end = [*expires_at, *password_expires_at].into_iter().flatten().min();
                Self::new(end, None, allowed_networks)
            }
            WhichPassword::Previous => {
                let previous = authorization.previous_password.as_ref();
                Self::new(*expires_at, previous.map(|it| it.ends_at), allowed_networks)
            }
        }
    }

    /// Returns those of the API token.
    pub(crate) fn of_api_token(token: &ApiToken) -> Option<Self> {
        Self::new(token.expires_at, None, &token.allowed_networks)
    }

    fn new(
        ends_at: Option<Timestamp>,
        previous_ends_at: Option<Timestamp>,
        networks: &AllowedNetworks,
    ) -> Option<Self> {
        let has_end = ends_at.is_some() || previous_ends_at.is_some();
        let restricts = has_end || !networks.is_empty();
        restricts.then(|| Self { ends_at, previous_ends_at, networks: networks.clone() })
    }

    /// Returns why the credential is refused now and from this address, if it is.
    pub(crate) fn refusal(&self, clock: &dyn Clock, source: Option<IpAddr>) -> Option<Refusal> {
        let is_over = |end: Option<Timestamp>| end.is_some_and(|end| end <= clock.now());
        if is_over(self.ends_at) {
            Some(Refusal::Expired)
        } else if !self.networks.allows(source) {
            Some(Refusal::Network)
        } else if is_over(self.previous_ends_at) {
            Some(Refusal::WrongPassword)
        } else {
            None
        }
    }

    /// Tells whether the login presents the previous password.
    pub(crate) const fn is_of_previous(&self) -> bool {
        self.previous_ends_at.is_some()
    }

    /// Returns the end of the credential and its present password.
    pub(crate) const fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}
