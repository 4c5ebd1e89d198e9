//! The engine's operations for callers of the management API.

mod api_tokens;
mod tenants;

use std::net::IpAddr;
use std::num::NonZeroUsize;

use futures_util::future::try_join;

use super::access::Access;
use super::authorizations::{check_permissions, not_found, unable_to_create};
use super::list::Scan;
use super::{
    AuthorizationPage, AuthorizationView, NameResolver, Precondition, ResourceNames, Versioned,
};
#[cfg(doc)]
use crate::ErrorKind;
use crate::engine::Engine;
use crate::store::{Kind, Page, StoreExt};
use crate::{
    AuditAction, AuditRecord, Authorization, AuthorizationFilter, AuthorizationId,
    AuthorizationUpdateDraft, Bucket, BucketId, DbrpFilter, DbrpId, DbrpMapping, DbrpUpdate, Error,
    KeepPrevious, NewAuthorization, NewDbrp, Org, OrgId, Permission, Principal, Resource, User,
    UserId,
};

/// The engine's operations with a caller's permissions enforced (`docs/spec/callers.md`):
/// a caller reads, changes and grants only what its permissions allow.
///
/// A record that exists and that the caller may not use is [`ErrorKind::Unauthorized`], with the
/// missing permission in the message; one that does not exist is [`ErrorKind::NotFound`]. Lists and
/// lookups do not distinguish the two.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalfOf<'a>(Access<'a>, ShowsLastUse);

/// Whether lists show last uses.
type ShowsLastUse = bool;

impl Engine {
    /// Returns the operations with the caller's permissions enforced.
    pub fn on_behalf_of<'a>(&'a self, caller: &'a Principal) -> OnBehalfOf<'a> {
        OnBehalfOf(Access::of_caller(self, caller), false)
    }

    /// Returns the same operations for the embedding program, to which everything is permitted: with their
    /// names and revisions, and with a [precondition](OnBehalfOf::if_match). Never return it to a client.
    ///
    /// ```
    /// # use portcullis::{Engine, Error, Name, OrgId, Precondition, TenantUpdate};
    /// # async fn rename(engine: &Engine, id: OrgId) -> Result<(), Error> {
    /// let org = engine.on_behalf_of_host().org(id).await?;
    /// let unchanged = org.revision.map_or_else(Precondition::none, Precondition::revision);
    /// let update = TenantUpdate::name(Name::new("acme")?);
    /// engine.on_behalf_of_host().if_match(&unchanged).update_org(id, update).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_behalf_of_host(&self) -> OnBehalfOf<'_> {
        OnBehalfOf(self.trusted(), false)
    }
}

impl<'a> OnBehalfOf<'a> {
    /// Sets the caller's address, which an [`AuditSink`](crate::AuditSink) receives. Default: none.
    #[must_use]
    pub fn source(self, source: Option<IpAddr>) -> Self {
        Self(self.0.source(source), self.1)
    }

    /// Sets whether lists show when each credential was last used, which takes about as long as the list
    /// itself. Default: no. A list with the filter `unused_since` and a single credential always do.
    #[must_use]
    pub fn show_last_use(self, show: bool) -> Self {
        Self(self.0, show)
    }

    /// Sets what must be true of a record that an operation changes or deletes, with its password. It is
    /// checked last, so that a caller learns nothing that it may not know, and in the same commit as the
    /// change. Otherwise the operation fails with [`ErrorKind::PreconditionFailed`], and nothing is changed.
    /// Default: [`Precondition::none`]. Reads, lists, previews and creations ignore it.
    ///
    /// For a DBRP mapping, the record is that of its database with all of its mappings.
    #[must_use]
    pub fn if_match(self, precondition: &'a Precondition) -> Self {
        Self(self.0.if_match(precondition), self.1)
    }
}

impl OnBehalfOf<'_> {
    /// Creates an authorization, for the caller's own user unless another one is named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller may not create authorizations in the org or
    /// for the user, [`ErrorKind::Forbidden`] when it does not hold what it grants; otherwise as
    /// [`Engine::create_authorization`].
    pub async fn create_authorization(
        &self,
        new: NewAuthorization,
    ) -> Result<Versioned<AuthorizationView>, Error> {
        let name = new.username.clone();
        let record = AuditRecord::named(Kind::Authorization, name.as_str());
        let work = async {
            let mut names = self.0.engine.name_resolver();
            let user = self.0.check_creation(&new, &mut names).await?;
            // Names are resolved before the write: nothing may fail after it.
            let resources = names.resource_names(&new.permissions).await?;
            let owner = names.owner_names(new.org, user).await?.map_err(|_| unable_to_create())?;
            let (authorization, revision) = self.0.insert_checked(new, user).await?;
            Ok(Versioned::new(owner.view(authorization, resources), revision))
        };
        self.0.audited(AuditAction::Create, record, work).await
    }

    /// Returns the authorization with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org does not exist;
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn authorization(
        &self,
        id: AuthorizationId,
    ) -> Result<Versioned<AuthorizationView>, Error> {
        let found = self.0.engine.store().find::<Authorization>(id.untyped()).await?;
        let (authorization, revision) = found.ok_or_else(not_found)?;
        let readable = self.0.require_read(&authorization);
        if readable.is_err() {
            let record = AuditRecord::new(Kind::Authorization, id.untyped());
            self.0.report_result(AuditAction::Read, record, &readable);
        }
        readable?;
        let mut names = self.0.engine.name_resolver();
        // All lookups at once: the response waits for the slowest, not for their sum.
        let last_use = self.0.engine.last_use(id);
        let authorizations = std::slice::from_ref(&authorization);
        let (last_use, ()) = try_join(last_use, names.prefetch(authorizations)).await?;
        let view = AuthorizationView { last_use, ..names.view(authorization).await?? };
        Ok(Versioned::new(view, revision))
    }

    /// Lists the authorizations that match the filter and that the caller may read, as
    /// [`Engine::list_authorizations`] does. Those whose user or org does not exist are left out.
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
    ) -> Result<AuthorizationPage<AuthorizationView>, Error> {
        self.list(filter, after, limit, usize::MAX, &mut self.0.engine.name_resolver()).await
    }

    /// Lists as [`OnBehalfOf::list_authorizations`] does, but ends a page early when its items take
    /// much memory: for a response that streams all pages. A page may be empty and have a next one.
    /// The resolver caches names from page to page.
    ///
    /// # Errors
    ///
    /// As [`OnBehalfOf::list_authorizations`].
    pub async fn list_authorization_pages(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
        names: &mut NameResolver,
    ) -> Result<AuthorizationPage<AuthorizationView>, Error> {
        self.list(filter, after, limit, Page::BYTES, names).await
    }

    async fn list(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
        max_bytes: usize,
        names: &mut NameResolver,
    ) -> Result<AuthorizationPage<AuthorizationView>, Error> {
        self.0.require_active()?;
        let mut bytes = 0;
        let mut page = AuthorizationPage::empty();
        let scan = Scan::new(self.0.engine.store(), filter, after, limit);
        let mut scan = scan.with_uses(self.1);
        while let Some(mut found) = scan.next().await? {
            found.retain(|authorization| self.0.require_read(authorization).is_ok());
            let room = limit.get() - page.items.len();
            names.prefetch(found.get(..room).unwrap_or(&found)).await?;
            for authorization in found {
                bytes += weight(&authorization);
                let last_use = scan.last_use(&authorization);
                let Ok(view) = names.view(authorization).await? else { continue };
                let view = AuthorizationView { last_use, ..view };
                if bytes >= max_bytes {
                    page.next = Some(view.authorization.id);
                    page.items.push(view);
                    return Ok(page);
                }
                if !page.push(view, |view| view.authorization.id, limit) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Changes status or description. Needs read and write.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org does not exist;
    /// [`ErrorKind::Unauthorized`]; only then [`ErrorKind::Invalid`] for an unknown status;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: impl Into<AuthorizationUpdateDraft>,
    ) -> Result<Versioned<AuthorizationView>, Error> {
        let draft: AuthorizationUpdateDraft = update.into();
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async {
            let current = self.0.read_for_change(id).await?;
            let mut names = self.0.engine.name_resolver();
            let owner = names.owner_names(current.0.org, current.0.user).await??;
            let permissions = current.0.permissions.clone();
            let resources = names.resource_names(&permissions).await?;
            let update = draft.validate()?;
            let (authorization, revision) = self.0.update(current, &update).await?;
            // The permissions may have been replaced meanwhile. The change is made by now, so names
            // that cannot be resolved are left out.
            let resources = if authorization.permissions == permissions {
                resources
            } else {
                let mut names = self.0.engine.name_resolver();
                names.resource_names(&authorization.permissions).await.unwrap_or_else(|_| {
                    vec![ResourceNames::default(); authorization.permissions.len()]
                })
            };
            Ok(Versioned::new(owner.view(authorization, resources), revision))
        };
        self.0.audited(AuditAction::Update, record, work).await
    }

    /// Replaces the permissions. Needs read and write, and everything that is granted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`] when the caller does not hold what it grants; otherwise as
    /// [`OnBehalfOf::update_authorization`] and [`Engine::set_permissions`].
    pub async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
    ) -> Result<Versioned<AuthorizationView>, Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = async {
            check_permissions(&permissions)?;
            let current = self.0.read_for_change(id).await?;
            let org = current.0.org;
            let mut names = self.0.engine.name_resolver();
            let owner = names.owner_names(org, current.0.user).await??;
            self.0.check_new_permissions(&permissions, org, &mut names).await?;
            let resources = names.resource_names(&permissions).await?;
            let (authorization, revision) =
                self.0.replace_permissions(current, &permissions).await?;
            Ok(Versioned::new(owner.view(authorization, resources), revision))
        };
        self.0.audited(AuditAction::SetPermissions, record, work).await
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
        let work = self.0.set_password(id, password.as_ref(), None);
        self.0.audited(AuditAction::SetPassword, record, work).await
    }

    /// Sets the password, and keeps the previous one working for a time. Needs what
    /// [`OnBehalfOf::set_password`] needs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::rotate_password`].
    pub async fn rotate_password(
        &self,
        id: AuthorizationId,
        password: impl AsRef<[u8]> + Send + Sync,
        keep: KeepPrevious,
    ) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = self.0.set_password(id, password.as_ref(), Some(keep));
        self.0.audited(AuditAction::RotatePassword, record, work).await
    }

    /// Ends the previous password of a rotation before its time. Needs what
    /// [`OnBehalfOf::set_password`] needs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::end_previous_password`].
    pub async fn end_previous_password(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        let work = self.0.end_previous_password(id);
        self.0.audited(AuditAction::EndPreviousPassword, record, work).await
    }

    /// Deletes the authorization. Needs write; read is not needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unauthorized`]; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn delete_authorization(&self, id: AuthorizationId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::Authorization, id.untyped());
        self.0.audited(AuditAction::Delete, record, self.0.delete(id)).await
    }

    /// Creates a DBRP mapping. Needs read and write on the bucket, and write on all buckets of the org
    /// or on its DBRP mappings: a mapping changes what permissions on the bucket permit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::create_dbrp`].
    pub async fn create_dbrp(&self, new: NewDbrp) -> Result<Versioned<DbrpMapping>, Error> {
        self.0.create_dbrp(new).await
    }

    /// Returns the DBRP mapping with the id, which may be virtual. Needs read on its bucket.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unauthorized`]; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn dbrp(&self, org: OrgId, id: DbrpId) -> Result<Versioned<DbrpMapping>, Error> {
        self.0.dbrp(org, id).await
    }

    /// Lists the DBRP mappings that match and whose buckets the caller may read, as
    /// [`Engine::list_dbrps`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller's token is inactive; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn list_dbrps(&self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        self.0.list_dbrps(filter).await
    }

    /// Changes the DBRP mapping with the id. Needs what [`OnBehalfOf::create_dbrp`] needs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::update_dbrp`].
    pub async fn update_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
        update: DbrpUpdate,
    ) -> Result<Versioned<DbrpMapping>, Error> {
        self.0.update_dbrp(org, id, update).await
    }

    /// Deletes the DBRP mapping with the id. Needs what [`OnBehalfOf::create_dbrp`] needs, but for read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; otherwise as [`Engine::delete_dbrp`].
    pub async fn delete_dbrp(&self, org: OrgId, id: DbrpId) -> Result<(), Error> {
        self.0.delete_dbrp(org, id).await
    }

    /// Returns the user with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller may not read it, whether it exists or not;
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn user(&self, id: UserId) -> Result<Versioned<User>, Error> {
        self.0.require(Permission::read(Resource::user(id)))?;
        self.found_user(id).await
    }

    async fn found_user(&self, id: UserId) -> Result<Versioned<User>, Error> {
        let of_host = || self.0.engine.directory().user(id);
        let user = self.0.engine.versioned(id.untyped(), of_host).await?;
        user.ok_or_else(|| Error::not_found("user not found"))
    }

    /// Returns the org with the id.
    ///
    /// # Errors
    ///
    /// As [`OnBehalfOf::user`].
    pub async fn org(&self, id: OrgId) -> Result<Versioned<Org>, Error> {
        self.0.require(Permission::read(Resource::org(id)))?;
        let of_host = || self.0.engine.directory().org(id);
        let org = self.0.engine.versioned(id.untyped(), of_host).await?;
        org.ok_or_else(|| Error::not_found("organization not found"))
    }

    /// Returns the bucket with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it does not exist and when the caller may not read it: the
    /// permission it needs depends on the bucket's org. [`ErrorKind::Unauthorized`] when the
    /// credential is inactive; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn bucket(&self, id: BucketId) -> Result<Versioned<Bucket>, Error> {
        self.0.readable_bucket(id).await
    }

    /// Returns the user that the caller's credential belongs to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it does not exist; [`ErrorKind::Unauthorized`] when the
    /// credential is inactive; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn me(&self) -> Result<Versioned<User>, Error> {
        self.0.require_active()?;
        self.found_user(self.0.owner(None)?).await
    }

    /// Tells whether the caller may read the user.
    pub fn may_read_user(&self, user: &User) -> bool {
        self.0.allows(Permission::read(Resource::user(user.id)))
    }

    /// Tells whether the caller may read the org.
    pub fn may_read_org(&self, org: &Org) -> bool {
        self.0.allows(Permission::read(Resource::org(org.id)))
    }

    /// Tells whether the caller may read the bucket.
    pub fn may_read_bucket(&self, bucket: &Bucket) -> bool {
        self.0.allows(Permission::read(Resource::bucket(bucket.org, bucket.id)))
    }

    /// Checks that the caller's credential is active.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] `token is inactive`.
    pub fn require_active(&self) -> Result<(), Error> {
        self.0.require_active()
    }
}

/// About how many bytes an authorization takes in memory.
fn weight(authorization: &Authorization) -> usize {
    authorization.username.as_str().len()
        + authorization.description.len()
        + authorization.permissions.len() * 2 * size_of::<Permission>()
}
