//! The result of a login.

use std::fmt;
use std::sync::Arc;

use crate::metrics::{ALLOWED, DENIED};
use crate::stamp::{CacheStamp, Restrictions, UseDue, WhichPassword};
use crate::{
    Action, ApiToken, ApiTokenId, Authorization, AuthorizationId, Decision, Denial, Explanation,
    Id, OrgId, Permission, PermissionSet, Resource, Status, UserId, Username,
};

/// The result of a login: an identity and its permissions. Cheap to clone and to check.
#[derive(Clone)]
pub struct Principal(Arc<PrincipalInner>);

/// The content of a principal. The cache holds the same allocation, so that one lookup finds the
/// entry, whether it is valid, and what it permits.
///
/// The fields are in the order in which a lookup reads them, so that it waits for few cache lines.
#[derive(Clone)]
#[repr(C)]
pub(crate) struct PrincipalInner {
    /// How the cache finds and checks it; `None` for [`Principal::trusted`].
    stamp: Option<CacheStamp>,
    org: OrgId,
    user: UserId,
    /// Until when and from where the credential may be used; `None` without a restriction.
    restrictions: Option<Arc<Restrictions>>,
    /// When its next use is to be noted.
    use_due: UseDue,
    identity: Identity,
    status: Status,
    permissions: PermissionSet,
}

/// The credential that a [`Principal`] was authenticated with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// An API token.
    ApiToken(ApiTokenId),
    /// An authorization, by its username and password.
    Authorization(AuthorizationId, Username),
    /// None: the embedding program has authenticated it ([`Principal::trusted`]).
    Host,
}

impl Principal {
    /// Makes a principal that the embedding program has authenticated by itself. The engine does not
    /// check it again: it is the program's task to make one only for an active user.
    pub fn trusted(
        org: OrgId,
        user: UserId,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        Self(Arc::new(PrincipalInner {
            stamp: None,
            restrictions: None,
            use_due: UseDue::default(),
            identity: Identity::Host,
            org,
            user,
            status: Status::Active,
            permissions: PermissionSet::new(permissions),
        }))
    }

    pub(crate) fn from_authorization(
        authorization: &Authorization,
        which: WhichPassword,
        stamp: CacheStamp,
    ) -> Self {
        Self(Arc::new(PrincipalInner {
            stamp: Some(stamp),
            restrictions: Restrictions::of_authorization(authorization, which).map(Arc::new),
            use_due: UseDue::default(),
            identity: Identity::Authorization(authorization.id, authorization.username.clone()),
            org: authorization.org,
            user: authorization.user,
            status: authorization.status,
            permissions: PermissionSet::new(authorization.permissions.iter().copied()),
        }))
    }

    pub(crate) fn from_api_token(token: &ApiToken, stamp: CacheStamp) -> Self {
        Self(Arc::new(PrincipalInner {
            stamp: Some(stamp),
            restrictions: Restrictions::of_api_token(token).map(Arc::new),
            use_due: UseDue::default(),
            identity: Identity::ApiToken(token.id),
            org: token.org,
            user: token.user,
            status: token.status,
            permissions: PermissionSet::new(token.permissions.iter().copied()),
        }))
    }

    /// The same principal with another stamp.
    pub(crate) fn with_stamp(&self, stamp: CacheStamp) -> Self {
        Self(Arc::new(PrincipalInner { stamp: Some(stamp), ..PrincipalInner::clone(&self.0) }))
    }

    /// How the cache finds and checks it.
    pub(crate) fn stamp(&self) -> Option<&CacheStamp> {
        self.0.stamp()
    }

    pub(crate) const fn from_inner(inner: Arc<PrincipalInner>) -> Self {
        Self(inner)
    }

    pub(crate) fn inner(&self) -> &PrincipalInner {
        &self.0
    }

    pub(crate) fn into_inner(self) -> Arc<PrincipalInner> {
        self.0
    }

    /// Decides whether the principal may do this.
    ///
    /// ```
    /// # use portcullis::{Action, BucketId, OrgId, Permission, Principal, Resource, UserId};
    /// let bucket = Resource::bucket(OrgId::from_u64(1), BucketId::from_u64(2));
    /// let may_write = [Permission::write(bucket)];
    /// let principal = Principal::trusted(OrgId::from_u64(1), UserId::from_u64(3), may_write);
    /// assert!(principal.check(Action::Write, &bucket).is_allowed());
    /// assert!(!principal.check(Action::Read, &bucket).is_allowed());
    /// ```
    pub fn check(&self, action: Action, resource: &Resource) -> Decision {
        let decision = match self.0.status {
            Status::Active => self.0.permissions.check(action, resource),
            Status::Inactive => Decision::Denied(Denial::Inactive),
        };
        if decision.is_allowed() {
            ALLOWED.increment()
        } else {
            DENIED.increment()
        }
        decision
    }

    /// Returns whether the credential is active. Every check of an inactive one is denied; only
    /// [`Engine::authenticate_caller`](crate::Engine::authenticate_caller) returns such a principal.
    pub fn is_active(&self) -> bool {
        self.0.status.is_active()
    }

    /// Decides about many permissions at once, in their order.
    ///
    /// Each decision is made by [`Self::check`] when the iterator reaches it.
    ///
    /// ```
    /// # use portcullis::{OrgId, Permission, Principal, UserId};
    /// let may_read: [Permission; 1] = ["read:buckets".parse()?];
    /// let principal = Principal::trusted(OrgId::from_u64(1), UserId::from_u64(3), may_read);
    /// let requested: [Permission; 2] = ["read:buckets".parse()?, "write:buckets".parse()?];
    /// let denied: Vec<Permission> = requested
    ///     .into_iter()
    ///     .zip(principal.check_all(requested))
    ///     .filter(|(_, decision)| !decision.is_allowed())
    ///     .map(|(requested, _)| requested)
    ///     .collect();
    /// assert_eq!(denied, requested[1..]);
    /// # Ok::<(), portcullis::ParsePermissionError>(())
    /// ```
    pub fn check_all(
        &self,
        requested: impl IntoIterator<Item = Permission>,
    ) -> impl Iterator<Item = Decision> {
        requested.into_iter().map(|requested| self.check(requested.action, &requested.resource))
    }

    /// Explains in words how [`Self::check`] decides, for operators and never for clients: it names
    /// the permissions that the credential holds.
    pub fn explain(&self, action: Action, resource: &Resource) -> Explanation {
        let explanation = self.0.permissions.explain(action, resource);
        match self.check(action, resource) {
            Decision::Denied(Denial::Inactive) => explanation.of_inactive(),
            _ => explanation,
        }
    }

    /// Returns the credential that it was authenticated with.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Returns the org that the credential belongs to.
    pub fn org(&self) -> OrgId {
        self.0.org
    }

    /// Returns the user that the credential belongs to.
    pub fn user(&self) -> UserId {
        self.0.user
    }

    /// Returns the permissions, which apply while the credential is active.
    pub fn permissions(&self) -> &PermissionSet {
        &self.0.permissions
    }
}

impl PrincipalInner {
    /// How the cache finds and checks it.
    pub(crate) const fn stamp(&self) -> Option<&CacheStamp> {
        self.stamp.as_ref()
    }

    /// Returns until when and from where the credential may be used; `None` without a restriction.
    pub(crate) fn restrictions(&self) -> Option<&Restrictions> {
        self.restrictions.as_deref()
    }

    /// Tells whether it was authenticated with the previous password of a rotation.
    pub(crate) fn is_of_previous_password(&self) -> bool {
        self.restrictions().is_some_and(Restrictions::is_of_previous)
    }

    /// Returns the id of the authorization or API token.
    pub(crate) fn id(&self) -> Option<Id> {
        match &self.identity {
            Identity::Authorization(id, _) => Some(id.untyped()),
            Identity::ApiToken(id) => Some(id.untyped()),
            Identity::Host => None,
        }
    }

    /// When its next use is to be noted.
    pub(crate) const fn use_due(&self) -> &UseDue {
        &self.use_due
    }

    pub(crate) const fn org(&self) -> OrgId {
        self.org
    }

    pub(crate) const fn user(&self) -> UserId {
        self.user
    }

    /// The approximate size in bytes, with everything it owns.
    pub(crate) fn bytes(&self) -> usize {
        let name = match &self.identity {
            Identity::Authorization(_, username) => username.as_str().len() + COUNTS,
            Identity::ApiToken(_) | Identity::Host => 0,
        };
        let restrictions =
            self.restrictions.as_ref().map_or(0, |_| size_of::<Restrictions>() + COUNTS);
        size_of::<Self>() + COUNTS + name + restrictions + self.permissions.heap_bytes()
    }
}

/// The bytes of the reference counts of an `Arc`.
const COUNTS: usize = 16;

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("identity", &self.0.identity)
            .field("org", &self.0.org)
            .field("user", &self.0.user)
            .field("status", &self.0.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::permission::strategy::permission;

    proptest! {
        /// [SET-4] [SET-5]
        #[test]
        fn single_batch_and_explanation_agree(
            held in prop::collection::vec(permission(), 0..12),
            requested in prop::collection::vec(permission(), 0..12),
            status in prop::sample::select(vec![Status::Active, Status::Inactive]),
        ) {
            let principal = Principal(Arc::new(PrincipalInner {
                stamp: None,
                restrictions: None,
                use_due: UseDue::default(),
                identity: Identity::Host,
                org: OrgId::from_u64(1),
                user: UserId::from_u64(1),
                status,
                permissions: PermissionSet::new(held),
            }));
            let single: Vec<Decision> =
                requested.iter().map(|p| principal.check(p.action, &p.resource)).collect();
            prop_assert_eq!(principal.check_all(requested.iter().copied()).collect::<Vec<_>>(), &*single);
            for (requested, decision) in requested.iter().zip(single) {
                let explanation = principal.explain(requested.action, &requested.resource);
                prop_assert_eq!(explanation.decision, decision);
                let inactive = decision == Decision::Denied(Denial::Inactive);
                prop_assert_eq!(inactive, status == Status::Inactive);
                prop_assert_eq!(explanation.to_string().contains("inactive"), inactive);
            }
        }
    }
}
