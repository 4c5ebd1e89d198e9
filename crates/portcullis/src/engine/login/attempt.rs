//! A login with a username and a password after a cache miss, step by step: read the
//! authorization, prove the password, check user and org, admit.

use std::time::Duration;

use super::PasswordLogin;
use super::stale_if_error::{Failed, ReadLimit};
use super::verification::Verified;
use crate::cache::{Tenant, TenantStatus};
use crate::codec::Entity;
use crate::engine::Engine;
use crate::password::{Password, PasswordHash};
use crate::stamp::{CacheKey, CacheStamp, Mac, Proof, ReadStamp, Restrictions, WhichPassword};
use crate::store::{Kind, Lookup, Record};
use crate::throttle::ThrottleKeys;
use crate::{
    AuditRecord, Authorization, Error, ErrorKind, OrgId, Principal, Refusal, Status, TokenDigest,
    UserId,
};

/// One login with a username and a password.
pub(super) struct Attempt<'a> {
    pub(super) engine: &'a Engine,
    pub(super) login: PasswordLogin<'a>,
    /// What the throttle counts it under; `None` without a throttle.
    pub(super) throttle: Option<ThrottleKeys>,
    /// The hash that the password is proved for.
    proof: Option<Proof>,
    /// The verification that this attempt computed.
    verified: Option<Verified>,
}

/// How a login was admitted.
enum Admitted {
    /// After a read of the store, without a hash.
    Revalidated(Principal),
    /// After a hash, or the read of an API token.
    Verified(Principal),
}

/// The result of the step that proves a password.
struct Proved {
    proof: Proof,
    which: WhichPassword,
    /// Whether a hash was computed for it in this round.
    hashed: bool,
}

/// The hashes of the passwords that a login may present.
struct UsableHashes<'r> {
    present: Option<&'r PasswordHash>,
    previous: Option<&'r PasswordHash>,
}

impl<'r> UsableHashes<'r> {
    fn iter(&self) -> impl Iterator<Item = (WhichPassword, &'r PasswordHash)> + use<'r> {
        let present = self.present.map(|hash| (WhichPassword::Present, hash));
        let previous = self.previous.map(|hash| (WhichPassword::Previous, hash));
        present.into_iter().chain(previous)
    }
}

/// How often an attempt starts again because its credential was changed meanwhile.
const MAX_ROUNDS: usize = 4;

impl<'a> Attempt<'a> {
    pub(super) fn new(engine: &'a Engine, login: PasswordLogin<'a>) -> Self {
        let throttle = engine.throttle_keys(Some(login.username), login.source);
        let proof = login.cached.as_ref().and_then(Principal::stamp).and_then(CacheStamp::proof);
        let proof = proof.copied();
        Self { engine, login, throttle, proof, verified: None }
    }

    /// Runs all steps, then counts and reports the outcome.
    pub(super) async fn run(mut self) -> Result<Principal, Error> {
        let admitted = self.steps().await;
        let is_refused = matches!(&admitted, Err(failed) if failed.error.refusal().is_some());
        // Any other failure is not the login's: its password was right.
        if let (false, Some(verified)) = (is_refused, &self.verified) {
            verified.refund(self.engine.0.clock.instant());
        }
        let outcome = match admitted {
            Ok(Admitted::Revalidated(principal)) => {
                self.engine.0.metrics.revalidated.increment(1);
                return Ok(principal);
            }
            Ok(Admitted::Verified(principal)) => Ok(principal),
            Err(failed) => match failed.or_stale(|| self.engine.stale_login(&self.login)) {
                Ok(principal) => {
                    self.engine.report_stale_login(self.login.source, &principal);
                    return Ok(principal);
                }
                Err(error) => Err(error),
            },
        };
        if is_refused {
            self.invalidate_cached();
        }
        self.engine.report_login(Some(self.login.username), self.login.source, &outcome);
        outcome
    }

    async fn steps(&mut self) -> Result<Admitted, Failed> {
        let engine = self.engine;
        // A password that is already proved waits for failures of its own only.
        if self.login.cached.is_some() {
            if let Some(wait) = engine.hit_wait(self.login.username, self.login.source) {
                return Err(Error::throttled(wait).into());
            }
        } else if let Some(wait) = engine.throttle_wait(self.throttle.as_ref()) {
            return engine.token_despite_throttle(&self.login, wait).await.map(Admitted::Verified);
        }
        for _ in 0..MAX_ROUNDS {
            let read = engine.before_read();
            let limit = ReadLimit::with_fallback(engine.stale_login(&self.login).is_some());
            let Some(record) = self.read_record(limit).await? else {
                self.invalidate_cached();
                return self.token_as_password(read).await.map(Admitted::Verified);
            };
            let record_mac = engine.0.keys.record(&record);
            if let Some((cached, stamp)) = self.cached_from(&record_mac) {
                if let Some(refusal) = engine.restriction(cached, self.login.source) {
                    self.dummy_verify().await?;
                    engine.report_if_expired(cached, refusal);
                    return Err(Error::refused(refusal).into());
                }
                let tenants =
                    engine.check_tenants_within(limit, cached.user(), cached.org()).await?;
                let principal = cached.with_stamp(CacheStamp { record: read, tenants, ..stamp });
                self.admit(&principal);
                return Ok(Admitted::Revalidated(principal));
            }
            // The record is not the cached one, so from here on the cache is no fallback.
            let authorization = Authorization::from_record(&record).map_err(Error::from)?;
            let Proved { proof, which, hashed } = self.prove(&authorization).await?;
            let tenants = engine.check_tenants(authorization.user, authorization.org).await?;
            // A hash that could not be replaced this time is tried again at the next read.
            let present = authorization.password_hash.as_ref();
            let present = present.filter(|_| which == WhichPassword::Present);
            let is_weak = present.is_some_and(|hash| engine.is_to_be_replaced(hash));
            let record_mac = Some(record_mac).filter(|_| !is_weak);
            let key = CacheKey::Password(proof);
            let stamp = CacheStamp { key, record_mac, record: read, tenants };
            let principal = Principal::from_authorization(&authorization, which, stamp);
            // The hash may have waited for seconds, and the credential been revoked since the read.
            if hashed && !engine.0.cache.is_current(&principal, engine.moment()) {
                continue;
            }
            // It may have expired meanwhile, too.
            if let Some(refusal) = engine.restriction(&principal, self.login.source) {
                engine.report_if_expired(&principal, refusal);
                return Err(Error::refused(refusal).into());
            }
            self.admit(&principal);
            if which == WhichPassword::Present {
                engine.end_previous_if_new_is_used(&authorization).await;
                engine.rehash_if_weak(&authorization, &self.login, &principal);
            }
            return Ok(match self.verified {
                Some(_) => Admitted::Verified(principal),
                None => Admitted::Revalidated(principal),
            });
        }
        let message = "the credential is changed too often now, try again";
        let error = Error::new(ErrorKind::Unavailable, message);
        Err(error.with_retry_after(Duration::from_secs(1)).into())
    }

    async fn read_record(&self, limit: ReadLimit) -> Result<Option<Record>, Failed> {
        let lookup = Lookup::UniqueKey(Kind::Authorization, self.login.username);
        Ok(self.engine.read_within(limit, self.engine.0.store.get(lookup)).await?)
    }

    /// Returns the cached principal and its stamp, if it was made from this very record.
    fn cached_from(&self, record_mac: &Mac) -> Option<(&Principal, CacheStamp)> {
        let cached = self.login.cached.as_ref()?;
        let stamp = cached.stamp()?;
        let is_same = stamp.record_mac?.is(record_mac);
        is_same.then_some((cached, *stamp))
    }

    /// Proves that the password is one of the authorization's, or refuses. Every way to a refusal costs
    /// one hash, or two while a previous password works.
    async fn prove(&mut self, authorization: &Authorization) -> Result<Proved, Error> {
        let refuse = |refusal| Err(Error::refused(refusal));
        let hashes = match self.usable_hashes(authorization) {
            Ok(hashes) => hashes,
            Err(refusal) => {
                self.dummy_verify().await?;
                return refuse(refusal);
            }
        };
        let mac = self.login.mac;
        for (which, hash) in hashes.iter() {
            let hash_mac = self.engine.0.keys.hash(hash);
            if self.proof.is_some_and(|proved| proved.matches(&mac, &hash_mac)) {
                return Ok(Proved { proof: Proof::new(mac, hash_mac), which, hashed: false });
            }
        }
        let password = self.engine.0.policy.normalized(self.login.password);
        let Ok(password) = Password::new(password.into_owned()) else {
            self.dummy_verify().await?;
            return refuse(Refusal::WrongPassword);
        };
        let mut wrong: Option<Verified> = None;
        for (which, hash) in hashes.iter() {
            let proof = Proof::new(mac, self.engine.0.keys.hash(hash));
            let verified = self.verify(password.clone(), hash, proof).await?;
            // A login is charged once, whatever the number of passwords: but not before the last one was
            // compared, or a full queue would make guesses free.
            if let Some(wrong) = wrong.take() {
                wrong.refund(self.engine.0.clock.instant());
            }
            if !verified.is_right() {
                wrong = Some(verified);
                continue;
            }
            if !self.engine.0.policy.allows_login(&password) {
                return refuse(Refusal::PasswordChangeRequired);
            }
            self.proof = Some(proof);
            self.verified = Some(verified);
            return Ok(Proved { proof, which, hashed: true });
        }
        refuse(Refusal::WrongPassword)
    }

    /// Returns the hashes of the authorization's passwords that a login may use now and from its address:
    /// at least one.
    fn usable_hashes<'r>(
        &self,
        authorization: &'r Authorization,
    ) -> Result<UsableHashes<'r>, Refusal> {
        if !authorization.status.is_active() {
            return Err(Refusal::Inactive);
        }
        let refusal = |restrictions: &Option<Restrictions>| {
            let clock = self.engine.0.clock.as_ref();
            restrictions.as_ref().and_then(|it| it.refusal(clock, self.login.source))
        };
        let restrictions = Restrictions::of_authorization(authorization, WhichPassword::Present);
        let refused = refusal(&restrictions);
        let present = authorization.password_hash.as_ref().filter(|_| refused.is_none());
        let previous = authorization.previous_password.as_ref().filter(|_| {
            let previous = WhichPassword::Previous;
            refusal(&Restrictions::of_authorization(authorization, previous)).is_none()
        });
        let previous = previous.map(|previous| &previous.hash);
        let hashes = UsableHashes { present, previous };
        if hashes.iter().next().is_some() {
            return Ok(hashes);
        }
        let end = restrictions.and_then(|restrictions| restrictions.ends_at());
        if let (Some(Refusal::Expired), Some(end)) = (refused, end) {
            let record = AuditRecord::new(Kind::Authorization, authorization.id.untyped());
            self.engine.report_end(record.with_name(authorization.username.as_str()), end);
        }
        Err(refused.unwrap_or(Refusal::NoPassword))
    }

    /// Records an admitted login in the login history and the cache.
    fn admit(&self, principal: &Principal) {
        let engine = self.engine;
        // An entry with another password must not become usable again by stale-if-error.
        if let (Some(_), Some(id)) = (&self.verified, principal.inner().id()) {
            engine.0.freshness.invalidate_contradicted(Kind::Authorization, id, engine.moment());
        }
        if let Some(source) = self.login.source {
            engine.0.familiar.record(self.login.username, source, engine.0.clock.now());
        }
        engine.0.cache.insert(principal.clone());
    }

    /// Invalidates the cached principal: the store has contradicted it.
    fn invalidate_cached(&self) {
        if let Some(cached) = &self.login.cached {
            self.engine.0.cache.invalidate_contradicted(cached);
        }
    }

    /// No authorization has the username: the password may be an API token.
    async fn token_as_password(&self, read: ReadStamp) -> Result<Principal, Failed> {
        if let Some(principal) = self.token_of_password(read).await? {
            return Ok(principal);
        }
        self.dummy_verify().await?;
        Err(Error::refused(Refusal::UnknownUsername).into())
    }

    async fn token_of_password(&self, read: ReadStamp) -> Result<Option<Principal>, Failed> {
        let Ok(secret) = std::str::from_utf8(self.login.password) else { return Ok(None) };
        let digest = TokenDigest::of(secret);
        let limit = ReadLimit::with_fallback(self.engine.stale_login(&self.login).is_some());
        let principal =
            self.engine.read_token(secret, digest, false, self.login.source, limit).await?;
        if principal.is_some() {
            let name = self.engine.0.keys.name(self.login.username.as_bytes());
            self.engine.0.cache.insert_absent(name, read);
        }
        Ok(principal)
    }
}

impl Engine {
    /// Checks that the user and the org of a credential are active. Returns when they were read.
    ///
    /// # Errors
    ///
    /// The refusal, when one of them is gone or inactive; errors of the directory.
    pub(super) async fn check_tenants(&self, user: UserId, org: OrgId) -> Result<ReadStamp, Error> {
        let user = self.tenant_status(Tenant::User(user.untyped())).await?;
        if !user.is_active {
            return Err(Error::refused(Refusal::User));
        }
        let org = self.tenant_status(Tenant::Org(org.untyped())).await?;
        if !org.is_active {
            return Err(Error::refused(Refusal::Org));
        }
        Ok(user.read.and(org.read))
    }

    /// Does what [`Engine::check_tenants`] does, within the limit if the store holds users and orgs:
    /// a directory of the host's own has no stale-if-error.
    pub(super) async fn check_tenants_within(
        &self,
        limit: ReadLimit,
        user: UserId,
        org: OrgId,
    ) -> Result<ReadStamp, Failed> {
        let is_of_store = self.0.owns_directory;
        let limit = if is_of_store { limit } else { ReadLimit::Unlimited };
        let checked = self.read_within(limit, self.check_tenants(user, org)).await;
        checked.map_err(|error| Failed::of_tenants(error, is_of_store))
    }

    async fn tenant_status(&self, tenant: Tenant) -> Result<TenantStatus, Error> {
        if let Some(status) = self.0.cache.tenant(tenant, self.moment()) {
            return Ok(status);
        }
        let read = self.before_read();
        let (kind, id, found) = match tenant {
            Tenant::User(id) => {
                let user = self.0.directory.user(id.into()).await?;
                (Kind::User, id, user.map(|user| user.status))
            }
            Tenant::Org(id) => {
                let org = self.0.directory.org(id.into()).await?;
                (Kind::Org, id, org.map(|org| org.status))
            }
        };
        let status = TenantStatus { is_active: found.is_some_and(Status::is_active), read };
        if !status.is_active {
            self.0.freshness.invalidate_contradicted(kind, id, self.moment());
        }
        self.0.cache.insert_tenant(tenant, status);
        Ok(status)
    }
}
