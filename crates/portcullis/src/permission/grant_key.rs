//! The key of the index that finds the authorizations which allow a permission.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Permission, Resource, ResourceType};

/// A granted permission reduced to what decides a check.
///
/// Two permissions that allow exactly the same requests have the same key: the org of a grant by
/// id is dropped, and so is every scope of a grant on the instance (`docs/spec/permissions.md`).
/// Stores index authorizations by these keys.
///
/// ```
/// use portcullis::{GrantKey, Permission};
///
/// let grant: Permission = "read:orgs/0a11ce0000000001/buckets/0c0c000000000001".parse()?;
/// assert_eq!(GrantKey::of(grant).to_string(), "read:buckets/0c0c000000000001");
/// # Ok::<(), portcullis::ParsePermissionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantKey(Permission);

impl GrantKey {
    /// The key of a granted permission.
    pub fn of(granted: Permission) -> Self {
        let Resource { resource_type, id, .. } = granted.resource;
        let resource = match (resource_type, id) {
            (ResourceType::Instance, _) => Resource::all(resource_type),
            (_, Some(id)) => Resource::all(resource_type).with_id(id),
            (_, None) => granted.resource,
        };
        Self(Permission::new(granted.action, resource))
    }

    /// The keys of all grants that allow the request: at most four.
    ///
    /// A set of permissions allows the request if and only if it holds one with such a key.
    pub fn allowing(requested: Permission) -> impl Iterator<Item = Self> + Clone {
        let Permission { action, resource } = requested;
        let every = Resource::all(resource.resource_type);
        [
            Some(Resource::all(ResourceType::Instance)),
            (resource.resource_type != ResourceType::Instance).then_some(every),
            resource.org.map(|org| every.in_org(org)),
            resource.id.map(|id| every.with_id(id)),
        ]
        .into_iter()
        .flatten()
        .filter(move |held| {
            held.resource_type != ResourceType::Instance || (held.id, held.org) == (None, None)
        })
        .map(move |held| Self(Permission::new(action, held)))
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Reads a key in exactly the form in which it is written.
impl FromStr for GrantKey {
    type Err = ParseGrantKeyError;

    fn from_str(text: &str) -> Result<Self, ParseGrantKeyError> {
        let key = text.parse().map(Self::of).map_err(|_| ParseGrantKeyError)?;
        if key.to_string() == text { Ok(key) } else { Err(ParseGrantKeyError) }
    }
}

/// The text is not a grant key, or not in the form in which it is written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a grant key")]
pub struct ParseGrantKeyError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::permission::strategy::permission;

    proptest! {
        #[test]
        fn a_grant_allows_what_its_key_is_listed_for(held in permission(), asked in permission()) {
            let listed = GrantKey::allowing(asked).any(|key| key == GrantKey::of(held));
            prop_assert_eq!(listed, held.allows(&asked));
        }

        #[test]
        fn a_key_is_read_in_the_form_it_is_written_in(held in permission()) {
            let key = GrantKey::of(held);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            if held.to_string() != key.to_string() {
                prop_assert_eq!(held.to_string().parse::<GrantKey>(), Err(ParseGrantKeyError));
            }
        }

        #[test]
        fn no_key_is_listed_twice(asked in permission()) {
            let mut keys: Vec<_> = GrantKey::allowing(asked).collect();
            let all = keys.len();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), all);
        }
    }
}
