//! What a login changes in its record: a weak hash is replaced, while the password is at hand, and a
//! previous password may end.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use super::PasswordLogin;
use crate::codec::StoreExt;
use crate::engine::Engine;
use crate::password::{Password, PasswordHash};
use crate::stamp::{CacheKey, CacheStamp, Proof};
use crate::store::Kind;
use crate::sync::lock;
use crate::{
    Actor, AuditAction, AuditOutcome, AuditRecord, Authorization, AuthorizationId, Error,
    Principal, Refusal,
};

/// The authorizations whose hashes are being replaced.
#[derive(Default)]
pub(in crate::engine) struct Rehashing(Mutex<HashSet<AuthorizationId>>);

impl Rehashing {
    /// The bound: logins that need a hash are more urgent.
    const MAX: usize = 2;

    fn ids(&self) -> MutexGuard<'_, HashSet<AuthorizationId>> {
        lock(&self.0)
    }
}

/// A place in [`Rehashing`], which is free again when this is dropped.
struct Permit {
    engine: Engine,
    id: AuthorizationId,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(rehashing) = &self.engine.0.rehashing {
            rehashing.ids().remove(&self.id);
        }
    }
}

impl Engine {
    /// Returns whether the hash is weaker than a new one would be, and is to be replaced.
    pub(super) fn is_to_be_replaced(&self, hash: &PasswordHash) -> bool {
        self.0.rehashing.is_some() && hash.is_weaker_than(self.0.hashes.params())
    }

    /// Begins to replace the hash, if it is weaker than a new one would be. The login does not wait
    /// for it. If it fails, the next login tries again.
    pub(super) fn rehash_if_weak(
        &self,
        authorization: &Authorization,
        login: &PasswordLogin<'_>,
        principal: &Principal,
    ) {
        let (Some(rehashing), Some(hash), Some(stamp)) =
            (&self.0.rehashing, &authorization.password_hash, principal.stamp())
        else {
            return;
        };
        if !self.is_to_be_replaced(hash) {
            return;
        }
        let password = self.0.policy.normalized(login.password).into_owned();
        let Ok(password) = Password::new(password) else { return };
        let id = authorization.id;
        {
            let mut ids = rehashing.ids();
            if ids.len() >= Rehashing::MAX || !ids.insert(id) {
                return;
            }
        }
        let permit = Permit { engine: self.clone(), id };
        let (weak, mac, stamp) = (hash.clone(), login.mac, *stamp);
        let principal = principal.clone();
        tokio::spawn(async move {
            let engine = &permit.engine;
            let rehashed = engine.rehash(id, &weak, &password).await;
            let outcome = match &rehashed {
                Ok(hash) => {
                    // The next login with this password needs no further hash.
                    let key = CacheKey::Password(Proof::new(mac, engine.0.keys.hash(hash)));
                    engine.0.cache.insert(principal.with_stamp(CacheStamp { key, ..stamp }));
                    AuditOutcome::Done
                }
                // Another password was set meanwhile, and stays.
                Err(error) if error.refusal().is_some() => return,
                Err(error) => {
                    tracing::warn!(authorization = %id, "could not replace a weak hash: {error}");
                    AuditOutcome::Failed(error.message())
                }
            };
            let record = AuditRecord::new(Kind::Authorization, id.untyped());
            engine.report(Actor::Host, None, AuditAction::Rehash, record, outcome);
        });
    }

    /// Ends the previous password, if it ends when the new one is used, as it was just now. The login does
    /// not fail if this does: the next one tries again.
    pub(super) async fn end_previous_if_new_is_used(&self, authorization: &Authorization) {
        let ends = |it: &Authorization| {
            it.previous_password.as_ref().is_some_and(|previous| previous.ends_when_new_is_used)
        };
        if !self.0.ends_previous_on_use || !ends(authorization) {
            return;
        }
        let change = |current: &mut Authorization| {
            if !ends(current) || current.password_hash != authorization.password_hash {
                return Err(Error::refused(Refusal::WrongPassword));
            }
            current.previous_password = None;
            Ok(())
        };
        let id = authorization.id;
        let ended = self.0.store.modify(id.untyped(), change, &[], || self.revision()).await;
        let outcome = match &ended {
            Ok(Some(_)) => AuditOutcome::Done,
            // It ended, or was deleted, meanwhile.
            Ok(None) => return,
            Err(error) if error.refusal().is_some() => return,
            Err(error) => {
                tracing::warn!(authorization = %id, "could not end a previous password: {error}");
                AuditOutcome::Failed(error.message())
            }
        };
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let record = record.with_name(authorization.username.as_str());
        self.report(Actor::Host, None, AuditAction::EndPreviousPassword, record, outcome);
    }

    async fn rehash(
        &self,
        id: AuthorizationId,
        weak: &PasswordHash,
        password: &Password,
    ) -> Result<PasswordHash, Error> {
        let hash = self.0.hashes.hash(password).await?;
        let change = |authorization: &mut Authorization| {
            if authorization.password_hash.as_ref() != Some(weak) {
                return Err(Error::refused(Refusal::WrongPassword));
            }
            authorization.password_hash = Some(hash.clone());
            Ok(())
        };
        match self.0.store.modify(id.untyped(), change, &[], || self.revision()).await? {
            Some(_) => Ok(hash),
            None => Err(Error::refused(Refusal::UnknownUsername)),
        }
    }
}
