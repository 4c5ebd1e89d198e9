//! Log-ins that are not answered from memory alone: what is read, computed, counted and kept.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Engine;
use super::grace::Failed;
use crate::cache::{Keys, KnownBy, Mac, Memory, Moment, Proof, Seen, Standing};
use crate::password::{Password, PasswordHash};
use crate::store::{Entity, Kind, Lookup, StoreExt};
use crate::throttle::{Attempt, Throttle};
use crate::{
    ApiToken, Authorization, Error, ErrorKind, OrgId, Principal, Refusal, Status, TokenDigest,
    UserId,
};

/// A username and a password that somebody presents.
pub(super) struct LogIn<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a [u8],
    pub(super) mac: Mac,
    /// Whom the password has let in with this username, for some hash and some time.
    pub(super) known: Option<Principal>,
    pub(super) source: Option<IpAddr>,
}

/// An API token that somebody presents.
pub(super) struct TokenLogIn<'a> {
    pub(super) secret: &'a str,
    pub(super) digest: TokenDigest,
    /// Whether one that is inactive lets somebody in: a caller, who may do nothing.
    pub(super) inactive_too: bool,
    pub(super) source: Option<IpAddr>,
}

/// Says to a caller of the management API what is said to others otherwise.
pub(super) fn for_callers(error: Error) -> Error {
    let say = |kind, message: &'static str, refusal| Error::new(kind, message).with_source(refusal);
    match error.refusal() {
        Some(Refusal::Throttled) | None => error,
        Some(refusal @ Refusal::Org) => {
            say(ErrorKind::Forbidden, "Organization is inactive", refusal)
        }
        Some(refusal @ Refusal::User) => say(ErrorKind::Forbidden, "User is inactive", refusal),
        Some(refusal) => say(ErrorKind::Unauthorized, "unauthorized access", refusal),
    }
}

impl Engine {
    pub(super) fn moment(&self) -> Moment {
        self.0.trust.moment(self.0.clock.instant())
    }

    /// Takes the time of a read that begins after this.
    pub(super) fn before_read(&self) -> Seen {
        self.0.trust.before_read(self.0.clock.instant())
    }

    pub(super) async fn log_in(&self, log_in: LogIn<'_>) -> Result<Principal, Error> {
        let outcome = match self.try_log_in(&log_in).await {
            Ok((principal, true)) => {
                self.0.metrics.lukewarm.increment(1);
                return Ok(principal);
            }
            Ok((principal, false)) => Ok(principal),
            Err(failed) => match self.instead_of_failing(failed, || self.in_grace(&log_in)) {
                Ok(principal) => {
                    self.report_in_grace(log_in.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        if let (Err(error), Some(known)) = (&outcome, &log_in.known)
            && error.refusal().is_some()
        {
            self.0.known.doubt(known);
        }
        self.report_log_in(Some(log_in.username), log_in.source, &outcome);
        outcome
    }

    /// Lets in whom the credentials are of; tells as well whether the password was known.
    async fn try_log_in(&self, log_in: &LogIn<'_>) -> Result<(Principal, bool), Failed> {
        let attempt = self.attempt(Some(log_in.username), log_in.source);
        // Whoever is known to have the password is not kept waiting for what others do.
        if log_in.known.is_none() {
            self.refuse_who_must_wait(attempt.as_ref())?;
        }
        let seen = self.before_read();
        let lookup = Lookup::UniqueKey(Kind::Authorization, log_in.username);
        let is_needed = self.in_grace(log_in).is_none();
        let Some(record) = self.patiently(is_needed, self.0.store.get(lookup)).await? else {
            if let Some(deleted) = &log_in.known {
                self.0.known.doubt(deleted);
            }
            let token = self.token_as_password(seen, log_in, is_needed, attempt.as_ref());
            return Ok((token.await?, false));
        };
        let made_of = self.0.keys.record(&record);
        if let Some(known) = &log_in.known
            && let Some(memory) = known.memory()
            && memory.made_of.is_some_and(|of| of.is(&made_of))
        {
            let memory = Memory { record: seen, ..*memory };
            let let_in = self.let_in_again(known, memory, is_needed, attempt.as_ref());
            return Ok((let_in.await?, true));
        }
        let authorization = Authorization::from_record(&record).map_err(Error::from)?;
        // It is not the one that is known: no grace from here on.
        let log_in = self.log_in_as(&authorization, made_of, seen, log_in, attempt.as_ref());
        Ok(log_in.await?)
    }

    /// The record is the one that they were let in with.
    async fn let_in_again(
        &self,
        known: &Principal,
        memory: Memory,
        is_needed: bool,
        attempt: Option<&Attempt>,
    ) -> Result<Principal, Failed> {
        self.counted(attempt, Throttle::belong);
        let (refusal, standing) =
            self.standing_or_grace(known.user(), known.org(), is_needed).await?;
        if let Some(refusal) = refusal {
            return Err(Error::refused(refusal).into());
        }
        let principal = known.with_memory(Memory { standing, ..memory });
        self.0.known.keep(principal.clone());
        Ok(principal)
    }

    /// The authorization exists: the password is its, or nothing.
    async fn log_in_as(
        &self,
        authorization: &Authorization,
        made_of: Mac,
        record: Seen,
        log_in: &LogIn<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<(Principal, bool), Error> {
        let refuse = |refusal| Err(Error::refused(refusal));
        let hash = match (authorization.status, &authorization.password_hash) {
            (Status::Active, Some(hash)) => hash,
            (status, _) => {
                self.hash_in_vain(log_in, attempt).await?;
                let inactive = !status.is_active();
                return refuse(if inactive { Refusal::Inactive } else { Refusal::NoPassword });
            }
        };
        let hash_mac = self.0.keys.hash(hash);
        let proof = Keys::proof(log_in.mac, hash_mac);
        let known = log_in.known.as_ref().and_then(Principal::memory).and_then(Memory::proof);
        let is_known = known.is_some_and(|known| known.holds(&log_in.mac, &hash_mac));
        if is_known {
            self.counted(attempt, Throttle::belong);
        } else {
            let Ok(password) = Password::new(log_in.password) else {
                self.hash_in_vain(log_in, attempt).await?;
                return refuse(Refusal::WrongPassword);
            };
            if !self.verify(password.clone(), hash, proof, attempt).await? {
                return refuse(Refusal::WrongPassword);
            }
            if !self.0.policy.allows_login(&password) {
                return refuse(Refusal::PasswordChangeRequired);
            }
        }
        let (refusal, standing) = self.standing(authorization.user, authorization.org).await?;
        if let Some(refusal) = refusal {
            return refuse(refusal);
        }
        // What could not be replaced this time is tried again when the record is read again.
        let made_of = Some(made_of).filter(|_| !self.is_to_be_replaced(hash));
        let memory = Memory { by: KnownBy::Password(proof), made_of, record, standing };
        let principal = Principal::of_authorization(authorization, memory);
        if !is_known {
            // With another password than that of anybody who may be remembered.
            let id = authorization.id.untyped();
            self.0.trust.found_otherwise(Kind::Authorization, id, self.moment());
        }
        self.rehash_if_weak(authorization, log_in, memory, &principal);
        self.0.known.keep(principal.clone());
        Ok((principal, is_known))
    }

    /// No authorization has the username: is the password an API token?
    async fn token_as_password(
        &self,
        seen: Seen,
        log_in: &LogIn<'_>,
        is_needed: bool,
        attempt: Option<&Attempt>,
    ) -> Result<Principal, Failed> {
        if let Ok(secret) = std::str::from_utf8(log_in.password)
            && let digest = TokenDigest::of(secret)
            && let Some(token) = self.read_token(secret, digest, false, is_needed).await?
        {
            self.0.known.keep_absent(self.0.keys.name(log_in.username.as_bytes()), seen);
            return Ok(token);
        }
        self.hash_in_vain(log_in, attempt).await?;
        Err(Error::refused(Refusal::UnknownUsername).into())
    }

    pub(super) async fn log_in_with_token(
        &self,
        log_in: TokenLogIn<'_>,
    ) -> Result<Principal, Error> {
        let outcome = match self.try_log_in_with_token(&log_in).await {
            Ok(principal) => Ok(principal),
            Err(failed) => match self.instead_of_failing(failed, || self.known_token(&log_in)) {
                Ok(principal) => {
                    self.report_in_grace(log_in.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        self.report_log_in(None, log_in.source, &outcome);
        outcome
    }

    async fn try_log_in_with_token(&self, log_in: &TokenLogIn<'_>) -> Result<Principal, Failed> {
        let attempt = self.attempt(None, log_in.source);
        self.refuse_who_must_wait(attempt.as_ref())?;
        let is_needed = self.known_token(log_in).is_none();
        let read = self.read_token(log_in.secret, log_in.digest, log_in.inactive_too, is_needed);
        match read.await? {
            Some(principal) => Ok(principal),
            None => {
                self.charge(attempt.as_ref())?;
                Err(Error::refused(Refusal::UnknownToken).into())
            }
        }
    }

    /// Who is let in with the API token as long as the store does not answer. Not a caller of the
    /// management API, who could do nothing.
    fn known_token(&self, log_in: &TokenLogIn<'_>) -> Option<Principal> {
        if log_in.inactive_too { None } else { self.token_in_grace(&log_in.digest) }
    }

    /// Returns who the API token lets in; `None` when there is no such token.
    ///
    /// # Errors
    ///
    /// The refusal, when it is inactive or its user or org is gone or inactive.
    async fn read_token(
        &self,
        secret: &str,
        digest: TokenDigest,
        inactive_too: bool,
        is_needed: bool,
    ) -> Result<Option<Principal>, Failed> {
        if secret.is_empty() {
            return Ok(None);
        }
        let record = self.before_read();
        let key = digest.to_text();
        let found = self.patiently(is_needed, self.0.store.find_by_key::<ApiToken>(&key)).await?;
        let Some((token, _)) = found else {
            self.0.known.doubt_token(&digest);
            return Ok(None);
        };
        let refuse = |refusal| {
            self.0.known.doubt_token(&digest);
            Err(Error::refused(refusal).into())
        };
        if !(inactive_too || token.status.is_active()) {
            return refuse(Refusal::Inactive);
        }
        let (refusal, standing) = self.standing_or_grace(token.user, token.org, is_needed).await?;
        if let Some(refusal) = refusal {
            return refuse(refusal);
        }
        let memory = Memory { by: KnownBy::Token(digest), made_of: None, record, standing };
        let principal = Principal::of_api_token(&token, memory);
        self.0.known.keep(principal.clone());
        Ok(Some(principal))
    }

    /// Tells whether the hash is the password's.
    async fn verify(
        &self,
        password: Password,
        hash: &PasswordHash,
        proof: Proof,
        attempt: Option<&Attempt>,
    ) -> Result<bool, Error> {
        let begin = || self.0.hashes.begin_verify(password, hash.clone());
        self.compute(proof.to_bits(), begin, attempt).await
    }

    /// Takes as long as a comparison would, is shared by the same log-ins, and counted like one.
    async fn hash_in_vain(
        &self,
        log_in: &LogIn<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<(), Error> {
        // A password too long to be looked at costs the same as any other.
        let looked_at = log_in.password.get(..Password::MAX_BYTES).unwrap_or(log_in.password);
        let password = Password::new(looked_at).map_err(Error::internal)?;
        // In place of a hash, which is one name's alone.
        let name = self.0.keys.name(log_in.username.as_bytes());
        let key = (log_in.mac.to_bits(), name);
        self.compute(key, || self.0.hashes.begin_dummy(password), attempt).await.map(drop)
    }

    /// Computes what `begin` begins. Those who present the same password for the same hash, or for
    /// the same name without one, at the same time share one computation and are counted as one
    /// try.
    async fn compute<F>(
        &self,
        key: (u128, u128),
        begin: impl FnOnce() -> Result<F, Error>,
        attempt: Option<&Attempt>,
    ) -> Result<bool, Error>
    where
        F: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let mut charged = false;
        let begin = || {
            self.charge(attempt)?;
            charged = true;
            begin()
        };
        let outcome = self.0.verifications.join(key, begin).await;
        if charged {
            match outcome {
                Ok(false) => {}
                Ok(true) => self.counted(attempt, Throttle::succeeded).unwrap_or_default(),
                // Nothing was learned from it.
                Err(_) => self.counted(attempt, Throttle::forgive).unwrap_or_default(),
            }
        }
        outcome
    }

    /// Tells what stands against a credential of the user in the org, and when that was seen.
    async fn standing(&self, user: UserId, org: OrgId) -> Result<(Option<Refusal>, Seen), Error> {
        let (user_stands, seen) = self.stands(Standing::User(user.untyped())).await?;
        if !user_stands {
            return Ok((Some(Refusal::User), seen));
        }
        let (org_stands, org_seen) = self.stands(Standing::Org(org.untyped())).await?;
        let refusal = (!org_stands).then_some(Refusal::Org);
        Ok((refusal, seen.and(org_seen)))
    }

    /// The same, for somebody who may be let in without an answer if it is the store's to give.
    async fn standing_or_grace(
        &self,
        user: UserId,
        org: OrgId,
        is_needed: bool,
    ) -> Result<(Option<Refusal>, Seen), Failed> {
        let is_of_store = self.0.owns_directory;
        let standing = self.patiently(is_needed || !is_of_store, self.standing(user, org)).await;
        standing.map_err(|error| Failed::of_standing(error, is_of_store))
    }

    async fn stands(&self, of: Standing) -> Result<(bool, Seen), Error> {
        if let Some(known) = self.0.known.standing(of, self.moment()) {
            return Ok(known);
        }
        let seen = self.before_read();
        let status = match of {
            Standing::User(id) => self.0.directory.user(id.into()).await?.map(|user| user.status),
            Standing::Org(id) => self.0.directory.org(id.into()).await?.map(|org| org.status),
        };
        let stands = status.is_some_and(Status::is_active);
        if !stands {
            let (kind, id) = match of {
                Standing::User(id) => (Kind::User, id),
                Standing::Org(id) => (Kind::Org, id),
            };
            self.0.trust.found_otherwise(kind, id, self.moment());
        }
        self.0.known.keep_standing(of, stands, seen);
        Ok((stands, seen))
    }

    fn attempt(&self, username: Option<&str>, source: Option<IpAddr>) -> Option<Attempt> {
        let throttle = self.0.throttle.as_ref()?;
        Some(throttle.attempt(username, source, self.0.clock.instant()))
    }

    /// Does something with the throttle, where there is one.
    fn counted<T>(
        &self,
        attempt: Option<&Attempt>,
        work: impl FnOnce(&Throttle, &Attempt, Instant) -> T,
    ) -> Option<T> {
        Some(work(self.0.throttle.as_ref()?, attempt?, self.0.clock.instant()))
    }

    fn refuse_who_must_wait(&self, attempt: Option<&Attempt>) -> Result<(), Error> {
        match self.counted(attempt, Throttle::wait).flatten() {
            Some(wait) => Err(throttled(wait)),
            None => Ok(()),
        }
    }

    fn charge(&self, attempt: Option<&Attempt>) -> Result<(), Error> {
        self.counted(attempt, Throttle::charge).unwrap_or(Ok(())).map_err(throttled)
    }
}

fn throttled(wait: Duration) -> Error {
    Error::new(ErrorKind::TooManyRequests, "too many failed log-ins")
        .with_source(Refusal::Throttled)
        .with_retry_after(wait)
}
