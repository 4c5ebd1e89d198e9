//! The outcome of authenticating.

use std::fmt;
use std::sync::Arc;

use crate::metrics::{ALLOWED, DENIED};
use crate::{
    Action, ApiToken, ApiTokenId, Authorization, AuthorizationId, Decision, Denial, OrgId,
    Permission, PermissionSet, Resource, Status, UserId, Username,
};

/// Who was let in, and what they may do. Cheap to clone, cheap to ask.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

struct Inner {
    identity: Identity,
    org: OrgId,
    user: UserId,
    status: Status,
    permissions: PermissionSet,
}

/// As what a [`Principal`] was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// With an API token.
    ApiToken(ApiTokenId),
    /// With a username and a password.
    Authorization(AuthorizationId, Username),
    /// By the embedding program, which knows them from its own log-in.
    Host,
}

impl Principal {
    /// Somebody whom the embedding program knows from its own log-in. They are active: whether
    /// they still are is the program's to say, each time.
    pub fn of_host(
        org: OrgId,
        user: UserId,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        Self(Arc::new(Inner {
            identity: Identity::Host,
            org,
            user,
            status: Status::Active,
            permissions: PermissionSet::new(permissions),
        }))
    }

    pub(crate) fn of_authorization(authorization: &Authorization) -> Self {
        Self(Arc::new(Inner {
            identity: Identity::Authorization(authorization.id, authorization.username.clone()),
            org: authorization.org,
            user: authorization.user,
            status: authorization.status,
            permissions: PermissionSet::new(authorization.permissions.iter().copied()),
        }))
    }

    pub(crate) fn of_api_token(token: &ApiToken) -> Self {
        Self(Arc::new(Inner {
            identity: Identity::ApiToken(token.id),
            org: token.org,
            user: token.user,
            status: token.status,
            permissions: PermissionSet::new(token.permissions.iter().copied()),
        }))
    }

    /// Tells whether they may do this, and why (not).
    ///
    /// ```
    /// # use portcullis::{Action, BucketId, OrgId, Permission, Principal, Resource, UserId};
    /// let bucket = Resource::bucket(OrgId::from_u64(1), BucketId::from_u64(2));
    /// let may_write = [Permission::write(bucket)];
    /// let principal = Principal::of_host(OrgId::from_u64(1), UserId::from_u64(3), may_write);
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

    /// About how many bytes a principal with so many permissions takes.
    pub(crate) const fn bytes(permissions: usize) -> usize {
        // The set has room for some eight in itself.
        size_of::<Inner>() + 16 + 128 + 16 * permissions.saturating_sub(8)
    }

    /// Tells whether the credential is switched on. One that is not may do nothing; only callers
    /// of the management API are let in with one, to be told so.
    pub fn is_active(&self) -> bool {
        self.0.status.is_active()
    }

    /// Returns as what they were let in.
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

    /// Returns everything they may do while the credential is active.
    pub fn permissions(&self) -> &PermissionSet {
        &self.0.permissions
    }
}

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
