//! Computing a password's hash for a login: shared by equal logins, queued by what is known of
//! them, and counted by the throttle.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Engine;
use super::log_in::LogIn;
use crate::Error;
use crate::cache::Proof;
use crate::password::{Against, Lane, Password, PasswordHash, Ticket};
use crate::throttle::{Attempt, Charge, Throttle, network};

/// What a computation has told. Clones are the same computation.
#[derive(Clone)]
pub(super) struct Verified {
    is_right: bool,
    counted: Option<Arc<Counted>>,
}

/// A failure that was counted before it was known to be one.
struct Counted {
    throttle: Arc<Throttle>,
    charge: Charge,
    refunded: AtomicBool,
}

impl Verified {
    pub(super) const fn is_right(&self) -> bool {
        self.is_right
    }

    /// Takes back what was counted: the login is let in. Equal logins are counted once, and taken
    /// back once.
    pub(super) fn refund(&self, now: Instant) {
        if let Some(counted) = &self.counted
            && !counted.refunded.swap(true, Ordering::Relaxed)
        {
            counted.throttle.refund(&counted.charge, now);
        }
    }
}

impl Engine {
    /// Tells whether the hash is the password's.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: &PasswordHash,
        proof: Proof,
        log_in: &LogIn<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<Verified, Error> {
        let against = Against::Hash(hash.clone());
        self.compute(proof.to_bits(), password, against, log_in, attempt).await
    }

    /// Takes as long as a comparison would, is shared by the same logins, and counted like one.
    pub(super) async fn dummy_verify(
        &self,
        log_in: &LogIn<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<(), Error> {
        // A password that is too long to be looked at costs the same as any other.
        let looked_at = log_in.password.get(..Password::MAX_BYTES).unwrap_or(log_in.password);
        let password = Password::new(looked_at).map_err(Error::internal)?;
        // In place of a hash, which is one name's alone.
        let name = self.0.keys.name(log_in.username.as_bytes());
        let key = (log_in.mac.to_bits(), name);
        self.compute(key, password, Against::Nothing, log_in, attempt).await.map(drop)
    }

    /// Logins that present the same password for the same hash, or for the same name without one,
    /// at the same time share one computation and are counted as one try.
    async fn compute(
        &self,
        key: (u128, u128),
        password: Password,
        against: Against,
        log_in: &LogIn<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<Verified, Error> {
        let begin = || {
            let ticket = self.ticket(log_in, attempt);
            let throttle = self.0.throttle.clone().zip(attempt.copied());
            let (told, charge) = std::sync::mpsc::sync_channel(1);
            let (counting, clock) = (throttle.clone(), Arc::clone(&self.0.clock));
            // Counted when its turn has come and not before: a login that leaves the queue has
            // learned nothing.
            let admission = Box::new(move || {
                let Some((throttle, attempt)) = counting else { return Ok(()) };
                let charge =
                    throttle.charge(&attempt, clock.instant()).map_err(Error::throttled)?;
                let _ = told.send(charge);
                Ok(())
            });
            let answer = self.0.hashes.begin(ticket, password, against, admission)?;
            Ok(async move {
                let is_right = answer.await?;
                let counted =
                    throttle.zip(charge.try_recv().ok()).map(|((throttle, _), charge)| {
                        Arc::new(Counted { throttle, charge, refunded: AtomicBool::new(false) })
                    });
                Ok(Verified { is_right, counted })
            })
        };
        self.0.verifications.join(key, begin).await
    }

    /// Where the login waits for its hash.
    fn ticket(&self, log_in: &LogIn<'_>, attempt: Option<&Attempt>) -> Ticket {
        let flow = |of: &dyn Fn() -> u64| Some(of());
        let hash = &self.0.flows;
        let source = log_in.source.map(network);
        let source = source.and_then(|source| flow(&|| hash.hash_one(("source", source))));
        let name = flow(&|| hash.hash_one(("name", log_in.username)));
        let is_suspect = self.counted(attempt, Throttle::is_suspect).unwrap_or(false);
        let lane = if is_suspect {
            Lane::SuspectLogin
        } else if self.is_familiar(log_in.username, log_in.source) {
            Lane::FamiliarLogin
        } else {
            Lane::Login
        };
        Ticket { lane, flows: [source, name] }
    }

    fn is_familiar(&self, username: &str, source: Option<IpAddr>) -> bool {
        source.is_some_and(|source| self.0.familiar.contains(username, source, self.0.clock.now()))
    }

    pub(super) fn attempt(
        &self,
        username: Option<&str>,
        source: Option<IpAddr>,
    ) -> Option<Attempt> {
        let throttle = self.0.throttle.as_ref()?;
        let familiar = username.is_some_and(|username| self.is_familiar(username, source));
        Some(throttle.attempt(username, source, familiar))
    }

    /// Asks the throttle something, where there is one.
    fn counted<T>(
        &self,
        attempt: Option<&Attempt>,
        ask: impl FnOnce(&Throttle, &Attempt, Instant) -> T,
    ) -> Option<T> {
        Some(ask(self.0.throttle.as_ref()?, attempt?, self.0.clock.instant()))
    }

    /// Says how long the login has to wait, if it has to.
    pub(super) fn throttled(&self, attempt: Option<&Attempt>) -> Option<Duration> {
        self.counted(attempt, Throttle::wait).flatten()
    }

    /// Counts a failure.
    ///
    /// # Errors
    ///
    /// That it has to wait.
    pub(super) fn charge(&self, attempt: Option<&Attempt>) -> Result<(), Error> {
        let charge = self.counted(attempt, Throttle::charge).transpose();
        charge.map(drop).map_err(Error::throttled)
    }
}
