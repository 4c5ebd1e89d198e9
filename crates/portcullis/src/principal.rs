//! The outcome of authenticating.

use std::fmt;
use std::sync::Arc;

use crate::cache::Memory;
use crate::metrics::{ALLOWED, DENIED};
use crate::{
    Action, ApiToken, ApiTokenId, Authorization, AuthorizationId, Decision, Denial, Explanation,
    Id, OrgId, Permission, PermissionSet, Resource, Status, UserId, Username,
};

/// Who was let in, and what they may do. Cheap to clone, cheap to ask.
#[derive(Clone)]
pub struct Principal(Arc<Facts>);

/// What is known of a principal. It is also what an engine keeps to know them again, so that one
/// look into memory finds whether it is them, whether that still counts, and what they may do.
///
/// Laid out in the order in which a look asks, so that it waits for few cache lines.
#[derive(Clone)]
#[repr(C)]
pub(crate) struct Facts {
    /// By what an engine knows them again; nothing of those whom the host knows.
    memory: Option<Memory>,
    org: OrgId,
    user: UserId,
    identity: Identity,
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
    /// By the embedding program, which knows them from its own login.
    Host,
}

impl Principal {
    /// Makes a principal that the embedding program has authenticated by itself. The engine does not
    /// check it again: it is the program's task to make one only for a user who is active.
    pub fn trusted(
        org: OrgId,
        user: UserId,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        Self(Arc::new(Facts {
            memory: None,
            identity: Identity::Host,
            org,
            user,
            status: Status::Active,
            permissions: PermissionSet::new(permissions),
        }))
    }

    pub(crate) fn of_authorization(authorization: &Authorization, memory: Memory) -> Self {
        Self(Arc::new(Facts {
            memory: Some(memory),
            identity: Identity::Authorization(authorization.id, authorization.username.clone()),
            org: authorization.org,
            user: authorization.user,
            status: authorization.status,
            permissions: PermissionSet::new(authorization.permissions.iter().copied()),
        }))
    }

    pub(crate) fn of_api_token(token: &ApiToken, memory: Memory) -> Self {
        Self(Arc::new(Facts {
            memory: Some(memory),
            identity: Identity::ApiToken(token.id),
            org: token.org,
            user: token.user,
            status: token.status,
            permissions: PermissionSet::new(token.permissions.iter().copied()),
        }))
    }

    /// The same, to be known again by something else.
    pub(crate) fn with_memory(&self, memory: Memory) -> Self {
        Self(Arc::new(Facts { memory: Some(memory), ..Facts::clone(&self.0) }))
    }

    /// By what an engine knows them again.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.0.memory()
    }

    pub(crate) const fn of_facts(facts: Arc<Facts>) -> Self {
        Self(facts)
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.0
    }

    pub(crate) fn into_facts(self) -> Arc<Facts> {
        self.0
    }

    /// Tells whether they may do this, and why (not).
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

    /// Tells whether the credential is switched on. One that is not may do nothing; only callers
    /// of the management API are let in with one, to be told so.
    pub fn is_active(&self) -> bool {
        self.0.status.is_active()
    }

    /// Tells it for many at once: a decision for each permission that is asked for, in their order.
    ///
    /// Each is what [`Self::check`] says at the time when the iterator is asked for it.
    ///
    /// ```
    /// # use portcullis::{OrgId, Permission, Principal, UserId};
    /// let may_read: [Permission; 1] = ["read:buckets".parse()?];
    /// let principal = Principal::trusted(OrgId::from_u64(1), UserId::from_u64(3), may_read);
    /// let asked: [Permission; 2] = ["read:buckets".parse()?, "write:buckets".parse()?];
    /// let denied: Vec<Permission> = asked
    ///     .into_iter()
    ///     .zip(principal.check_all(asked))
    ///     .filter(|(_, decision)| !decision.is_allowed())
    ///     .map(|(asked, _)| asked)
    ///     .collect();
    /// assert_eq!(denied, asked[1..]);
    /// # Ok::<(), portcullis::ParsePermissionError>(())
    /// ```
    pub fn check_all(
        &self,
        requested: impl IntoIterator<Item = Permission>,
    ) -> impl Iterator<Item = Decision> {
        requested.into_iter().map(|asked| self.check(asked.action, &asked.resource))
    }

    /// Explains in words what [`Self::check`] says, for operators and never for clients: it names
    /// what the credential holds.
    pub fn explain(&self, action: Action, resource: &Resource) -> Explanation {
        let explanation = self.0.permissions.explain(action, resource);
        match self.check(action, resource) {
            Decision::Denied(Denial::Inactive) => explanation.of_inactive(),
            _ => explanation,
        }
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

impl Facts {
    /// By what an engine knows them again.
    pub(crate) const fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// Returns the id of the authorization or API token.
    pub(crate) fn id(&self) -> Option<Id> {
        match &self.identity {
            Identity::Authorization(id, _) => Some(id.untyped()),
            Identity::ApiToken(id) => Some(id.untyped()),
            Identity::Host => None,
        }
    }

    pub(crate) const fn org(&self) -> OrgId {
        self.org
    }

    pub(crate) const fn user(&self) -> UserId {
        self.user
    }

    /// About how many bytes it takes with everything it owns.
    pub(crate) fn bytes(&self) -> usize {
        let name = match &self.identity {
            Identity::Authorization(_, username) => username.as_str().len() + COUNTS,
            Identity::ApiToken(_) | Identity::Host => 0,
        };
        size_of::<Self>() + COUNTS + name + self.permissions.heap_bytes()
    }
}

/// What an `Arc` takes besides its content.
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
        #[test]
        fn single_batch_and_explanation_agree(
            held in prop::collection::vec(permission(), 0..12),
            asked in prop::collection::vec(permission(), 0..12),
            status in prop::sample::select(vec![Status::Active, Status::Inactive]),
        ) {
            let principal = Principal(Arc::new(Facts {
                memory: None,
                identity: Identity::Host,
                org: OrgId::from_u64(1),
                user: UserId::from_u64(1),
                status,
                permissions: PermissionSet::new(held),
            }));
            let single: Vec<Decision> =
                asked.iter().map(|p| principal.check(p.action, &p.resource)).collect();
            prop_assert_eq!(principal.check_all(asked.iter().copied()).collect::<Vec<_>>(), &*single);
            for (asked, decision) in asked.iter().zip(single) {
                let explanation = principal.explain(asked.action, &asked.resource);
                prop_assert_eq!(explanation.decision, decision);
                let inactive = decision == Decision::Denied(Denial::Inactive);
                prop_assert_eq!(inactive, status == Status::Inactive);
                prop_assert_eq!(explanation.to_string().contains("inactive"), inactive);
            }
        }
    }
}
