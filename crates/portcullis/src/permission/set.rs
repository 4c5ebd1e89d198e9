//! Permissions compiled for fast checks.

use std::fmt;

use super::action_bits::{Actions, ActionsByType};
use super::decision::{Decision, Denial};
use super::explanation::Explanation;
use super::id_table::IdTable;
use super::{Action, Permission, Resource, ResourceType};
use crate::{Id, OrgId};

/// Permissions compiled for checking: what a credential holds.
///
/// A check costs a few nanoseconds, whatever the number of permissions: a few comparisons of bits,
/// a lookup of the org if anything is granted by org, and a lookup of the id. The set takes 104 bytes
/// and 16 more for each org in which something is granted. Up to four ids of one org are a part of it;
/// more grants by id take 9 to 17 bytes each if all name the same org, and at most 25 otherwise.
///
/// ```
/// use portcullis::{Action, BucketId, OrgId, Permission, PermissionSet, Resource};
///
/// let bucket = Resource::bucket(OrgId::from_u64(1), BucketId::from_u64(2));
/// let set = PermissionSet::new([Permission::read(bucket)]);
/// assert!(set.check(Action::Read, &bucket).is_allowed());
/// assert!(!set.check(Action::Write, &bucket).is_allowed());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PermissionSet {
    /// What is granted without id and org. A grant on the instance is one on every type.
    everywhere: ActionsByType,
    /// What is granted with an id or an org.
    somewhere: ActionsByType,
    /// The orgs in which something is granted, ascending, and what.
    orgs: Box<[(u64, ActionsByType)]>,
    /// What is granted by id.
    ids: IdTable,
}

impl PermissionSet {
    /// Compiles the permissions. Their order and number of mentions do not matter.
    pub fn new(permissions: impl IntoIterator<Item = Permission>) -> Self {
        let mut set = Self::default();
        let mut orgs: Vec<(u64, ActionsByType)> = Vec::new();
        let mut by_id: Vec<Permission> = Vec::new();
        for permission in permissions {
            let Permission { action, resource } = permission;
            let granted = ActionsByType::of(action, resource.resource_type);
            match (resource.resource_type, resource.id, resource.org) {
                (ResourceType::Instance, ..) => {
                    set.everywhere |= ActionsByType::on_every_type(action)
                }
                (_, None, None) => set.everywhere |= granted,
                (_, Some(_), _) => {
                    set.somewhere |= granted;
                    by_id.push(permission);
                }
                (_, None, Some(org)) => {
                    set.somewhere |= granted;
                    orgs.push((org.as_u64(), granted));
                }
            }
        }
        orgs.sort_unstable_by_key(|(org, _)| *org);
        orgs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 |= next.1;
            }
            same
        });
        set.orgs = orgs.into();
        set.ids = IdTable::new(by_id);
        set
    }

    /// Tells whether the set allows the action on the resource, and through which permission, or
    /// why not.
    ///
    /// Of several permissions that allow it, the decision names the widest.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub fn check(&self, action: Action, resource: &Resource) -> Decision {
        if self.everywhere.has(action, resource.resource_type) {
            return self.allowed_everywhere(action, resource.resource_type);
        }
        if !self.orgs.is_empty() {
            return self.check_by_org(action, resource);
        }
        self.check_by_id(action, resource, Actions::NONE)
    }

    /// The same as [`Self::check`] for a set that grants something by org.
    #[inline(never)]
    fn check_by_org(&self, action: Action, resource: &Resource) -> Decision {
        let resource_type = resource.resource_type;
        let Some(org) = resource.org else {
            return self.check_by_id(action, resource, Actions::NONE);
        };
        let held = self.granted_in(org).actions(resource_type);
        if held.has(action) {
            let resource = Resource { resource_type, id: None, org: Some(org) };
            return Decision::Allowed(Permission::new(action, resource));
        }
        self.check_by_id(action, resource, held)
    }

    /// The same as [`Self::check`]; `held` is granted on the type in the org.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn check_by_id(&self, action: Action, resource: &Resource, held: Actions) -> Decision {
        let Some(id) = resource.id else {
            return Decision::Denied(self.denial(action, resource.resource_type, held));
        };
        match self.ids.find(resource.resource_type, id) {
            Some(found) => self.decide_by_id(action, resource.resource_type, id, held, found),
            None => self.check_by_search(action, resource.resource_type, id, held),
        }
    }

    /// The same as [`Self::check_by_id`] for a table of ids that needs a search.
    #[inline(never)]
    fn check_by_search(
        &self,
        action: Action,
        resource_type: ResourceType,
        id: Id,
        held: Actions,
    ) -> Decision {
        let found = self.ids.search(action, resource_type, id);
        self.decide_by_id(action, resource_type, id, held, found)
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn decide_by_id(
        &self,
        action: Action,
        resource_type: ResourceType,
        id: Id,
        held: Actions,
        (by_id, org): (Actions, u64),
    ) -> Decision {
        if by_id.has(action) {
            let org = (org != 0).then(|| OrgId::from_u64(org));
            let resource = Resource { resource_type, id: Some(id), org };
            return Decision::Allowed(Permission::new(action, resource));
        }
        Decision::Denied(self.denial(action, resource_type, held | by_id))
    }

    /// Tells whether the set allows the permission.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub fn allows(&self, requested: &Permission) -> bool {
        self.check(requested.action, &requested.resource).is_allowed()
    }

    /// Checks many permissions: one decision for each, in their order, as [`Self::check`] makes it.
    /// The iterator is lazy.
    ///
    /// ```
    /// use portcullis::{Permission, PermissionSet};
    ///
    /// let set: PermissionSet = ["read:buckets".parse()?].into_iter().collect();
    /// let requested: [Permission; 2] = ["read:buckets".parse()?, "write:buckets".parse()?];
    /// let allowed: Vec<bool> = set.check_all(requested).map(|decision| decision.is_allowed()).collect();
    /// assert_eq!(allowed, [true, false]);
    /// # Ok::<(), portcullis::ParsePermissionError>(())
    /// ```
    pub fn check_all(
        &self,
        requested: impl IntoIterator<Item = Permission>,
    ) -> impl Iterator<Item = Decision> {
        requested.into_iter().map(|requested| self.check(requested.action, &requested.resource))
    }

    /// Explains the decision in words, for operators: which permission allowed it, or which ones are
    /// the nearest. This takes much longer than a check.
    pub fn explain(&self, action: Action, resource: &Resource) -> Explanation {
        Explanation::new(self, Permission::new(action, *resource))
    }

    /// Returns the number of bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.orgs) + self.ids.heap_bytes()
    }

    /// Tells whether the set allows nothing at all.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.somewhere.is_empty()
    }

    /// Returns what is granted in the org.
    fn granted_in(&self, org: OrgId) -> ActionsByType {
        let org = org.as_u64();
        let found = self.orgs.binary_search_by_key(&org, |(org, _)| *org);
        let grants = found.ok().and_then(|position| self.orgs.get(position));
        grants.map_or(ActionsByType::default(), |(_, granted)| *granted)
    }

    #[cold]
    fn allowed_everywhere(&self, action: Action, resource_type: ResourceType) -> Decision {
        let instance = self.everywhere.actions(ResourceType::Instance).has(action);
        let whole = if instance { ResourceType::Instance } else { resource_type };
        Decision::Allowed(Permission::new(action, Resource::all(whole)))
    }

    /// Returns the reason of a denial; `held` is granted on the type in the org or by the id.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn denial(&self, action: Action, resource_type: ResourceType, held: Actions) -> Denial {
        if (held | self.everywhere.actions(resource_type)).has(action.other()) {
            Denial::OtherAction
        } else if self.somewhere.has(action, resource_type) {
            Denial::OtherResource
        } else if self.is_empty() {
            Denial::NothingHeld
        } else {
            Denial::TypeNotHeld
        }
    }

    /// Returns the permissions, sorted and without duplicates. A grant on the instance is returned
    /// without its scope, which has no meaning.
    pub fn iter(&self) -> impl Iterator<Item = Permission> {
        let everywhere = self
            .everywhere
            .iter()
            .map(|(action, resource_type)| Permission::new(action, Resource::all(resource_type)));
        let in_orgs = self.orgs.iter().flat_map(|(org, granted)| {
            granted.iter().map(|(action, resource_type)| {
                let resource = Resource::all(resource_type).in_org(OrgId::from_u64(*org));
                Permission::new(action, resource)
            })
        });
        let mut all: Vec<Permission> = everywhere.chain(in_orgs).chain(self.ids.iter()).collect();
        all.sort_unstable();
        all.into_iter()
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        Self::new(permissions)
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|p| p.to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::permission::strategy::permission;

    fn set(permissions: &[&str]) -> PermissionSet {
        permissions.iter().map(|text| text.parse::<Permission>().unwrap()).collect()
    }

    fn check(set: &PermissionSet, requested: &str) -> Decision {
        let requested: Permission = requested.parse().unwrap();
        set.check(requested.action, &requested.resource)
    }

    /// [SET-2]
    #[test]
    fn the_decision_names_the_grant_as_it_was_given() {
        for held in [
            "read:instance",
            "read:buckets",
            "read:buckets/000000000000000b",
            "read:orgs/0000000000000001/buckets",
            "read:orgs/0000000000000001/buckets/000000000000000b",
        ] {
            let decision = check(
                &set(&["write:buckets", "read:tasks", held]),
                "read:orgs/0000000000000001/buckets/000000000000000b",
            );
            assert_eq!(decision, Decision::Allowed(held.parse().unwrap()));
        }
    }

    /// [SET-2]
    #[test]
    fn a_decision_is_shown_with_its_grant_or_its_reason() {
        let held = set(&["read:buckets"]);
        assert_eq!(check(&held, "read:buckets").to_string(), "allowed by read:buckets");
        let denied = check(&held, "write:tasks").to_string();
        assert_eq!(denied, "denied: the action is held on no resource of this type");
    }

    /// [SET-2]
    #[test]
    fn the_decision_says_why_not() {
        let requested = "write:orgs/0000000000000001/buckets/000000000000000b";
        for (held, denial) in [
            (&[][..], Denial::NothingHeld),
            (&["read:buckets/000000000000000b"], Denial::OtherAction),
            (&["write:buckets/000000000000000c"], Denial::OtherResource),
            (&["write:tasks"], Denial::TypeNotHeld),
        ] {
            assert_eq!(check(&set(held), requested), Decision::Denied(denial));
        }
    }

    /// What a set takes, itself and on the heap.
    fn size(set: &PermissionSet) -> usize {
        size_of::<PermissionSet>() + set.heap_bytes()
    }

    #[test]
    fn a_permission_takes_21_bytes_at_most() {
        let buckets = Resource::all(ResourceType::Buckets);
        let scattered = |n: u64| n.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
        for count in [0, 1, 2, 3, 4, 5, 8, 64, 512, 1_000, 20_000] {
            let sets: [(&str, Vec<Permission>); 5] = [
                (
                    "ids",
                    (1..=count)
                        .map(|n| Permission::read(buckets.with_id(Id::from_u64(n))))
                        .collect(),
                ),
                (
                    "scattered ids of an org",
                    (0..count)
                        .map(|n| {
                            let bucket = buckets.with_id(Id::from_u64(scattered(n)));
                            Permission::read(bucket.in_org(OrgId::from_u64(7)))
                        })
                        .collect(),
                ),
                (
                    "ids, each of another org",
                    (0..count)
                        .map(|n| {
                            let bucket = buckets.with_id(Id::from_u64(scattered(n)));
                            Permission::write(bucket.in_org(OrgId::from_u64(n + 1)))
                        })
                        .collect(),
                ),
                (
                    "reading one, writing another, in three orgs",
                    (0..count)
                        .map(|n| {
                            let bucket = buckets.with_id(Id::from_u64(scattered(n)));
                            let bucket = bucket.in_org(OrgId::from_u64(n % 3 + 1));
                            Permission::new(Action::ALL[n as usize % 2], bucket)
                        })
                        .collect(),
                ),
                (
                    "orgs",
                    (1..=count)
                        .map(|n| Permission::read(buckets.in_org(OrgId::from_u64(n))))
                        .collect(),
                ),
            ];
            for (what, permissions) in sets {
                assert_eq!(permissions.len() as u64, count);
                let size = size(&PermissionSet::new(permissions));
                assert!(size <= 21 * count as usize + 128, "{count} {what}: {size} bytes");
            }
        }
    }

    /// Permissions over few or many ids, so that sets of every size and form arise.
    fn held() -> impl Strategy<Value = Vec<Permission>> {
        let spread = prop::sample::select(vec![4_u64, 40, 4_000, u64::MAX]);
        let orgs = prop::sample::select(vec![0_u64, 1, 3, 1_000]);
        let types = prop::sample::select(vec![1_usize, 2, ResourceType::ALL.len()]);
        let len = prop_oneof![0..10_usize, 0..100_usize, 0..600_usize];
        (spread, orgs, types, len).prop_flat_map(|(spread, orgs, types, len)| {
            let one = (any::<(u64, u64, u8)>(), 0..types, 0..2_usize).prop_map(
                move |((id, org, form), resource_type, action)| {
                    let resource_type = ResourceType::ALL[(1 + resource_type) % 26];
                    let all = Resource::all(resource_type);
                    // One in 32 without an id, so that not everything is allowed.
                    let resource =
                        if form < 8 { all } else { all.with_id(Id::from_u64(id % spread)) };
                    let in_org = orgs > 0 && (form < 8 || form % 4 > 0);
                    let org = OrgId::from_u64(1 + org % orgs.max(1));
                    let resource = if in_org { resource.in_org(org) } else { resource };
                    Permission::new(Action::ALL[action], resource)
                },
            );
            // Only one set in eight says anything about everything.
            (prop::collection::vec(one, len), 0..8_u8).prop_map(|(mut held, wide)| {
                held.retain(|p| wide == 0 || (p.resource.id, p.resource.org) != (None, None));
                held
            })
        })
    }

    /// What is held, with nothing, one or two things about it changed.
    fn near(held: Permission, changes: &[(u8, u64)]) -> Permission {
        let mut near = held;
        for &(what, value) in changes {
            let Permission { action, resource } = &mut near;
            match what % 8 {
                0 => *action = action.other(),
                1 => resource.id = None,
                2 => resource.org = None,
                3 => resource.id = Some(Id::from_u64(value)),
                4 => resource.org = Some(OrgId::from_u64(value % 4)),
                5 => {
                    resource.id =
                        resource.id.map(|id| Id::from_u64(id.as_u64() ^ 1 << (value % 64)))
                }
                6 => resource.resource_type = ResourceType::ALL[value as usize % 26],
                _ => resource.id = resource.org.map(OrgId::untyped),
            }
        }
        near
    }

    fn requests() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<(u8, u64)>)>> {
        let changes = prop::collection::vec(any::<(u8, u64)>(), 0..3);
        prop::collection::vec((any::<prop::sample::Index>(), changes), 1..40)
    }

    /// The reason, worked out without a set.
    fn rule(held: &[Permission], requested: Permission) -> Result<(), Denial> {
        let other = Permission::new(requested.action.other(), requested.resource);
        let any = |test: &dyn Fn(&Permission) -> bool| held.iter().any(test);
        if any(&|p| p.allows(&requested)) {
            Ok(())
        } else if held.is_empty() {
            Err(Denial::NothingHeld)
        } else if any(&|p| p.allows(&other)) {
            Err(Denial::OtherAction)
        } else if any(&|p| {
            (p.action, p.resource.resource_type)
                == (requested.action, requested.resource.resource_type)
        }) {
            Err(Denial::OtherResource)
        } else {
            Err(Denial::TypeNotHeld)
        }
    }

    proptest! {
        /// [MATCH-1] [MATCH-2] [SET-1]
        #[test]
        fn agrees_with_the_rule(held in held(), requests in requests()) {
            let set = PermissionSet::new(held.iter().copied());
            for (one, changes) in requests {
                let from = if held.is_empty() { None } else { Some(*one.get(&held)) };
                let from = from.unwrap_or(Permission::read(Resource::all(ResourceType::Buckets)));
                let requested = near(from, &changes);
                let decision = set.check(requested.action, &requested.resource);
                prop_assert_eq!(set.allows(&requested), decision.is_allowed());
                match (decision, rule(&held, requested)) {
                    (Decision::Allowed(granted), Ok(())) => {
                        prop_assert!(granted.allows(&requested));
                        // As it was given, but for the scope of the instance.
                        let instance = granted.resource.resource_type == ResourceType::Instance;
                        prop_assert!(instance || held.contains(&granted), "{} is not held", granted);
                    }
                    (Decision::Denied(denial), Err(reason)) => prop_assert_eq!(denial, reason),
                    (decision, rule) => prop_assert!(false, "{}: {} {:?}", requested, decision, rule),
                }
            }
        }

        #[test]
        fn agrees_with_the_rule_on_few_ids(
            held in prop::collection::vec(permission(), 0..12),
            requested in permission(),
        ) {
            let decision = PermissionSet::new(held.iter().copied()).check(requested.action, &requested.resource);
            prop_assert_eq!(decision.is_allowed(), rule(&held, requested).is_ok());
        }

        /// [SET-4]
        #[test]
        fn batch_and_single_agree(held in held(), requests in requests()) {
            let set = PermissionSet::new(held.iter().copied());
            let requested: Vec<Permission> = requests
                .iter()
                .filter(|_| !held.is_empty())
                .map(|(one, changes)| near(*one.get(&held), changes))
                .collect();
            let single: Vec<_> = requested.iter().map(|p| set.check(p.action, &p.resource)).collect();
            prop_assert_eq!(set.check_all(requested).collect::<Vec<_>>(), single);
        }

        /// [SET-1]
        #[test]
        fn the_order_in_which_permissions_are_given_does_not_matter(mut held in held()) {
            let set = PermissionSet::new(held.iter().copied());
            held.reverse();
            prop_assert_eq!(PermissionSet::new(held), set);
        }

        #[test]
        fn iterates_what_says_the_same(held in held()) {
            let set = PermissionSet::new(held.iter().copied());
            let listed: Vec<Permission> = set.iter().collect();
            prop_assert!(listed.is_sorted());
            for permission in held {
                prop_assert!(set.allows(&permission));
            }
            prop_assert_eq!(PermissionSet::new(listed), set);
        }

        #[test]
        fn a_set_takes_few_bytes_a_permission(held in held()) {
            let set = PermissionSet::new(held);
            prop_assert!(size(&set) <= 25 * set.iter().count() + 128);
        }
    }
}
