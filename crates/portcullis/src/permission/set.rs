//! Many permissions compiled into one that answers at once.

use std::fmt;

use super::{Action, Permission, Resource, ResourceType};
use crate::{Id, OrgId};

/// Permissions compiled for checking: what a credential holds.
///
/// A check costs a few comparisons and at most two binary searches, whatever the number of
/// permissions. The set takes 16 bytes for each permission with a scope and a constant besides, in
/// which some eight of them have room.
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
    /// By action: the types granted without id and org, as bits.
    everywhere: [TypeBits; 2],
    /// By action: the types granted with an id or an org, as bits.
    somewhere: [TypeBits; 2],
    /// How many of the words are runs.
    runs: usize,
    /// First the [runs](Run), then the scoped grants, two words each: the id or org id that it is
    /// for, ascending within a run; and for an id the org that the grant named, or 0, which decides
    /// nothing and is kept to name the grant as it was given. All in one piece of memory, so that a
    /// check has to wait for it once.
    words: Words,
}

/// Numbers, of which a few are kept in place: that a check has to wait for memory once more is all
/// that it costs.
#[derive(Clone, PartialEq, Eq)]
enum Words {
    Few(u8, [u64; Self::FEW]),
    Many(Box<[u64]>),
}

impl Words {
    /// Enough for eight grants of two actions on one type.
    const FEW: usize = 18;

    fn as_slice(&self) -> &[u64] {
        match self {
            Self::Few(length, words) => words.get(..usize::from(*length)).unwrap_or_default(),
            Self::Many(words) => words,
        }
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::Few(0, [0; Self::FEW])
    }
}

impl FromIterator<u64> for Words {
    fn from_iter<T: IntoIterator<Item = u64>>(words: T) -> Self {
        let all: Vec<u64> = words.into_iter().collect();
        let mut few = [0; Self::FEW];
        match (few.get_mut(..all.len()), u8::try_from(all.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(&all);
                Self::Few(length, few)
            }
            _ => Self::Many(all.into()),
        }
    }
}

/// A grant with a scope, as it stands in the words.
type Scoped = [u64; 2];

/// A bit for each [`ResourceType`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct TypeBits(u32);

impl TypeBits {
    const fn bit(resource_type: ResourceType) -> u32 {
        1 << resource_type as u32
    }

    const fn has(self, resource_type: ResourceType) -> bool {
        self.0 & Self::bit(resource_type) != 0
    }

    const fn add(&mut self, resource_type: ResourceType) {
        self.0 |= Self::bit(resource_type);
    }
}

/// Where the scoped grants of an action, a type and a kind of scope end. They begin where the run
/// before ends.
#[derive(Clone, Copy)]
struct Run {
    tag: Tag,
    end: u32,
}

impl Run {
    const fn to_word(self) -> u64 {
        (self.tag.0 as u64) << 32 | self.end as u64
    }

    const fn of_word(word: u64) -> Self {
        Self { tag: Tag((word >> 32) as u8), end: word as u32 }
    }
}

/// Action, type and kind of scope in one small number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tag(u8);

impl Tag {
    const fn new(action: Action, resource_type: ResourceType, scope: Scope) -> Self {
        Self((resource_type as u8) << 2 | (action as u8) << 1 | scope as u8)
    }
}

#[derive(Clone, Copy)]
enum Scope {
    Org,
    Id,
}

impl PermissionSet {
    /// Compiles the permissions. Their order and number of mentions do not matter.
    pub fn new(permissions: impl IntoIterator<Item = Permission>) -> Self {
        let mut set = Self::default();
        let mut scoped: Vec<(Tag, u64, u64)> = Vec::new();
        for Permission { action, resource } in permissions {
            let Resource { resource_type, id, org } = resource;
            let (scope, key, org) = match (resource_type, id, org) {
                (ResourceType::Instance, _, _) | (_, None, None) => {
                    set.everywhere.of_mut(action).add(resource_type);
                    continue;
                }
                (_, Some(id), org) => (Scope::Id, id.as_u64(), org.map_or(0, OrgId::as_u64)),
                (_, None, Some(org)) => (Scope::Org, org.as_u64(), 0),
            };
            set.somewhere.of_mut(action).add(resource_type);
            scoped.push((Tag::new(action, resource_type, scope), key, org));
        }
        scoped.sort_unstable();
        scoped.dedup_by_key(|(tag, key, _)| (*tag, *key));

        let mut runs: Vec<Run> = Vec::new();
        for (end, (tag, ..)) in (1_u32..).zip(&scoped) {
            match runs.last_mut() {
                Some(run) if run.tag == *tag => run.end = end,
                _ => runs.push(Run { tag: *tag, end }),
            }
        }
        set.runs = runs.len();
        let grants = scoped.into_iter().flat_map(|(_, key, org)| [key, org]);
        set.words = runs.into_iter().map(Run::to_word).chain(grants).collect();
        set
    }

    /// The runs, each with its grants.
    fn runs(&self) -> impl Iterator<Item = (Tag, &[Scoped])> {
        let (runs, grants) = self.words.as_slice().split_at_checked(self.runs).unwrap_or_default();
        let (grants, _) = grants.as_chunks::<2>();
        runs.iter().scan(0, |start, word| {
            let Run { tag, end } = Run::of_word(*word);
            let range = *start..end as usize;
            *start = range.end;
            Some((tag, grants.get(range).unwrap_or_default()))
        })
    }

    /// Tells whether the set allows the action on the resource, and through which permission, or
    /// why not.
    pub fn check(&self, action: Action, resource: &Resource) -> Decision {
        match self.granting(action, resource) {
            Some(granted) => Decision::Allowed(granted),
            None => Decision::Denied(self.denial(action, resource)),
        }
    }

    /// Tells whether the set allows the permission.
    pub fn allows(&self, requested: &Permission) -> bool {
        self.granting(requested.action, &requested.resource).is_some()
    }

    /// Tells whether the set allows nothing at all.
    pub fn is_empty(&self) -> bool {
        self.words.as_slice().is_empty() && self.everywhere == [TypeBits(0); 2]
    }

    fn granting(&self, action: Action, resource: &Resource) -> Option<Permission> {
        let resource_type = resource.resource_type;
        let everywhere = self.everywhere.of(action);
        let grant = |resource| Some(Permission::new(action, resource));
        if everywhere.has(ResourceType::Instance) {
            return grant(Resource::all(ResourceType::Instance));
        }
        let every = Resource::all(resource_type);
        if everywhere.has(resource_type) {
            return grant(every);
        }
        if !self.somewhere.of(action).has(resource_type) {
            return None;
        }
        if let Some(org) = resource.org
            && self.find(Tag::new(action, resource_type, Scope::Org), org.as_u64()).is_some()
        {
            return grant(every.in_org(org));
        }
        let id = resource.id?;
        match self.find(Tag::new(action, resource_type, Scope::Id), id.as_u64())? {
            0 => grant(every.with_id(id)),
            org => grant(every.in_org(OrgId::from_u64(org)).with_id(id)),
        }
    }

    /// Finds the key among the tag's and returns the org beside it.
    fn find(&self, tag: Tag, key: u64) -> Option<u64> {
        let (_, grants) = self.runs().find(|(its_tag, _)| *its_tag == tag)?;
        let at = grants.binary_search_by_key(&key, |[its_key, _]| *its_key).ok()?;
        grants.get(at).map(|[_, org]| *org)
    }

    /// Says why not. Only for what [`Self::granting`] found nothing for.
    #[cold]
    fn denial(&self, action: Action, resource: &Resource) -> Denial {
        if self.is_empty() {
            Denial::NothingHeld
        } else if self.granting(action.other(), resource).is_some() {
            Denial::OtherAction
        } else if self.somewhere.of(action).has(resource.resource_type) {
            Denial::OtherResource
        } else {
            Denial::TypeNotHeld
        }
    }

    /// Returns the permissions, sorted, those that say the same once. A grant on the instance is
    /// given without its scope, which means nothing.
    pub fn iter(&self) -> impl Iterator<Item = Permission> {
        let everywhere = Action::ALL.into_iter().flat_map(|action| {
            let bits = *self.everywhere.of(action);
            ResourceType::ALL
                .into_iter()
                .filter(move |resource_type| bits.has(*resource_type))
                .map(move |resource_type| Permission::new(action, Resource::all(resource_type)))
        });
        let scoped = self.runs().flat_map(|(tag, grants)| {
            let action = if tag.0 & 2 == 0 { Action::Read } else { Action::Write };
            let by_id = tag.0 & 1 == Scope::Id as u8;
            let resource_type = ResourceType::ALL.get(usize::from(tag.0 >> 2)).copied();
            resource_type.into_iter().flat_map(move |resource_type| {
                grants.iter().map(move |&[key, org]| {
                    let every = Resource::all(resource_type);
                    let resource = match (by_id, org) {
                        (false, _) => every.in_org(OrgId::from_u64(key)),
                        (true, 0) => every.with_id(Id::from_u64(key)),
                        (true, org) => {
                            every.in_org(OrgId::from_u64(org)).with_id(Id::from_u64(key))
                        }
                    };
                    Permission::new(action, resource)
                })
            })
        });
        let mut all: Vec<Permission> = everywhere.chain(scoped).collect();
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

/// One value for each action.
trait ByAction<T> {
    fn of(&self, action: Action) -> &T;
    fn of_mut(&mut self, action: Action) -> &mut T;
}

impl<T> ByAction<T> for [T; 2] {
    fn of(&self, action: Action) -> &T {
        let [read, write] = self;
        match action {
            Action::Read => read,
            Action::Write => write,
        }
    }

    fn of_mut(&mut self, action: Action) -> &mut T {
        let [read, write] = self;
        match action {
            Action::Read => read,
            Action::Write => write,
        }
    }
}

/// The answer to "may they?". A no is a value like a yes, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a decision that is not looked at protects nothing"]
pub enum Decision {
    /// Yes, because this permission is held.
    Allowed(Permission),
    /// No, for this reason.
    Denied(Denial),
}

impl Decision {
    /// Tells whether the answer is yes.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(permission) => write!(f, "allowed by {permission}"),
            Self::Denied(denial) => write!(f, "denied: {denial}"),
        }
    }
}

/// Why nothing allowed it. For operators; a client learns no more than "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The credential itself is inactive, whatever it holds.
    Inactive,
    /// The credential holds no permission at all.
    NothingHeld,
    /// The other action is held on this very resource.
    OtherAction,
    /// The action is held on other resources of the type.
    OtherResource,
    /// The action is held on no resource of the type.
    TypeNotHeld,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "the credential is inactive",
            Self::NothingHeld => "the credential holds no permission",
            Self::OtherAction => "only the other action is held on this resource",
            Self::OtherResource => "the action is held on other resources of this type only",
            Self::TypeNotHeld => "the action is held on no resource of this type",
        })
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

    fn check(set: &PermissionSet, asked: &str) -> Decision {
        let asked: Permission = asked.parse().unwrap();
        set.check(asked.action, &asked.resource)
    }

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

    #[test]
    fn the_decision_says_why_not() {
        let asked = "write:orgs/0000000000000001/buckets/000000000000000b";
        for (held, denial) in [
            (&[][..], Denial::NothingHeld),
            (&["read:buckets/000000000000000b"], Denial::OtherAction),
            (&["write:buckets/000000000000000c"], Denial::OtherResource),
            (&["write:tasks"], Denial::TypeNotHeld),
        ] {
            assert_eq!(check(&set(held), asked), Decision::Denied(denial));
        }
    }

    #[test]
    fn a_scoped_permission_takes_16_bytes() {
        let many = (1..=1_000).map(|id| {
            Permission::read(Resource::all(ResourceType::Buckets).with_id(Id::from_u64(id)))
        });
        let set = PermissionSet::new(many);
        let heap = size_of_val(set.words.as_slice());
        assert!(size_of::<PermissionSet>() + heap <= 16 * 1_000 + 256);
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule(
            held in prop::collection::vec(permission(), 0..12),
            asked in permission(),
        ) {
            let set = PermissionSet::new(held.iter().copied());
            let rule = held.iter().any(|p| p.allows(&asked));
            let decision = set.check(asked.action, &asked.resource);
            prop_assert_eq!(decision.is_allowed(), rule);
            prop_assert_eq!(set.allows(&asked), rule);
            if let Decision::Allowed(granted) = decision {
                prop_assert!(granted.allows(&asked));
            }
        }

        #[test]
        fn iterates_what_says_the_same(held in prop::collection::vec(permission(), 0..12)) {
            let set = PermissionSet::new(held);
            prop_assert_eq!(PermissionSet::new(set.iter()), set);
        }
    }
}
