//! Computing a password's hash for a login: shared by equal logins, queued by what is known of
//! them, and counted by the throttle.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::Engine;
use super::login::Login;
use crate::cache::Proof;
use crate::password::{Admission, Against, Lane, Password, PasswordHash, Ticket};
use crate::throttle::{Attempt, Charge, Throttle, network};
use crate::{Clock, Error};

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

/// Counts a login as a failure when its computation begins, and not before: one that leaves the
/// queue has learned nothing.
struct Counting {
    throttle: Option<(Arc<Throttle>, Attempt)>,
    clock: Arc<dyn Clock>,
    told: mpsc::SyncSender<Charge>,
    charge: Option<Charge>,
}

impl Admission for Counting {
    fn begin(&mut self) -> Result<(), Error> {
        let Some((throttle, attempt)) = &self.throttle else { return Ok(()) };
        let charge = throttle.charge(attempt, self.clock.instant()).map_err(Error::throttled)?;
        self.charge = Some(charge);
        let _ = self.told.send(charge);
        Ok(())
    }

    fn right_without_login(&mut self) {
        // It does not lock itself out by a timeout that is shorter than a hash.
        if let (Some((throttle, _)), Some(charge)) = (&self.throttle, &self.charge) {
            throttle.refund(charge, self.clock.instant());
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
        login: &Login<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<Verified, Error> {
        let against = Against::Hash(hash.clone());
        self.compute(proof.to_bits(), password, against, login, attempt).await
    }

    /// Takes as long as a comparison would, is shared by the same logins, and counted like one.
    pub(super) async fn dummy_verify(
        &self,
        login: &Login<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<(), Error> {
        // A password that is too long to be looked at costs the same as any other.
        let looked_at = login.password.get(..Password::MAX_BYTES).unwrap_or(login.password);
        let password = Password::new(looked_at).map_err(Error::internal)?;
        // In place of a hash, which is one name's alone.
        let name = self.0.keys.name(login.username.as_bytes());
        let key = (login.mac.to_bits(), name);
        self.compute(key, password, Against::Nothing, login, attempt).await.map(drop)
    }

    /// Logins that present the same password for the same hash, or for the same name without one,
    /// at the same time share one computation and are counted as one try.
    async fn compute(
        &self,
        key: (u128, u128),
        password: Password,
        against: Against,
        login: &Login<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<Verified, Error> {
        let begin = || {
            let ticket = self.ticket(login, attempt);
            let throttle = self.0.throttle.clone().zip(attempt.copied());
            let (told, charge) = mpsc::sync_channel(1);
            let clock = Arc::clone(&self.0.clock);
            let admission = Counting { throttle: throttle.clone(), clock, told, charge: None };
            let answer = self.0.hashes.begin(ticket, password, against, Box::new(admission))?;
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
    fn ticket(&self, login: &Login<'_>, attempt: Option<&Attempt>) -> Ticket {
        let flow = |of: &dyn Fn() -> u64| Some(of());
        let hash = &self.0.flows;
        let source = login.source.map(network);
        let source = source.and_then(|source| flow(&|| hash.hash_one(("source", source))));
        let name = flow(&|| hash.hash_one(("name", login.username)));
        let is_suspect = self.counted(attempt, Throttle::is_suspect).unwrap_or(false);
        let lane = if is_suspect {
            Lane::SuspectLogin
        } else if self.is_familiar(login.username, login.source) {
            Lane::FamiliarLogin
        } else {
            Lane::Login
        };
        Ticket { lane, flows: [source, name] }
    }

    /// Says how long a login has to wait that the cache would let in, if it has to: for its own
    /// failures with this username, from an address from which it has never logged in. Otherwise a
    /// password in the cache could be guessed at any rate.
    ///
    /// Mostly a look at one number, as few usernames have failed lately.
    pub(super) fn warm_wait(&self, username: &str, source: Option<IpAddr>) -> Option<Duration> {
        let (throttle, address) = (self.0.throttle.as_ref()?, source?);
        let now = self.0.clock.instant();
        if !throttle.may_have_failed(username, now) {
            // Of addresses whose logins the cache answers all, some are remembered in time.
            if self.0.trust.moment(now).is_sample() {
                self.0.familiar.remember(username, address, self.0.clock.now());
            }
            return None;
        }
        if self.is_familiar(username, source) {
            return None;
        }
        let wait = throttle.own_wait(&throttle.attempt(Some(username), source, false), now);
        if wait.is_none() {
            self.0.familiar.remember(username, address, self.0.clock.now());
        }
        wait
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
