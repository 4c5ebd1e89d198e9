//! The parts of a permission: actions, resource types, resources.

use std::fmt;
use std::str::FromStr;

use super::InvalidPermission;
use crate::{BucketId, Id, OrgId, UserId};

/// An action on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read data of a bucket, list authorizations.
    Read,
    /// Write data to a bucket, create or delete authorizations.
    Write,
}

impl Action {
    /// Both actions, in canonical order.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// Returns the name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Returns the other action.
    pub const fn other(self) -> Self {
        match self {
            Self::Read => Self::Write,
            Self::Write => Self::Read,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = InvalidPermission;

    /// Parses the exact name, in this case and without blanks.
    fn from_str(text: &str) -> Result<Self, InvalidPermission> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or(InvalidPermission::UnknownAction)
    }
}

macro_rules! resource_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The types of resources that permissions name.
        ///
        /// The order is canonical: presets list their permissions in it. The first 23 are
        /// those of the open-source reference, the last three are only in the public document.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum ResourceType {
            $($(#[$doc])* $variant,)+
        }

        impl ResourceType {
            /// Every type, in canonical order.
            pub const ALL: [Self; 26] = [$(Self::$variant,)+];

            /// Returns the name in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

resource_types! {
    /// Authorizations and API tokens.
    Authorizations = "authorizations",
    /// Buckets: where points are stored.
    Buckets = "buckets",
    /// Dashboards.
    Dashboards = "dashboards",
    /// Organizations.
    Orgs = "orgs",
    /// Sources.
    Sources = "sources",
    /// Tasks.
    Tasks = "tasks",
    /// Telegraf configurations.
    Telegrafs = "telegrafs",
    /// Users.
    Users = "users",
    /// Variables.
    Variables = "variables",
    /// Scrapers.
    Scrapers = "scrapers",
    /// Secrets.
    Secrets = "secrets",
    /// Labels.
    Labels = "labels",
    /// Views.
    Views = "views",
    /// Documents.
    Documents = "documents",
    /// Notification rules.
    NotificationRules = "notificationRules",
    /// Notification endpoints.
    NotificationEndpoints = "notificationEndpoints",
    /// Checks.
    Checks = "checks",
    /// Mappings of a database and retention policy to a bucket.
    Dbrp = "dbrp",
    /// Notebooks.
    Notebooks = "notebooks",
    /// Annotations.
    Annotations = "annotations",
    /// Remote connections.
    Remotes = "remotes",
    /// Replications.
    Replications = "replications",
    /// The whole server: a grant on it allows its action on everything. It can never be granted
    /// over the API, only imported.
    Instance = "instance",
    /// Flows (only in the public document).
    Flows = "flows",
    /// Functions (only in the public document).
    Functions = "functions",
    /// Subscriptions (only in the public document).
    Subscriptions = "subscriptions",
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ResourceType {
    type Err = InvalidPermission;

    /// Parses the exact name, in this case and without blanks.
    fn from_str(text: &str) -> Result<Self, InvalidPermission> {
        Self::from_name(text).ok_or(InvalidPermission::UnknownResourceType)
    }
}

/// A type of resource, one resource of an org, or one resource whatever its org.
///
/// As text: `TYPE`, `TYPE/ID`, `orgs/ORG/TYPE` or `orgs/ORG/TYPE/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Resource {
    /// The type.
    pub resource_type: ResourceType,
    /// One resource of that type; `None` is all of them.
    pub id: Option<Id>,
    /// The org that the resources are in; `None` is any org or none.
    pub org: Option<OrgId>,
}

impl Resource {
    /// All resources of the type, in every org.
    pub const fn all(resource_type: ResourceType) -> Self {
        Self { resource_type, id: None, org: None }
    }

    /// Narrows to the org.
    #[must_use]
    pub const fn in_org(self, org: OrgId) -> Self {
        Self { org: Some(org), ..self }
    }

    /// Narrows to one resource.
    #[must_use]
    pub fn with_id(self, id: impl Into<Id>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// The bucket of the org.
    pub fn bucket(org: OrgId, bucket: BucketId) -> Self {
        Self::all(ResourceType::Buckets).in_org(org).with_id(bucket)
    }

    /// The user; users belong to no org.
    pub fn user(user: UserId) -> Self {
        Self::all(ResourceType::Users).with_id(user)
    }

    /// The org itself.
    pub fn org(org: OrgId) -> Self {
        Self::all(ResourceType::Orgs).with_id(org)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(org) = self.org {
            write!(f, "orgs/{org}/")?;
        }
        f.write_str(self.resource_type.as_str())?;
        if let Some(id) = self.id {
            write!(f, "/{id}")?;
        }
        Ok(())
    }
}
