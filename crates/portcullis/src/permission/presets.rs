//! The usual sets of permissions.

use super::{Action, Permission, Resource, ResourceType};
use crate::{BucketId, OrgId, UserId};

/// The 22 types in the presets: all of the reference's except `instance`. The types that only the
/// public document has are granted one by one.
fn helper_types() -> impl Iterator<Item = ResourceType> {
    ResourceType::ALL.into_iter().filter(|resource_type| {
        !matches!(
            resource_type,
            ResourceType::Instance
                | ResourceType::Flows
                | ResourceType::Functions
                | ResourceType::Subscriptions
        )
    })
}

fn in_org(resource_type: ResourceType, org: OrgId) -> Resource {
    match resource_type {
        // An org is in no org: it is named by its id.
        ResourceType::Orgs => Resource::org(org),
        _ => Resource::all(resource_type).in_org(org),
    }
}

fn both_actions(resource: Resource) -> [Permission; 2] {
    Action::ALL.map(|action| Permission::new(action, resource))
}

/// Everything except the instance: read and write on 22 types, in every org. An operator token holds
/// this.
pub fn operator() -> Vec<Permission> {
    helper_types().flat_map(|t| both_actions(Resource::all(t))).collect()
}

/// Read and write on everything in the org.
pub fn owner_of_org(org: OrgId) -> Vec<Permission> {
    helper_types().flat_map(|t| both_actions(in_org(t, org))).collect()
}

/// Read on everything in the org.
pub fn member_of_org(org: OrgId) -> Vec<Permission> {
    helper_types().map(|t| Permission::read(in_org(t, org))).collect()
}

/// Read on everything, in every org.
pub fn read_all() -> Vec<Permission> {
    helper_types().map(|t| Permission::read(Resource::all(t))).collect()
}

/// Read and write on the user's own record.
pub fn user_self(user: UserId) -> Vec<Permission> {
    both_actions(Resource::user(user)).to_vec()
}

/// Read on one bucket, whatever its org.
pub fn member_bucket(bucket: BucketId) -> Vec<Permission> {
    vec![Permission::read(Resource::all(ResourceType::Buckets).with_id(bucket))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(permissions: &[Permission]) -> Vec<String> {
        permissions.iter().map(Permission::to_string).collect()
    }

    /// [SET-6] [PERM-3]
    #[test]
    fn operator_is_44_permissions_type_by_type_read_before_write() {
        let operator = text(&operator());
        assert_eq!(operator.len(), 44);
        assert_eq!(operator[..3], ["read:authorizations", "write:authorizations", "read:buckets"]);
        assert_eq!(operator[43], "write:replications");
        assert!(!operator.iter().any(|p| p.ends_with("instance")));
    }

    /// [SET-6]
    #[test]
    fn owner_holds_its_org_by_id_and_the_rest_in_it() {
        let owner = text(&owner_of_org(OrgId::from_u64(1)));
        assert_eq!(owner.len(), 44);
        assert_eq!(owner[0], "read:orgs/0000000000000001/authorizations");
        assert!(owner.contains(&"write:orgs/0000000000000001".to_owned()));
        assert!(!owner.contains(&"write:orgs/0000000000000001/orgs".to_owned()));
    }

    #[test]
    fn member_and_read_all_only_read_and_hold_no_blank_permission() {
        assert_eq!(member_of_org(OrgId::from_u64(1)).len(), 22);
        assert_eq!(read_all().len(), 22);
        let all = member_of_org(OrgId::from_u64(1)).into_iter().chain(read_all());
        assert!(all.into_iter().all(|p| p.action == Action::Read && p.validate().is_ok()));
    }

    #[test]
    fn the_own_user_is_named_by_id() {
        assert_eq!(
            text(&user_self(UserId::from_u64(2))),
            ["read:users/0000000000000002", "write:users/0000000000000002"]
        );
        assert_eq!(text(&member_bucket(BucketId::from_u64(3))), ["read:buckets/0000000000000003"]);
    }
}
