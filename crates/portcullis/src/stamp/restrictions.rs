//! Until when, and from where, a credential may be used.

use std::net::IpAddr;

use crate::{AllowedNetworks, ApiToken, Authorization, Clock, Refusal, Timestamp};

/// The end of a credential and its networks. A principal has none if the credential has neither: then a
/// cache hit reads no clock.
///
/// The end is compared with the wall clock each time, without tolerance: when the clock jumps, the
/// credential is refused, or admitted again, from the next request on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restrictions {
    /// The earlier of the ends of the credential and of its password.
    ends_at: Option<Timestamp>,
    networks: AllowedNetworks,
}

impl Restrictions {
    /// Returns those of the authorization and its present password.
    pub(crate) fn of_authorization(authorization: &Authorization) -> Option<Self> {
        let ends = [authorization.expires_at, authorization.password_expires_at];
        Self::new(ends.into_iter().flatten().min(), &authorization.allowed_networks)
    }

    /// Returns those of the API token.
    pub(crate) fn of_api_token(token: &ApiToken) -> Option<Self> {
        Self::new(token.expires_at, &token.allowed_networks)
    }

    fn new(ends_at: Option<Timestamp>, networks: &AllowedNetworks) -> Option<Self> {
        let restricts = ends_at.is_some() || !networks.is_empty();
        restricts.then(|| Self { ends_at, networks: networks.clone() })
    }

    /// Returns why the credential is refused now and from this address, if it is.
    pub(crate) fn refusal(&self, clock: &dyn Clock, source: Option<IpAddr>) -> Option<Refusal> {
        if self.ends_at.is_some_and(|end| end <= clock.now()) {
            Some(Refusal::Expired)
        } else if !self.networks.allows(source) {
            Some(Refusal::Network)
        } else {
            None
        }
    }

    /// Returns the end.
    pub(crate) const fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}
