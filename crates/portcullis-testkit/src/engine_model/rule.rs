//! The rule for permissions, one after another as in `docs/spec/permissions.md`, and what a set of them
//! must decide.

use portcullis::{Action, Decision, Denial, Permission, PermissionSet, Resource, ResourceType};

/// Tells whether the granted permission allows the requested one. The first line that applies decides.
pub(super) fn allows(granted: &Permission, requested: &Permission) -> bool {
    if granted.action != requested.action {
        return false;
    }
    if granted.resource.resource_type == ResourceType::Instance {
        return true;
    }
    if granted.resource.resource_type != requested.resource.resource_type {
        return false;
    }
    if granted.resource.id.is_some() {
        return granted.resource.id == requested.resource.id;
    }
    if granted.resource.org.is_some() {
        return granted.resource.org == requested.resource.org;
    }
    true
}

/// Tells whether one of them alone allows it.
pub(super) fn any_allows(granted: &[Permission], requested: &Permission) -> bool {
    granted.iter().any(|granted| allows(granted, requested))
}

/// Compares the decision of the set, and its reason, with those of its permissions.
pub(super) fn compare(
    set: &PermissionSet,
    granted: &[Permission],
    requested: &Permission,
) -> Result<(), String> {
    let decision = set.check(requested.action, &requested.resource);
    let right = match decision {
        Decision::Allowed(through) => {
            allows(&through, requested) && granted.iter().any(|held| same_grant(held, &through))
        }
        Decision::Denied(denial) => {
            !any_allows(granted, requested) && denial == expected_denial(granted, requested)
        }
    };
    if right && set.allows(requested) == any_allows(granted, requested) {
        return Ok(());
    }
    Err(format!("{granted:?}, requested {requested}: {decision:?}"))
}

/// A reason names the grant as it was given. Permissions on the instance are equal, whatever they name
/// besides.
fn same_grant(held: &Permission, reason: &Permission) -> bool {
    let instance = |p: &Permission| p.resource.resource_type == ResourceType::Instance;
    held == reason || instance(held) && instance(reason) && held.action == reason.action
}

fn expected_denial(granted: &[Permission], requested: &Permission) -> Denial {
    let other = match requested.action {
        Action::Read => Action::Write,
        Action::Write => Action::Read,
    };
    let same_type = |held: &&Permission| {
        held.action == requested.action
            && held.resource.resource_type == requested.resource.resource_type
    };
    if granted.is_empty() {
        Denial::NothingHeld
    } else if any_allows(granted, &Permission::new(other, requested.resource)) {
        Denial::OtherAction
    } else if granted.iter().find(same_type).is_some() {
        Denial::OtherResource
    } else {
        Denial::TypeNotHeld
    }
}

/// Requests about everything that the permissions name, and about other resources.
pub(super) fn requests(granted: &[Permission]) -> Vec<Permission> {
    let mut types = vec![ResourceType::Instance, ResourceType::Dashboards, ResourceType::Buckets];
    let (mut ids, mut orgs) = (vec![None], vec![None]);
    for Permission { resource, .. } in granted {
        types.push(resource.resource_type);
        ids.push(resource.id);
        orgs.push(resource.org);
    }
    ids.push(Some(portcullis::Id::from_u64(u64::MAX)));
    orgs.push(Some(portcullis::OrgId::from_u64(u64::MAX)));
    types.sort_unstable();
    types.dedup();
    ids.sort_unstable();
    ids.dedup();
    orgs.sort_unstable();
    orgs.dedup();
    let mut requests = Vec::new();
    for action in Action::ALL {
        for resource_type in &types {
            for id in &ids {
                for org in &orgs {
                    let mut resource = Resource::all(*resource_type);
                    resource.id = *id;
                    resource.org = *org;
                    requests.push(Permission::new(action, resource));
                }
            }
        }
    }
    requests
}
