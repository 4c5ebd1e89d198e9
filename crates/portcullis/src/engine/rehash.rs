//! A weak hash is replaced at the next log-in, when the password is at hand.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Engine;
use crate::cache::{Keys, Login};
use crate::password::{Password, PasswordHash};
use crate::store::{Modified, StoreExt};
use crate::{
    Actor, AuditAction, AuditOutcome, AuditRecord, Authorization, AuthorizationId, Error, Refusal,
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
    /// Begins to replace the hash, if it is weaker than a new one would be. The log-in does not
    /// wait for it; where it is not done, the next log-in tries again.
    pub(super) fn rehash_if_weak(
        &self,
        authorization: &Authorization,
        password: &[u8],
        login: &Login,
    ) {
        let (Some(rehashing), Some(hash)) = (&self.0.rehashing, &authorization.password_hash)
        else {
            return;
        };
        if !hash.is_weaker_than(self.0.hashes.params()) {
            return;
        }
        let Ok(password) = Password::new(password) else { return };
        let id = authorization.id;
        {
            let mut ids = rehashing.ids();
            if ids.len() >= Rehashing::MOST || !ids.insert(id) {
                return;
            }
        }
        let turn = Turn { engine: self.clone(), id };
        let (weak, login) = (hash.clone(), login.clone());
        tokio::spawn(async move {
            let engine = &turn.engine;
            let outcome = engine.rehash(id, &weak, &password, login).await;
            let outcome = match &outcome {
                Ok(()) => AuditOutcome::Done,
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
        login: Login,
    ) -> Result<(), Error> {
        let hash = self.0.hashes.hash(password).await?;
        let change = |authorization: &mut Authorization| {
            if authorization.password_hash.as_ref() != Some(weak) {
                return Err(Error::refused(Refusal::WrongPassword));
            }
            authorization.password_hash = Some(hash.clone());
            Ok(())
        };
        match self.0.store.modify(id.untyped(), change, &[], || self.revision()).await? {
            Modified::Done(_) => {
                // So that nobody has to compute it who has just done so.
                let proof = Keys::proof(*login.proof.password(), self.0.keys.hash(&hash));
                self.0.known.keep_login(Login { proof, ..login });
                Ok(())
            }
            Modified::Missing => Err(Error::refused(Refusal::UnknownUsername)),
        }
    }
}
