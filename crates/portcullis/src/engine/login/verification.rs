//! Computing a password's hash for a login: shared by equal logins, queued by priority, and counted
//! by the throttle.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::attempt::Attempt;
use crate::engine::Engine;
use crate::password::{Admission, Against, Lane, Password, PasswordHash, Ticket};
use crate::stamp::Proof;
use crate::throttle::{Charge, Throttle, ThrottleKeys, network};
use crate::{Clock, Error};

/// The result of a computation. Clones are of the same computation.
#[derive(Clone)]
pub(in crate::engine) struct Verified {
    is_right: bool,
    charged: Option<Arc<Charged>>,
}

/// A failure that was counted before the result was there.
struct Charged {
    throttle: Arc<Throttle>,
    charge: Charge,
    refunded: AtomicBool,
}

impl Verified {
    pub(super) const fn is_right(&self) -> bool {
        self.is_right
    }

    /// Takes the charge back: the login is admitted. Equal logins are charged once and refunded
    /// once.
    pub(super) fn refund(&self, now: Instant) {
        if let Some(charged) = &self.charged
            && !charged.refunded.swap(true, Ordering::Relaxed)
        {
            charged.throttle.refund(&charged.charge, now);
        }
    }
}

/// Charges a login with a failure when its computation begins, and not before: a login that leaves
/// the queue has learned nothing.
struct ChargeAtBegin {
    throttle: Option<(Arc<Throttle>, ThrottleKeys)>,
    clock: Arc<dyn Clock>,
    sender: mpsc::SyncSender<Charge>,
    charge: Option<Charge>,
}

impl Admission for ChargeAtBegin {
    fn begin(&mut self) -> Result<(), Error> {
        let Some((throttle, keys)) = &self.throttle else { return Ok(()) };
        let charge = throttle.charge(keys, self.clock.instant()).map_err(Error::throttled)?;
        self.charge = Some(charge);
        let _ = self.sender.send(charge);
        Ok(())
    }

    fn right_without_login(&mut self) {
        // A client whose timeout is shorter than a hash does not lock itself out.
        if let (Some((throttle, _)), Some(charge)) = (&self.throttle, &self.charge) {
            throttle.refund(charge, self.clock.instant());
        }
    }
}

impl Attempt<'_> {
    /// Compares the password with the hash.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: &PasswordHash,
        proof: Proof,
    ) -> Result<Verified, Error> {
        self.compute(proof.to_bits(), password, Against::Hash(hash.clone())).await
    }

    /// Computes a hash that is compared with nothing: it takes as long as a verification, is shared
    /// by equal logins, and is charged like one.
    pub(super) async fn dummy_verify(&self) -> Result<(), Error> {
        let login = &self.login;
        // A password that is too long costs the same as any other.
        let prefix = login.password.get(..Password::MAX_BYTES).unwrap_or(login.password);
        let password = Password::new(prefix).map_err(Error::internal)?;
        // In place of a hash, which belongs to one username.
        let name = self.engine.0.keys.name(login.username.as_bytes());
        self.compute((login.mac.to_bits(), name), password, Against::Nothing).await.map(drop)
    }

    /// Logins that present the same password for the same hash, or for the same username without
    /// one, at the same time share one computation and one charge.
    async fn compute(
        &self,
        key: (u128, u128),
        password: Password,
        against: Against,
    ) -> Result<Verified, Error> {
        let engine = self.engine;
        let begin = || {
            let throttle = engine.0.throttle.clone().zip(self.throttle);
            let (sender, charge) = mpsc::sync_channel(1);
            let clock = Arc::clone(&engine.0.clock);
            let admission =
                ChargeAtBegin { throttle: throttle.clone(), clock, sender, charge: None };
            let admission = Box::new(admission);
            let result = engine.0.hashes.begin(self.ticket(), password, against, admission)?;
            Ok(async move {
                let is_right = result.await?;
                let charge = charge.try_recv().ok();
                let charged = throttle.zip(charge).map(|((throttle, _), charge)| {
                    Arc::new(Charged { throttle, charge, refunded: AtomicBool::new(false) })
                });
                Ok(Verified { is_right, charged })
            })
        };
        engine.0.verifications.join(key, begin).await
    }

    /// The place of the login in the queue of the hash pool.
    fn ticket(&self) -> Ticket {
        let (engine, login) = (self.engine, &self.login);
        let flows = &engine.0.flows;
        let source = login.source.map(network).map(|network| flows.hash_one(("source", network)));
        let name = flows.hash_one(("name", login.username));
        let is_suspect = engine.with_throttle(self.throttle.as_ref(), Throttle::is_suspect);
        let lane = if is_suspect.unwrap_or(false) {
            Lane::SuspectLogin
        } else if engine.is_familiar(login.username, login.source) {
            Lane::FamiliarLogin
        } else {
            Lane::Login
        };
        Ticket { lane, flows: [source, Some(name)] }
    }
}

impl Engine {
    /// Returns how long a login with a proved password has to wait, if it has to: for its own
    /// failures with this username, from an address from which it has never logged in. Otherwise a
    /// password in the cache could be guessed at any rate.
    ///
    /// Usually one read of an atomic, because few usernames have failed lately.
    pub(super) fn hit_wait(&self, username: &str, source: Option<IpAddr>) -> Option<Duration> {
        let (throttle, address) = (self.0.throttle.as_ref()?, source?);
        let now = self.0.clock.instant();
        if !throttle.may_have_failed(username, now) {
            // A sample of the hits is enough to keep addresses in the history.
            if self.moment().is_sampled() {
                self.0.familiar.record(username, address, self.0.clock.now());
            }
            return None;
        }
        if self.is_familiar(username, source) {
            return None;
        }
        let wait = throttle.own_wait(&throttle.keys(Some(username), source, false), now);
        if wait.is_none() {
            self.0.familiar.record(username, address, self.0.clock.now());
        }
        wait
    }

    fn is_familiar(&self, username: &str, source: Option<IpAddr>) -> bool {
        source.is_some_and(|source| self.0.familiar.contains(username, source, self.0.clock.now()))
    }

    /// Returns what the throttle counts a login under; `None` without a throttle.
    pub(super) fn throttle_keys(
        &self,
        username: Option<&str>,
        source: Option<IpAddr>,
    ) -> Option<ThrottleKeys> {
        let throttle = self.0.throttle.as_ref()?;
        let is_familiar = username.is_some_and(|username| self.is_familiar(username, source));
        Some(throttle.keys(username, source, is_familiar))
    }

    /// Calls the throttle, if there is one.
    fn with_throttle<T>(
        &self,
        keys: Option<&ThrottleKeys>,
        call: impl FnOnce(&Throttle, &ThrottleKeys, Instant) -> T,
    ) -> Option<T> {
        Some(call(self.0.throttle.as_ref()?, keys?, self.0.clock.instant()))
    }

    /// Returns how long the login has to wait, if it has to.
    pub(super) fn throttle_wait(&self, keys: Option<&ThrottleKeys>) -> Option<Duration> {
        self.with_throttle(keys, Throttle::wait).flatten()
    }

    /// Charges a failure.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`](crate::ErrorKind::TooManyRequests) when the login has to wait.
    pub(super) fn charge(&self, keys: Option<&ThrottleKeys>) -> Result<(), Error> {
        let charge = self.with_throttle(keys, Throttle::charge).transpose();
        charge.map(drop).map_err(Error::throttled)
    }
}
