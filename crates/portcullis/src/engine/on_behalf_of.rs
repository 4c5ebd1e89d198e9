//! Managing authorizations on somebody's behalf: nobody reads, changes or grants what they do not
//! hold.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use super::authorizations::{check_permissions, not_found, refuse_instance, unable_to_create};
use super::describe::NameResolver;
use super::list::Scan;
use super::report::By;
use super::{AuthorizationPage, Described, Engine, ResourceNames};
use crate::store::{Kind, Page};
use crate::{
    Action, Actor, AuditAction, AuditRecord, Authorization, AuthorizationFilter, AuthorizationId,
    AuthorizationUpdateDraft, Bucket, BucketId, Decision, Denial, Error, ErrorKind, Id,
    NewAuthorization, Org, OrgId, Permission, Principal, Resource, ResourceType, User, UserId,
};

/// The engine's operations with a caller's permissions enforced (`docs/spec/callers.md`).
///
/// What exists and may not be touched is [`ErrorKind::Unauthorized`] with the missing permission
/// in the message; what does not exist is [`ErrorKind::NotFound`]. Lists and lookups do not tell
/// the two apart.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalfOf<'a> {
    engine: &'a Engine,
    caller: &'a Principal,
    source: Option<IpAddr>,
}

fn authorizations_of(org: OrgId) -> Resource {
    Resource::all(ResourceType::Authorizations).in_org(org)
}

fn this(authorization: &Authorization) -> Resource {
    authorizations_of(authorization.org).with_id(authorization.id)
}

/// About how many bytes an authorization takes in memory.
fn weight(authorization: &Authorization) -> usize {
    authorization.username.as_str().len()
        + authorization.description.len()
        + authorization.permissions.len() * 2 * size_of::<Permission>()
}

fn unauthorized(message: String) -> Error {
    Error::new(ErrorKind::Unauthorized, message)
}

fn token_inactive() -> Error {
    unauthorized("token is inactive".to_owned())
}

impl<'a> OnBehalfOf<'a> {
    pub(super) fn new(engine: &'a Engine, caller: &'a Principal) -> Self {
        Self { engine, caller, source: None }
    }

    /// The same for a caller at an address, which is what an [`AuditSink`](crate::AuditSink) is
    /// told. Default: none.
    #[must_use]
    pub fn from_source(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    /// Creates an authorization, for the caller's own user unless another one is named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller may not create authorizations in the org or
    /// for the user, [`ErrorKind::Forbidden`] when they do not hold what they grant; otherwise as
    /// [`Engine::create_authorization`].
    pub async fn create_authorization(&self, new: NewAuthorization) -> Result<Described, Error> {
        let name = new.username.clone();
        let record = AuditRecord::named(Kind::Authorization, name.as_str());
        let work = async {
            let user = new.user.unwrap_or(self.caller.user());
            check_permissions(&new.permissions)?;
            self.require(Permission::write(authorizations_of(new.org)))?;
            self.require(Permission::write(Resource::user(user)))?;
            let mut lookups = self.engine.lookups();
            self.require_grants(&new.permissions, &mut lookups).await?;
            self.engine.check_new(&new, user, &mut lookups).await?;
            // Names are looked up before the write, so that nothing can fail after it.
            let resources = lookups.resource_names(&new.permissions).await?;
            let (Some(org), Some(owner)) =
                (lookups.org(new.org).await?.cloned(), lookups.user(user).await?)
            else {
                return Err(unable_to_create());
            };
            let (org, user_name) = (org.name, owner.name.clone());
            let authorization = self.engine.insert_new(new, user).await?;
            Ok(Described { authorization, org, user: user_name, resources })
        };
        self.audited(
            AuditAction::Create,
            record,
            |made: &Described| Some(made.authorization.id.untyped()),
            work,
        )
        .await
    }

    /// Returns the authorization with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org is gone; [`ErrorKind::Unauthorized`];
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn authorization(&self, id: AuthorizationId) -> Result<Described, Error> {
        let authorization = self.engine.authorization(id).await?.ok_or_else(not_found)?;
        let readable = self.require_read(&authorization);
        if readable.is_err() {
            let record = AuditRecord::new(Kind::Authorization, id.untyped());
            let By { actor, source } = self.by();
            self.engine.report_change(actor, source, AuditAction::Read, record, &readable);
        }
        readable?;
        let mut lookups = self.engine.lookups();
        // All at once, so that the answer waits for one of them and not for each.
        lookups.prepare(std::slice::from_ref(&authorization)).await?;
        Ok(lookups.describe(authorization).await??)
    }

    /// Lists the authorizations that the filter means and the caller may read, as
    /// [`Engine::list_authorizations`] does. Those whose user or org is gone are left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller's token is inactive;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn list_authorizations(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
    ) -> Result<AuthorizationPage<Described>, Error> {
        self.list(filter, after, limit, usize::MAX, &mut self.engine.lookups()).await
    }

    /// Lists as [`OnBehalfOf::list_authorizations`] does, but ends early when what was found takes
    /// much memory: for whoever goes through all of it, part by part. A part may be empty and have
    /// a next one. What is looked up for one part is known for the next.
    ///
    /// # Errors
    ///
    /// As [`OnBehalfOf::list_authorizations`].
    pub async fn list_authorization_pages(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
        lookups: &mut NameResolver,
    ) -> Result<AuthorizationPage<Described>, Error> {
        self.list(filter, after, limit, Page::BYTES, lookups).await
    }

    async fn list(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
        max_bytes: usize,
        lookups: &mut NameResolver,
    ) -> Result<AuthorizationPage<Described>, Error> {
        self.require_active()?;
        let mut bytes = 0;
        let mut listing = AuthorizationPage::empty();
        let mut scan = Scan::new(self.engine.store(), filter, after, limit);
        while let Some(mut found) = scan.next().await? {
            found.retain(|authorization| self.require_read(authorization).is_ok());
            let room = limit.get() - listing.items.len();
            lookups.prepare(found.get(..room).unwrap_or(&found)).await?;
            for authorization in found {
                bytes += weight(&authorization);
                let Ok(described) = lookups.describe(authorization).await? else { continue };
                if bytes >= max_bytes {
                    listing.next = Some(described.authorization.id);
                    listing.items.push(described);
                    return Ok(listing);
                }
                if !listing.push(described, |described| described.authorization.id, limit) {
                    return Ok(listing);
                }
            }
        }
        Ok(listing)
    }

    /// Changes status or description. Needs read and write.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org is gone; [`ErrorKind::Unauthorized`];
    /// only then [`ErrorKind::Invalid`] for an unknown status; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: impl Into<AuthorizationUpdateDraft>,
    ) -> Result<Described, Error> {
        let draft: AuthorizationUpdateDraft = update.into();
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async {
            let before = self.changeable(id).await?;
            let update = draft.validate()?;
            let authorization = self
                .engine
                .update_checked(self.by(), id, &update, |current| {
                    self.require_read_and_write(current)
                })
                .await?;
            // Somebody may have replaced the permissions meanwhile. The change is made by now, so that
            // a name that cannot be looked up is left out.
            let resources = if authorization.permissions == before.authorization.permissions {
                before.resources
            } else {
                let names = self.engine.lookups().resource_names(&authorization.permissions).await;
                names.unwrap_or_else(|_| {
                    vec![ResourceNames::default(); authorization.permissions.len()]
                })
            };
            Ok(Described { authorization, resources, org: before.org, user: before.user })
        };
        self.audited(AuditAction::Update, record, |_| None, work).await
    }

    /// Replaces the permissions. Needs read and write, and everything that is granted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`] when the caller does not hold what they grant; otherwise as
    /// [`OnBehalfOf::update_authorization`] and [`Engine::set_permissions`].
    pub async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
    ) -> Result<Described, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async {
            check_permissions(&permissions)?;
            let before = self.changeable(id).await?;
            let mut lookups = self.engine.lookups();
            self.require_grants(&permissions, &mut lookups).await?;
            let resources = lookups.resource_names(&permissions).await?;
            let authorization = self
                .engine
                .set_permissions_checked(id, permissions, |current| {
                    self.require_read_and_write(current)
                })
                .await?;
            Ok(Described { authorization, resources, ..before })
        };
        self.audited(AuditAction::SetPermissions, record, |_| None, work).await
    }

    /// By what new passwords of callers take turns in the queue of the hash pool.
    fn flow(&self) -> u64 {
        let id = self.caller.facts().id();
        id.unwrap_or_else(|| self.caller.user().untyped()).as_u64()
    }

    /// Sets the password. Needs write on the user; as in the reference, no permission on
    /// authorizations.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::set_password`].
    pub async fn set_password(
        &self,
        id: AuthorizationId,
        password: impl AsRef<[u8]> + Send + Sync,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async {
            self.engine
                .set_password_checked(id, password.as_ref(), Some(self.flow()), |current| {
                    self.require(Permission::write(Resource::user(current.user)))
                })
                .await
        };
        self.audited(AuditAction::SetPassword, record, |_| None, work).await
    }

    /// Deletes the authorization. Needs write; read is not needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unauthorized`]; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn delete_authorization(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work =
            async { self.engine.delete_checked(id, |current| self.require_write(current)).await };
        self.audited(AuditAction::Delete, record, |_| None, work).await
    }

    /// Returns the user with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller may not read it, whether it exists or not;
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn user(&self, id: UserId) -> Result<User, Error> {
        self.require(Permission::read(Resource::user(id)))?;
        self.engine.directory().user(id).await?.ok_or_else(|| Error::not_found("user not found"))
    }

    /// Returns the org with the id.
    ///
    /// # Errors
    ///
    /// As [`OnBehalfOf::user`].
    pub async fn org(&self, id: OrgId) -> Result<Org, Error> {
        self.require(Permission::read(Resource::org(id)))?;
        let org = self.engine.directory().org(id).await?;
        org.ok_or_else(|| Error::not_found("organization not found"))
    }

    /// Returns the bucket with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it does not exist and when the caller may not read it: which
    /// permission that takes depends on its org. [`ErrorKind::Unauthorized`] when the credential is
    /// inactive; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn bucket(&self, id: BucketId) -> Result<Bucket, Error> {
        self.require_active()?;
        let bucket = self.engine.directory().bucket(id).await?;
        let readable = bucket.filter(|bucket| self.may_read_bucket(bucket));
        readable.ok_or_else(|| Error::not_found("bucket not found"))
    }

    /// Tells whether the caller may see the user.
    pub fn may_read_user(&self, user: &User) -> bool {
        self.may_read(Resource::user(user.id))
    }

    /// Tells whether the caller may see the org.
    pub fn may_read_org(&self, org: &Org) -> bool {
        self.may_read(Resource::org(org.id))
    }

    /// Tells whether the caller may see the bucket.
    pub fn may_read_bucket(&self, bucket: &Bucket) -> bool {
        self.may_read(Resource::bucket(bucket.org, bucket.id))
    }

    /// Checks that the caller's credential is active.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] `token is inactive`.
    pub fn require_active(&self) -> Result<(), Error> {
        match self.caller.check(Action::Read, &Resource::user(self.caller.user())) {
            Decision::Denied(Denial::Inactive) => Err(token_inactive()),
            _ => Ok(()),
        }
    }

    /// Returns the user that the caller's credential belongs to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it is gone; [`ErrorKind::Unauthorized`] when the credential
    /// is inactive; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn me(&self) -> Result<User, Error> {
        self.require_active()?;
        let me: UserId = self.caller.user();
        self.engine.directory().user(me).await?.ok_or_else(|| Error::not_found("user not found"))
    }

    async fn audited<T>(
        &self,
        action: AuditAction,
        record: AuditRecord<'_>,
        id_of: impl Fn(&T) -> Option<Id> + Send,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.engine.audited(self.by(), action, record, id_of, work).await
    }

    fn by(&self) -> By<'_> {
        By { actor: Actor::Principal(self.caller), source: self.source }
    }

    fn may_read(&self, resource: Resource) -> bool {
        self.caller.check(Action::Read, &resource).is_allowed()
    }

    /// Returns the authorization if the caller may change it and its user and org are there.
    async fn changeable(&self, id: AuthorizationId) -> Result<Described, Error> {
        let authorization = self.engine.authorization(id).await?.ok_or_else(not_found)?;
        self.require_read_and_write(&authorization)?;
        Ok(self.engine.lookups().describe(authorization).await??)
    }

    fn require(&self, permission: Permission) -> Result<(), Error> {
        match self.caller.check(permission.action, &permission.resource) {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(Denial::Inactive) => Err(token_inactive()),
            Decision::Denied(_) => Err(unauthorized(format!("{permission} is unauthorized"))),
        }
    }

    fn require_read(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require(Permission::read(this(authorization)))?;
        self.require(Permission::read(Resource::user(authorization.user)))
    }

    fn require_write(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require(Permission::write(this(authorization)))?;
        self.require(Permission::write(Resource::user(authorization.user)))
    }

    fn require_read_and_write(&self, authorization: &Authorization) -> Result<(), Error> {
        self.require_read(authorization)?;
        self.require_write(authorization)
    }

    /// Checks that the caller holds everything that they grant, and that it may be granted.
    async fn require_grants(
        &self,
        permissions: &[Permission],
        lookups: &mut NameResolver,
    ) -> Result<(), Error> {
        for permission in permissions {
            let Permission { action, resource } = permission;
            let reached = self.reached(resource, lookups).await?;
            let holds = |resource| self.caller.check(*action, resource).is_allowed();
            if !holds(resource) || !holds(&reached) {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    format!("permission {permission} is not allowed: {permission} is unauthorized"),
                ));
            }
        }
        refuse_instance(permissions)
    }

    /// Returns the resource that a grant reaches. One by id reaches the resource with that id
    /// whatever org it names, so what the caller must hold is the resource where it really is:
    /// naming somebody else's under an org of one's own must gain nothing.
    async fn reached(
        &self,
        granted: &Resource,
        lookups: &mut NameResolver,
    ) -> Result<Resource, Error> {
        let Some(id) = granted.id else { return Ok(*granted) };
        let by_id = Resource::all(granted.resource_type).with_id(id);
        Ok(match granted.resource_type {
            // One that does not exist is refused for that, later.
            ResourceType::Buckets => match lookups.bucket(id.into()).await? {
                Some(bucket) => Resource::bucket(bucket.org, bucket.id),
                None => *granted,
            },
            ResourceType::Authorizations => match self.engine.authorization(id.into()).await? {
                Some(authorization) => this(&authorization),
                None => by_id,
            },
            // Which org they are in, if any, is not known here.
            _ => by_id,
        })
    }
}
