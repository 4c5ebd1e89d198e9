//! Reading a credential again, for requests that take long.

use std::net::IpAddr;

use crate::codec::StoreExt;
use crate::engine::Engine;
use crate::password::PasswordHash;
use crate::stamp::{CacheStamp, ReadStamp, WhichPassword};
use crate::{ApiToken, Authorization, Error, Identity, Principal, Refusal};

impl Engine {
    /// Returns the principal as it is now: for a request from the address that takes so long that its
    /// credential may be revoked or expire meanwhile.
    ///
    /// Nothing is read while the cache holds that nothing has changed, and the credential has not expired.
    /// A principal of [`Principal::trusted`] is returned unchanged. An inactive API token is returned, as by
    /// [`Engine::authenticate_caller`], and every check denies it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) when the credential, its user or
    /// its org is gone or inactive, or when the credential has expired, may not be used from the address, or
    /// has another password by now;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when the store cannot be read.
    pub async fn revalidate(
        &self,
        principal: &Principal,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        let Some(stamp) = principal.stamp() else { return Ok(principal.clone()) };
        if self.0.cache.is_current(principal, self.moment())
            && self.restriction(principal, source).is_none()
        {
            return Ok(principal.clone());
        }
        let record = self.before_read();
        let refuse = |refusal| Err(Error::refused(refusal));
        match principal.identity() {
            Identity::ApiToken(id) => {
                let found = self.0.store.find::<ApiToken>(id.untyped()).await?;
                let Some((token, _)) = found else { return refuse(Refusal::UnknownToken) };
                let stamp = self.with_tenants(principal, *stamp, record).await?;
                self.unless_restricted(Principal::from_api_token(&token, stamp), source)
            }
            Identity::Authorization(id, _) => {
                let found = self.0.store.find::<Authorization>(id.untyped()).await?;
                let Some((found, _)) = found else { return refuse(Refusal::UnknownUsername) };
                let is_same = |hash: &PasswordHash| {
                    let hash = self.0.keys.hash(hash);
                    stamp.proof().is_some_and(|proof| proof.matches(proof.password(), &hash))
                };
                if !found.status.is_active() {
                    return refuse(Refusal::Inactive);
                }
                let previous = found.previous_password.as_ref().map(|previous| &previous.hash);
                let which = if found.password_hash.as_ref().is_some_and(is_same) {
                    WhichPassword::Present
                } else if previous.is_some_and(is_same) {
                    WhichPassword::Previous
                } else {
                    return refuse(Refusal::WrongPassword);
                };
                let stamp = self.with_tenants(principal, *stamp, record).await?;
                let principal = Principal::from_authorization(&found, which, stamp);
                self.unless_restricted(principal, source)
            }
            Identity::Host => Ok(principal.clone()),
        }
    }

    /// Returns the principal, unless its credential has expired or may not be used from the address.
    fn unless_restricted(
        &self,
        principal: Principal,
        source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        match self.restriction(&principal, source) {
            None => Ok(principal),
            Some(refusal) => {
                self.report_if_expired(&principal, refusal);
                Err(Error::refused(refusal))
            }
        }
    }

    async fn with_tenants(
        &self,
        principal: &Principal,
        stamp: CacheStamp,
        record: ReadStamp,
    ) -> Result<CacheStamp, Error> {
        let tenants = self.check_tenants(principal.user(), principal.org()).await?;
        Ok(CacheStamp { record_mac: None, record, tenants, ..stamp })
    }
}
