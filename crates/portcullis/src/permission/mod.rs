//! Permissions: their form, the rule that checks them, and the usual sets of them.

mod action_bits;
mod decision;
mod explanation;
mod grant_key;
mod id_hash;
mod id_table;
mod presets;
mod resource;
mod set;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use decision::{Decision, Denial};
pub use explanation::Explanation;
pub use grant_key::{GrantKey, ParseGrantKeyError};
pub use presets::{member_bucket, member_of_org, operator, owner_of_org, read_all, user_self};
pub use resource::{Action, Resource, ResourceType};
pub use set::PermissionSet;

use crate::from_text::from_text;
use crate::{Id, OrgId, ParseIdError};

/// One action on one resource.
///
/// A credential holds granted permissions; a request needs one. The text form, used everywhere, is
/// `ACTION:RESOURCE`:
///
/// ```
/// use portcullis::{Action, Permission, ResourceType};
///
/// let permission: Permission = "write:orgs/0a11ce0000000001/buckets/0c0c000000000001".parse()?;
/// assert_eq!(permission.action, Action::Write);
/// assert_eq!(permission.resource.resource_type, ResourceType::Buckets);
/// assert_eq!(permission.to_string(), "write:orgs/0a11ce0000000001/buckets/0c0c000000000001");
/// # Ok::<(), portcullis::ParsePermissionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// The action.
    pub action: Action,
    /// The resource that the action is done on.
    pub resource: Resource,
}

impl Permission {
    /// Makes the permission for the action on the resource.
    pub const fn new(action: Action, resource: Resource) -> Self {
        Self { action, resource }
    }

    /// `read` on the resource.
    pub const fn read(resource: Resource) -> Self {
        Self::new(Action::Read, resource)
    }

    /// `write` on the resource.
    pub const fn write(resource: Resource) -> Self {
        Self::new(Action::Write, resource)
    }

    /// Tells whether holding this permission allows the requested one.
    ///
    /// This is the rule itself (`docs/spec/permissions.md`).
    /// [`PermissionSet::check`] gives the same decision for a whole set, faster.
    pub fn allows(&self, requested: &Self) -> bool {
        let (held, asked) = (&self.resource, &requested.resource);
        if self.action != requested.action {
            return false;
        }
        if held.resource_type == ResourceType::Instance {
            return true;
        }
        if held.resource_type != asked.resource_type {
            return false;
        }
        match (held.id, held.org) {
            (Some(id), _) => asked.id == Some(id),
            (None, Some(org)) => asked.org == Some(org),
            (None, None) => true,
        }
    }

    /// Checks that no id in it is zero. Text never parses to such an id; code can construct it.
    ///
    /// # Errors
    ///
    /// [`InvalidPermission::OrgId`] before [`InvalidPermission::Id`].
    pub fn validate(&self) -> Result<(), InvalidPermission> {
        if self.resource.org.is_some_and(|org| org.untyped().is_zero()) {
            return Err(InvalidPermission::OrgId);
        }
        if self.resource.id.is_some_and(Id::is_zero) {
            return Err(InvalidPermission::Id);
        }
        Ok(())
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action, self.resource)
    }
}

/// Why a permission is invalid. Clients of the API receive these messages.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPermission {
    /// The resource's id is zero.
    #[error("invalid id for permission: invalid ID")]
    Id,
    /// The resource's org id is zero.
    #[error("invalid org id for permission: invalid ID")]
    OrgId,
    /// The action is neither `read` nor `write`.
    #[error("invalid action type for permission: unknown action for permission")]
    UnknownAction,
    /// The resource type is not one of [`ResourceType::ALL`].
    #[error("invalid resource type for permission: unknown resource type for permission")]
    UnknownResourceType,
}

/// A permission as a client sent it: its names are not parsed yet.
///
/// It exists so that the first invalid part is reported in the API's order: resource type, action,
/// org id, id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UncheckedPermission {
    /// Name of the action; empty when it was left out.
    pub action: String,
    /// Name of the resource type; empty when it was left out.
    pub resource_type: String,
    /// The resource's id.
    pub id: Option<Id>,
    /// The resource's org.
    pub org: Option<OrgId>,
}

impl UncheckedPermission {
    /// Takes the parts without a check.
    pub fn new(
        action: impl Into<String>,
        resource_type: impl Into<String>,
        id: Option<Id>,
        org: Option<OrgId>,
    ) -> Self {
        Self { action: action.into(), resource_type: resource_type.into(), id, org }
    }

    /// Reads the names and checks the ids.
    ///
    /// # Errors
    ///
    /// The first of [`InvalidPermission::UnknownResourceType`],
    /// [`InvalidPermission::UnknownAction`], [`InvalidPermission::OrgId`] and
    /// [`InvalidPermission::Id`] that applies.
    pub fn validate(&self) -> Result<Permission, InvalidPermission> {
        let resource_type = self.resource_type.parse()?;
        let action = self.action.parse()?;
        let resource = Resource { resource_type, id: self.id, org: self.org };
        let permission = Permission::new(action, resource);
        permission.validate()?;
        Ok(permission)
    }
}

impl From<Permission> for UncheckedPermission {
    fn from(permission: Permission) -> Self {
        let Permission { action, resource } = permission;
        Self::new(action.as_str(), resource.resource_type.as_str(), resource.id, resource.org)
    }
}

/// Why a text is not a permission.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePermissionError {
    /// There is no `:`, or the path has more or other parts than a resource has.
    #[error(
        "`{text}` is not a permission: expected ACTION:TYPE, ACTION:TYPE/ID, \
         ACTION:orgs/ORG/TYPE or ACTION:orgs/ORG/TYPE/ID"
    )]
    Form {
        /// The text, cut to its first 128 characters.
        text: String,
    },
    /// An id in it is not one.
    #[error("permission `{text}`: {source}")]
    Id {
        /// The text, cut to its first 128 characters.
        text: String,
        /// What is wrong with the id.
        source: ParseIdError,
    },
    /// The action or the type is unknown.
    #[error("permission `{text}`: {source}")]
    Name {
        /// The text, cut to its first 128 characters.
        text: String,
        /// Which of the two.
        source: InvalidPermission,
    },
}

/// Splits at the first separator. With the search of `str`, a permission takes 89 ns and not 62: a list
/// has hundreds.
fn split_at_first(text: &str, separator: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == separator) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

impl FromStr for Permission {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, ParsePermissionError> {
        let shown = || text.chars().take(128).collect::<String>();
        let form = || ParsePermissionError::Form { text: shown() };
        let id = |source| ParsePermissionError::Id { text: shown(), source };
        let name = |source| ParsePermissionError::Name { text: shown(), source };

        let (action, path) = split_at_first(text, b':');
        let mut rest = Some(path.ok_or_else(form)?);
        let action: Action = action.parse().map_err(name)?;
        let mut part = || {
            let (part, others) = split_at_first(rest?, b'/');
            rest = others;
            Some(part)
        };
        let (org, resource_type, resource_id) = match (part(), part(), part(), part(), part()) {
            (Some(resource_type), resource_id, None, None, None) => {
                (None, resource_type, resource_id)
            }
            (Some("orgs"), Some(org), Some(resource_type), resource_id, None) => {
                (Some(org.parse().map_err(id)?), resource_type, resource_id)
            }
            _ => return Err(form()),
        };
        Ok(Self::new(
            action,
            Resource {
                resource_type: resource_type.parse().map_err(name)?,
                id: resource_id.map(str::parse).transpose().map_err(id)?,
                org,
            },
        ))
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, str::parse)
    }
}

#[cfg(test)]
pub(crate) mod strategy {
    use proptest::prelude::*;

    use super::*;

    /// Few types and ids, so that permissions often concern the same resource.
    pub(crate) fn permission() -> impl Strategy<Value = Permission> {
        let types = prop::sample::select(vec![
            ResourceType::Buckets,
            ResourceType::Buckets,
            ResourceType::Orgs,
            ResourceType::Users,
            ResourceType::Instance,
            ResourceType::Subscriptions,
        ]);
        let action = prop::sample::select(Action::ALL.to_vec());
        let id = prop::option::of((1..5_u64).prop_map(Id::from_u64));
        let org = prop::option::of((1..4_u64).prop_map(OrgId::from_u64));
        (action, types, id, org).prop_map(|(action, resource_type, id, org)| {
            Permission::new(action, Resource { resource_type, id, org })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// [PERM-2] [PERM-4]
    #[test]
    fn text_that_is_not_a_permission_is_refused() {
        for text in [
            "",
            "write",
            "write:",
            ":buckets",
            "Write:buckets",
            "write:Buckets",
            "write:buckets/",
            "write:buckets/1",
            "write:orgs/0000000000000001/",
            "write:orgs/0000000000000000/buckets",
            "write:users/0000000000000001/buckets",
            "write:orgs/0000000000000001/buckets/0000000000000001/x",
            "write:buckets ",
            "execute:buckets",
        ] {
            assert!(text.parse::<Permission>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn orgs_with_an_id_is_the_org_itself() {
        let permission: Permission = "read:orgs/0000000000000001".parse().unwrap();
        assert_eq!(permission, Permission::read(Resource::org(OrgId::from_u64(1))));
    }

    /// [PERM-5]
    #[test]
    fn type_is_reported_before_action_before_org_before_id() {
        let zero = Some(Id::from_u64(0));
        let zero_org = Some(OrgId::from_u64(0));
        let error = |action: &str, resource_type: &str, id, org| {
            UncheckedPermission::new(action, resource_type, id, org).validate().unwrap_err()
        };
        assert_eq!(error("fly", "pizza", zero, zero_org), InvalidPermission::UnknownResourceType);
        assert_eq!(error("fly", "buckets", zero, zero_org), InvalidPermission::UnknownAction);
        assert_eq!(error("read", "buckets", zero, zero_org), InvalidPermission::OrgId);
        assert_eq!(error("read", "buckets", zero, None), InvalidPermission::Id);
    }

    proptest! {
        /// [PERM-4]
        #[test]
        fn text_comes_back(permission in strategy::permission()) {
            prop_assert_eq!(permission.to_string().parse(), Ok(permission));
        }

        #[test]
        fn parsing_never_panics(text in "(read|write)?:?[a-z/0-9:\\PC]{0,60}") {
            let _ = text.parse::<Permission>();
        }
    }
}
