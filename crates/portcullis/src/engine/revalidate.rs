//! Reading a credential again, for requests that take long.

use super::Engine;
use crate::cache::{Memory, Seen};
use crate::store::StoreExt;
use crate::{ApiToken, Authorization, Error, Identity, Principal, Refusal};

impl Engine {
    /// Returns the principal as it is now: for a request that goes on for so long that its credential
    /// may be revoked meanwhile.
    ///
    /// Nothing is read while the cache knows that nothing was changed. A principal of the host's own
    /// is returned as it is. An inactive API token is returned, as
    /// [`Engine::authenticate_caller`] does, and may do nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::ErrorKind::Unauthorized) when the credential, its user or
    /// its org is gone or inactive, or has another password by now;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when nothing is known.
    pub async fn revalidate(&self, principal: &Principal) -> Result<Principal, Error> {
        let Some(memory) = principal.memory() else { return Ok(principal.clone()) };
        if self.0.known.is_current(principal, self.moment()) {
            return Ok(principal.clone());
        }
        let record = self.before_read();
        let refuse = |refusal| Err(Error::refused(refusal));
        match principal.identity() {
            Identity::ApiToken(id) => {
                let found = self.0.store.find::<ApiToken>(id.untyped()).await?;
                let Some((token, _)) = found else { return refuse(Refusal::UnknownToken) };
                let memory = self.with_tenants(principal, *memory, record).await?;
                Ok(Principal::of_api_token(&token, memory))
            }
            Identity::Authorization(id, _) => {
                let found = self.0.store.find::<Authorization>(id.untyped()).await?;
                let Some((found, _)) = found else { return refuse(Refusal::UnknownUsername) };
                let is_same = |hash| {
                    let hash = self.0.keys.hash(hash);
                    memory.proof().is_some_and(|proof| proof.holds(proof.password(), &hash))
                };
                if !found.status.is_active() {
                    return refuse(Refusal::Inactive);
                }
                if !found.password_hash.as_ref().is_some_and(is_same) {
                    return refuse(Refusal::WrongPassword);
                }
                let memory = self.with_tenants(principal, *memory, record).await?;
                Ok(Principal::of_authorization(&found, memory))
            }
            Identity::Host => Ok(principal.clone()),
        }
    }

    async fn with_tenants(
        &self,
        principal: &Principal,
        memory: Memory,
        record: Seen,
    ) -> Result<Memory, Error> {
        let (refusal, standing) = self.standing(principal.user(), principal.org()).await?;
        match refusal {
            Some(refusal) => Err(Error::refused(refusal)),
            None => Ok(Memory { made_of: None, record, standing, ..memory }),
        }
    }
}
