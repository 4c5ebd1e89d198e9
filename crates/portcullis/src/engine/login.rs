//! Logins with a username and a password that the cache does not answer: what is read, computed,
//! counted and kept.

use std::net::IpAddr;

use super::Engine;
use super::grace::Failed;
use super::verification::Verified;
use crate::cache::{Keys, KnownBy, Mac, Memory, Moment, Proof, Seen, Standing};
use crate::password::Password;
use crate::store::{Entity, Kind, Lookup, Record};
use crate::throttle::Attempt;
use crate::{
    Authorization, Error, ErrorKind, OrgId, Principal, Refusal, Status, TokenDigest, UserId,
};

/// A username and a password, as a request presents them.
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a [u8],
    pub(super) mac: Mac,
    /// The principal that the password has let in with this username, for some hash and some time.
    pub(super) known: Option<Principal>,
    pub(super) source: Option<IpAddr>,
}

/// How a login was let in.
enum LetIn {
    /// The store was read, and no hash was computed.
    Revalidated(Principal),
    /// A hash was computed, or an API token read.
    Cold(Principal),
}

/// What one look at the store says of a login.
enum Round {
    /// It is let in. If a hash was `computed` for that, only if nothing was changed meanwhile.
    LetIn { principal: Principal, made_of: Option<Authorization>, computed: bool },
    /// No authorization has the username.
    NoAuthorization(Seen),
}

/// What a login has proved by now.
struct Progress {
    /// The password is right for this hash.
    proof: Option<Proof>,
    /// What was counted of it, to be taken back when it is let in.
    verified: Option<Verified>,
}

/// How often a login is looked at anew as its credential was changed meanwhile.
const MAX_ROUNDS: usize = 4;

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

    pub(super) async fn login(&self, login: Login<'_>) -> Result<Principal, Error> {
        let outcome = match self.try_login(&login).await {
            Ok(LetIn::Revalidated(principal)) => {
                self.0.metrics.lukewarm.increment(1);
                return Ok(principal);
            }
            Ok(LetIn::Cold(principal)) => Ok(principal),
            Err(failed) => match self.instead_of_failing(failed, || self.in_grace(&login)) {
                Ok(principal) => {
                    self.report_in_grace(login.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        if let (Err(error), Some(known)) = (&outcome, &login.known)
            && error.refusal().is_some()
        {
            self.0.known.doubt(known);
        }
        self.report_login(Some(login.username), login.source, &outcome);
        outcome
    }

    async fn try_login(&self, login: &Login<'_>) -> Result<LetIn, Failed> {
        let attempt = self.attempt(Some(login.username), login.source);
        // A password that is known to be right does not wait for what others do.
        if login.known.is_some() {
            if let Some(wait) = self.warm_wait(login.username, login.source) {
                return Err(Error::throttled(wait).into());
            }
        } else if let Some(wait) = self.throttled(attempt.as_ref()) {
            return self.token_of_a_throttled_login(login, wait).await.map(LetIn::Cold);
        }
        let known = login.known.as_ref().and_then(Principal::memory).and_then(Memory::proof);
        let mut progress = Progress { proof: known.copied(), verified: None };
        for _ in 0..MAX_ROUNDS {
            let round = match self.look_at(login, attempt.as_ref(), &mut progress).await {
                Ok(round) => round,
                Err(failed) => {
                    // The password was right, and what failed is not the login's.
                    if let (None, Some(verified)) = (failed.error.refusal(), &progress.verified) {
                        verified.refund(self.0.clock.instant());
                    }
                    return Err(failed);
                }
            };
            let (principal, made_of, computed) = match round {
                Round::LetIn { principal, made_of, computed } => (principal, made_of, computed),
                Round::NoAuthorization(seen) => {
                    let token = self.token_as_password(seen, login, attempt.as_ref());
                    return token.await.map(LetIn::Cold);
                }
            };
            // It may have waited for its hash for seconds, and be revoked since it was read.
            if computed && !self.0.known.is_current(&principal, self.moment()) {
                continue;
            }
            self.let_in(login, &principal, &progress);
            let Some(authorization) = made_of else {
                return Ok(LetIn::Revalidated(principal));
            };
            self.rehash_if_weak(&authorization, login, &principal);
            return Ok(match progress.verified {
                Some(_) => LetIn::Cold(principal),
                None => LetIn::Revalidated(principal),
            });
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the credential is changed too often now, try again",
        )
        .with_retry_after(std::time::Duration::from_secs(1))
        .into())
    }

    /// Reads the authorization and says what becomes of the login.
    async fn look_at(
        &self,
        login: &Login<'_>,
        attempt: Option<&Attempt>,
        progress: &mut Progress,
    ) -> Result<Round, Failed> {
        let seen = self.before_read();
        let lookup = Lookup::UniqueKey(Kind::Authorization, login.username);
        let is_needed = self.in_grace(login).is_none();
        let Some(record) = self.patiently(is_needed, self.0.store.get(lookup)).await? else {
            if let Some(deleted) = &login.known {
                self.0.known.doubt(deleted);
            }
            return Ok(Round::NoAuthorization(seen));
        };
        let made_of = self.0.keys.record(&record);
        if let Some(known) = &login.known
            && let Some(memory) = known.memory()
            && memory.made_of.is_some_and(|of| of.is(&made_of))
        {
            let memory = Memory { record: seen, ..*memory };
            let principal = self.revalidated(known, memory, is_needed).await?;
            return Ok(Round::LetIn { principal, made_of: None, computed: false });
        }
        // It is not the one that is known: no grace from here on.
        let round = self.look_at_record(&record, made_of, seen, login, attempt, progress);
        Ok(round.await?)
    }

    /// The record is the one that the principal was made of.
    async fn revalidated(
        &self,
        known: &Principal,
        memory: Memory,
        is_needed: bool,
    ) -> Result<Principal, Failed> {
        let (refusal, standing) =
            self.standing_or_grace(known.user(), known.org(), is_needed).await?;
        match refusal {
            Some(refusal) => Err(Error::refused(refusal).into()),
            None => Ok(known.with_memory(Memory { standing, ..memory })),
        }
    }

    /// The authorization exists: the password is its, or nothing.
    async fn look_at_record(
        &self,
        record: &Record,
        made_of: Mac,
        seen: Seen,
        login: &Login<'_>,
        attempt: Option<&Attempt>,
        progress: &mut Progress,
    ) -> Result<Round, Error> {
        let authorization = Authorization::from_record(record).map_err(Error::from)?;
        let refuse = |refusal| Err(Error::refused(refusal));
        let hash = match (authorization.status, &authorization.password_hash) {
            (Status::Active, Some(hash)) => hash,
            (status, _) => {
                self.dummy_verify(login, attempt).await?;
                let inactive = !status.is_active();
                return refuse(if inactive { Refusal::Inactive } else { Refusal::NoPassword });
            }
        };
        let hash_mac = self.0.keys.hash(hash);
        let proof = Keys::proof(login.mac, hash_mac);
        let is_proved = progress.proof.is_some_and(|proof| proof.holds(&login.mac, &hash_mac));
        if !is_proved {
            let Ok(password) = Password::new(login.password) else {
                self.dummy_verify(login, attempt).await?;
                return refuse(Refusal::WrongPassword);
            };
            let verified = self.verify(password.clone(), hash, proof, login, attempt).await?;
            if !verified.is_right() {
                return refuse(Refusal::WrongPassword);
            }
            if !self.0.policy.allows_login(&password) {
                return refuse(Refusal::PasswordChangeRequired);
            }
            *progress = Progress { proof: Some(proof), verified: Some(verified) };
        }
        let (refusal, standing) = self.standing(authorization.user, authorization.org).await?;
        if let Some(refusal) = refusal {
            return refuse(refusal);
        }
        // What could not be replaced this time is tried again when the record is read again.
        let made_of = Some(made_of).filter(|_| !self.is_to_be_replaced(hash));
        let memory = Memory { by: KnownBy::Password(proof), made_of, record: seen, standing };
        let principal = Principal::of_authorization(&authorization, memory);
        Ok(Round::LetIn { principal, made_of: Some(authorization), computed: !is_proved })
    }

    /// Counts and keeps a login that is let in.
    fn let_in(&self, login: &Login<'_>, principal: &Principal, progress: &Progress) {
        if let Some(verified) = &progress.verified {
            verified.refund(self.0.clock.instant());
            // With another password than the one of an entry that grace could bring back.
            if let Some(id) = principal.facts().id() {
                self.0.trust.found_otherwise(Kind::Authorization, id, self.moment());
            }
        }
        if let Some(source) = login.source {
            self.0.familiar.remember(login.username, source, self.0.clock.now());
        }
        self.0.known.keep(principal.clone());
    }

    /// No authorization has the username: is the password an API token?
    async fn token_as_password(
        &self,
        seen: Seen,
        login: &Login<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<Principal, Failed> {
        if let Some(token) = self.token_of_password(seen, login).await? {
            return Ok(token);
        }
        self.dummy_verify(login, attempt).await?;
        Err(Error::refused(Refusal::UnknownUsername).into())
    }

    /// Returns the principal of the API token that is presented as the password of a username that
    /// no authorization has.
    pub(super) async fn token_of_password(
        &self,
        seen: Seen,
        login: &Login<'_>,
    ) -> Result<Option<Principal>, Failed> {
        let Ok(secret) = std::str::from_utf8(login.password) else { return Ok(None) };
        let digest = TokenDigest::of(secret);
        let is_needed = self.in_grace(login).is_none();
        let token = self.read_token(secret, digest, false, is_needed).await?;
        if token.is_some() {
            self.0.known.keep_absent(self.0.keys.name(login.username.as_bytes()), seen);
        }
        Ok(token)
    }

    /// Tells what stands against a credential of the user in the org, and when that was seen.
    pub(super) async fn standing(
        &self,
        user: UserId,
        org: OrgId,
    ) -> Result<(Option<Refusal>, Seen), Error> {
        let (user_stands, seen) = self.stands(Standing::User(user.untyped())).await?;
        if !user_stands {
            return Ok((Some(Refusal::User), seen));
        }
        let (org_stands, org_seen) = self.stands(Standing::Org(org.untyped())).await?;
        let refusal = (!org_stands).then_some(Refusal::Org);
        Ok((refusal, seen.and(org_seen)))
    }

    /// The same, for somebody who may be let in without an answer if it is the store's to give.
    pub(super) async fn standing_or_grace(
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
}
