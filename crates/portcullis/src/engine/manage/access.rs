//! The authority under which an operation runs: what it may do, and what the audit reports of it.

use std::net::IpAddr;

use super::names::NameResolver;
use super::{ApiTokenView, AuthorizationView, Precondition, SetupDone, Versioned};
use crate::engine::Engine;
use crate::store::{Entity, Revision};
use crate::{
    Action, Actor, ApiToken, ApiTokenId, AuditAction, AuditOutcome, AuditRecord, Authorization,
    DbrpMapping, Decision, Denial, Error, ErrorKind, Id, Identity, OrgId, Permission, Principal,
    Resource, ResourceType, TokenSecret, UserId,
};

/// An engine, and the authority under which it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) engine: &'a Engine,
    authority: Authority<'a>,
    /// The caller's address, for the audit.
    source: Option<IpAddr>,
    /// What must be true of a record that is changed or deleted.
    precondition: Option<&'a Precondition>,
}

#[derive(Clone, Copy, Debug)]
enum Authority<'a> {
    /// A request without a caller, which sets up a new store: nothing else is allowed.
    Anonymous,
    /// The embedding program: everything is allowed.
    Trusted,
    /// A caller: what its permissions allow.
    Caller(&'a Principal),
}

impl Engine {
    pub(super) fn trusted(&self) -> Access<'_> {
        let authority = Authority::Trusted;
        Access { engine: self, authority, source: None, precondition: None }
    }

    pub(super) fn anonymous(&self, source: Option<IpAddr>) -> Access<'_> {
        let authority = Authority::Anonymous;
        Access { engine: self, authority, source, precondition: None }
    }
}

impl<'a> Access<'a> {
    pub(super) fn of_caller(engine: &'a Engine, caller: &'a Principal) -> Self {
        let authority = Authority::Caller(caller);
        Self { engine, authority, source: None, precondition: None }
    }

    pub(super) fn source(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    pub(super) fn if_match(self, precondition: &'a Precondition) -> Self {
        Self { precondition: Some(precondition), ..self }
    }

    /// Checks the precondition against the revision that a change is about to replace. It comes last:
    /// what a caller may not do is refused as if there was no precondition.
    pub(super) fn check_revision(&self, current: Revision) -> Result<(), Error> {
        self.precondition.map_or(Ok(()), |precondition| precondition.check(current))
    }

    /// Returns the user that owns what is created: the given one, by default the caller's.
    pub(super) fn owner(&self, given: Option<UserId>) -> Result<UserId, Error> {
        match (given, self.authority) {
            (Some(user), _) => Ok(user),
            (None, Authority::Caller(caller)) => Ok(caller.user()),
            (None, Authority::Anonymous | Authority::Trusted) => {
                Err(Error::invalid("user id required: invalid ID"))
            }
        }
    }

    /// Returns the flow in which new passwords take their turns in the queue of the hash pool.
    pub(super) fn hash_flow(&self) -> Option<u64> {
        let Authority::Caller(caller) = self.authority else { return None };
        let id = match caller.identity() {
            Identity::ApiToken(id) => id.untyped(),
            Identity::Authorization(id, _) => id.untyped(),
            Identity::Host => caller.user().untyped(),
        };
        Some(id.as_u64())
    }

    fn check(&self, permission: &Permission) -> Result<(), Denial> {
        match self.authority {
            Authority::Trusted => Ok(()),
            Authority::Anonymous => Err(Denial::NothingHeld),
            Authority::Caller(caller) => {
                match caller.check(permission.action, &permission.resource) {
                    Decision::Allowed(_) => Ok(()),
                    Decision::Denied(denial) => Err(denial),
                }
            }
        }
    }

    pub(super) fn allows(&self, permission: Permission) -> bool {
        self.check(&permission).is_ok()
    }

    pub(super) fn require(&self, permission: Permission) -> Result<(), Error> {
        self.check(&permission).map_err(|denial| match denial {
            Denial::Inactive => token_inactive(),
            _ => unauthorized(format!("{permission} is unauthorized")),
        })
    }

    pub(super) fn require_active(&self) -> Result<(), Error> {
        match self.authority {
            Authority::Caller(caller) if !caller.is_active() => Err(token_inactive()),
            Authority::Anonymous | Authority::Caller(_) | Authority::Trusted => Ok(()),
        }
    }

    pub(super) fn require_read(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require_on(Action::Read, authorization)
    }

    pub(super) fn require_write(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require_on(Action::Write, authorization)
    }

    pub(super) fn require_read_and_write(
        &self,
        authorization: &Authorization,
    ) -> Result<(), Error> {
        self.require_read(authorization)?;
        self.require_write(authorization)
    }

    fn require_on(&self, action: Action, authorization: &Authorization) -> Result<(), Error> {
        self.require_on_credential(action, resource_of(authorization), authorization.user)
    }

    /// Checks what an operation on the API token needs: the same as one on an authorization.
    pub(super) fn require_on_token(&self, action: Action, token: &ApiToken) -> Result<(), Error> {
        self.require_on_credential(action, resource_of_token(token), token.user)
    }

    fn require_on_credential(
        &self,
        action: Action,
        resource: Resource,
        user: UserId,
    ) -> Result<(), Error> {
        self.require(Permission { action, resource })?;
        self.require(Permission { action, resource: Resource::user(user) })
    }

    /// Checks that the permissions may be granted at all, and that the caller holds each of them.
    pub(super) async fn require_grants(
        &self,
        permissions: &[Permission],
        names: &mut NameResolver,
    ) -> Result<(), Error> {
        if let Authority::Caller(_) = self.authority {
            for permission in permissions {
                let resource = self.reached(&permission.resource, names).await?;
                let reached = Permission { resource, ..*permission };
                if !self.allows(*permission) || !self.allows(reached) {
                    return Err(forbidden(format!(
                        "permission {permission} is not allowed: {permission} is unauthorized"
                    )));
                }
            }
        }
        refuse_instance(permissions)
    }

    /// Returns the resource that a grant reaches. A grant by id reaches the resource with that id,
    /// whatever org the grant names. The caller must hold the resource in its real org: naming
    /// another org must gain nothing.
    async fn reached(
        &self,
        granted: &Resource,
        names: &mut NameResolver,
    ) -> Result<Resource, Error> {
        let Some(id) = granted.id else { return Ok(*granted) };
        let by_id = Resource::all(granted.resource_type).with_id(id);
        Ok(match granted.resource_type {
            // A bucket that does not exist is refused later, with an error of its own.
            ResourceType::Buckets => match names.bucket(id.into()).await? {
                Some(bucket) => Resource::bucket(bucket.org, bucket.id),
                None => *granted,
            },
            // An authorization and an API token may have the same id: then the grant reaches both.
            ResourceType::Authorizations => {
                let authorization = self.engine.authorization(id.into()).await?;
                let token = self.engine.api_token(ApiTokenId::from(id)).await?;
                match (authorization, token) {
                    (Some(authorization), None) => resource_of(&authorization),
                    (None, Some(token)) => resource_of_token(&token),
                    (Some(_), Some(_)) | (None, None) => by_id,
                }
            }
            // The engine does not know the orgs of other resources.
            _ => by_id,
        })
    }

    /// Runs a change and reports its outcome to the audit sink, also when it is dropped before the
    /// end. Refuses the change while the sink cannot record it.
    pub(super) async fn audited<T: Subject>(
        &self,
        action: AuditAction,
        record: AuditRecord<'_>,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        if self.engine.0.audit.is_none() {
            return work.await;
        }
        let mut pending = Pending { access: *self, action, record };
        let result = match self.engine.refuse_unaudited() {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        let subject = result.as_ref().ok().and_then(Subject::id);
        pending.record.id = subject.or(pending.record.id);
        self.report_result(action, pending.record, &result);
        std::mem::forget(pending);
        result
    }

    fn actor(&self) -> Actor<'a> {
        match self.authority {
            Authority::Anonymous => Actor::Anonymous,
            Authority::Trusted => Actor::Host,
            Authority::Caller(caller) => Actor::Principal(caller),
        }
    }

    pub(super) fn report(
        &self,
        action: AuditAction,
        record: AuditRecord<'_>,
        outcome: AuditOutcome<'_>,
    ) {
        self.engine.report(self.actor(), self.source, action, record, outcome);
    }

    pub(super) fn report_result<T>(
        &self,
        action: AuditAction,
        record: AuditRecord<'_>,
        result: &Result<T, Error>,
    ) {
        self.engine.report_change(self.actor(), self.source, action, record, result);
    }
}

/// Returns the resource for all authorizations of the org.
pub(super) fn authorizations_of(org: OrgId) -> Resource {
    Resource::all(ResourceType::Authorizations).in_org(org)
}

fn resource_of(authorization: &Authorization) -> Resource {
    authorizations_of(authorization.org).with_id(authorization.id)
}

fn resource_of_token(token: &ApiToken) -> Resource {
    authorizations_of(token.org).with_id(token.id)
}

/// Refuses permissions on the instance: setup alone grants them.
pub(super) fn refuse_instance(permissions: &[Permission]) -> Result<(), Error> {
    let instance = |p: &Permission| p.resource.resource_type == ResourceType::Instance;
    if permissions.iter().any(instance) {
        return Err(forbidden(
            "authorizations cannot be created with the instance type, it is only used during setup"
                .to_owned(),
        ));
    }
    Ok(())
}

fn forbidden(message: String) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

fn unauthorized(message: String) -> Error {
    Error::new(ErrorKind::Unauthorized, message)
}

fn token_inactive() -> Error {
    unauthorized("token is inactive".to_owned())
}

/// What a change returns, and the id of the record that the audit names.
pub(super) trait Subject {
    fn id(&self) -> Option<Id>;
}

impl Subject for () {
    fn id(&self) -> Option<Id> {
        None
    }
}

impl<E: Entity> Subject for E {
    fn id(&self) -> Option<Id> {
        Some(Entity::id(self))
    }
}

/// An entity and its revision.
impl<E: Entity> Subject for (E, Revision) {
    fn id(&self) -> Option<Id> {
        Some(self.0.id())
    }
}

impl<T: Subject> Subject for Versioned<T> {
    fn id(&self) -> Option<Id> {
        self.value.id()
    }
}

impl Subject for AuthorizationView {
    fn id(&self) -> Option<Id> {
        Some(self.authorization.id.untyped())
    }
}

impl Subject for DbrpMapping {
    fn id(&self) -> Option<Id> {
        Some(self.id.untyped())
    }
}

impl Subject for (ApiToken, TokenSecret) {
    fn id(&self) -> Option<Id> {
        Some(self.0.id.untyped())
    }
}

impl Subject for ApiTokenView {
    fn id(&self) -> Option<Id> {
        Some(self.token.id.untyped())
    }
}

impl Subject for (Versioned<ApiTokenView>, TokenSecret) {
    fn id(&self) -> Option<Id> {
        self.0.id()
    }
}

impl Subject for SetupDone {
    fn id(&self) -> Option<Id> {
        Some(self.org.id.untyped())
    }
}

/// A change whose outcome is still to be reported.
struct Pending<'a> {
    access: Access<'a>,
    action: AuditAction,
    record: AuditRecord<'a>,
}

/// The change was dropped half way, and its commit may have been made all the same.
impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let outcome = AuditOutcome::Failed("given up before the outcome was known");
        self.access.report(self.action, self.record, outcome);
    }
}
