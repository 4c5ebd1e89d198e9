//! A weak hash is replaced at the next login, when the password is at hand.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Engine;
use super::login::Login;
use crate::cache::{Keys, KnownBy, Memory};
use crate::password::{Password, PasswordHash};
use crate::store::{Modified, StoreExt};
use crate::{
    Actor, AuditAction, AuditOutcome, AuditRecord, Authorization, AuthorizationId, Error,
    Principal, Refusal,
};

/// Whose hashes are being replaced.
#[derive(Default)]
pub(super) struct Rehashing(Mutex<HashSet<AuthorizationId>>);

impl Rehashing {
    /// How many at the most: what the others need has to wait less than this does.
    const MOST: usize = 2;

    fn ids(&self) -> MutexGuard<'_, HashSet<AuthorizationId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for the next one, also when the work is given up half way.
struct Turn {
    engine: Engine,
    id: AuthorizationId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(rehashing) = &self.engine.0.rehashing {
            rehashing.ids().remove(&self.id);
        }
    }
}

impl Engine {
    /// Tells whether the hash is weaker than a new one would be, and is to be replaced.
    pub(super) fn is_to_be_replaced(&self, hash: &PasswordHash) -> bool {
        self.0.rehashing.is_some() && hash.is_weaker_than(self.0.hashes.params())
    }

    /// Begins to replace the hash, if it is weaker than a new one would be. The login does not
    /// wait for it; where it is not done, the next login tries again.
    pub(super) fn rehash_if_weak(
        &self,
        authorization: &Authorization,
        login: &Login<'_>,
        principal: &Principal,
    ) {
        let (Some(rehashing), Some(hash), Some(memory)) =
            (&self.0.rehashing, &authorization.password_hash, principal.memory())
        else {
            return;
        };
        if !self.is_to_be_replaced(hash) {
            return;
        }
        let Ok(password) = Password::new(login.password) else { return };
        let id = authorization.id;
        {
            let mut ids = rehashing.ids();
            if ids.len() >= Rehashing::MOST || !ids.insert(id) {
                return;
            }
        }
        let turn = Turn { engine: self.clone(), id };
        let (weak, mac, memory) = (hash.clone(), login.mac, *memory);
        let principal = principal.clone();
        tokio::spawn(async move {
            let engine = &turn.engine;
            let rehashed = engine.rehash(id, &weak, &password).await;
            let outcome = match &rehashed {
                Ok(hash) => {
                    // So that nobody has to compute it who has just done so.
                    let by = KnownBy::Password(Keys::proof(mac, engine.0.keys.hash(hash)));
                    engine.0.known.keep(principal.with_memory(Memory { by, ..memory }));
                    AuditOutcome::Done
                }
                // Somebody has set another password: theirs counts.
                Err(error) if error.refusal().is_some() => return,
                Err(error) => {
                    tracing::warn!(authorization = %id, "could not replace a weak hash: {error}");
                    AuditOutcome::Failed(error.message())
                }
            };
            let record = AuditRecord::new(crate::store::Kind::Authorization, id.untyped());
            engine.report(Actor::Host, None, AuditAction::Rehash, record, outcome);
        });
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
            Modified::Done(_) => Ok(hash),
            Modified::Missing => Err(Error::refused(Refusal::UnknownUsername)),
        }
    }
}
