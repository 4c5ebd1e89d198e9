//! Grants: the permissions that they become.

use std::collections::HashSet;

use portcullis::{Id, OrgId, Permission, Resource, ResourceType};

use super::{PlanError, Planner};
use crate::item::{GrantItem, Key, PermissionItem, PermissionOrg};
use crate::report::{Entry, Outcome};

/// The permissions of a credential or an API token, and the entries of its grants.
pub(super) struct Granted {
    /// Each permission once, in the order of the grants.
    pub(super) permissions: Vec<Permission>,
    entries: Vec<Entry>,
}

impl Granted {
    /// Returns whether less is allowed here than in the source.
    pub(super) fn is_changed(&self) -> bool {
        let is_less = |outcome| matches!(outcome, Outcome::Changed | Outcome::Skipped);
        self.entries.iter().any(|entry| is_less(entry.outcome))
    }
}

impl Planner<'_> {
    /// Returns the permissions of the grants of a credential or API token in the org.
    pub(super) fn granted(&self, of: &str, org: OrgId, grants: &[GrantItem]) -> Granted {
        let mut permissions = Vec::new();
        let mut entries = Vec::with_capacity(grants.len());
        let mut seen = HashSet::new();
        for grant in grants {
            let mut notes: Vec<String> = grant.lost.iter().cloned().collect();
            let mut carried = 0;
            for item in &grant.permissions {
                match self.permission(org, item) {
                    Ok(permission) => {
                        carried += 1;
                        if seen.insert(permission) {
                            permissions.push(permission);
                        }
                    }
                    Err(why) if notes.contains(&why) => {}
                    Err(why) => notes.push(why),
                }
            }
            let outcome = match (carried, notes.is_empty()) {
                (_, true) => Outcome::Taken,
                (0, false) if grant.permissions.is_empty() => Outcome::NotCarried,
                (0, false) => Outcome::Skipped,
                (_, false) => Outcome::Changed,
            };
            entries.push(Entry::new(outcome, "grant", &grant.shown).of(of).notes(notes));
        }
        permissions.extend(&self.named_permissions);
        Granted { permissions, entries }
    }

    /// Reports the grants of a new credential or API token.
    pub(super) fn report_grants(&mut self, granted: &Granted) -> Result<(), PlanError> {
        granted.entries.iter().try_for_each(|entry| self.report(entry))
    }

    fn permission(&self, own: OrgId, item: &PermissionItem) -> Result<Permission, String> {
        let PermissionItem { action, resource_type, id, org } = *item;
        let org = match org {
            PermissionOrg::Any => None,
            PermissionOrg::Own => Some(own),
            PermissionOrg::Key(key) => Some(self.org_with(key)?),
        };
        let id = id.map(|key| self.resource(resource_type, key)).transpose()?;
        let mut resource = Resource::all(resource_type);
        if let Some(org) = org {
            resource = resource.in_org(org);
        }
        if let Some(id) = id {
            resource = resource.with_id(id);
        }
        let permission = Permission::new(action, resource);
        permission.validate().map_err(|error| error.to_string())?;
        Ok(permission)
    }

    /// Returns the id here of what a permission names in the source.
    fn resource(&self, resource_type: ResourceType, key: Key) -> Result<Id, String> {
        match resource_type {
            ResourceType::Orgs => self.org_with(key).map(Id::from),
            ResourceType::Users => match self.users.get(&key) {
                Some(user) => Ok(user.untyped()),
                None => Err(format!("the user {} is not carried", Id::from_u64(key.0))),
            },
            ResourceType::Buckets => match self.buckets.get(&key) {
                Some((_, bucket)) => Ok(bucket.untyped()),
                None => Err("the bucket is not carried".to_owned()),
            },
            // Another credential here may have the id.
            ResourceType::Authorizations => {
                Err("a permission on a single authorization is not carried".to_owned())
            }
            _ => Ok(Id::from_u64(key.0)),
        }
    }

    fn org_with(&self, key: Key) -> Result<OrgId, String> {
        let org = self.orgs.get(&key).copied();
        org.ok_or_else(|| format!("the org {} is not carried", Id::from_u64(key.0)))
    }
}
