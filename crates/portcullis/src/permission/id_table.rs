//! Grants by id, found in constant time.

use std::hint::select_unpredictable;

use super::action_bits::Actions;
use super::id_hash::{Buckets, IdHash, WINDOW};
use super::{Action, Permission, Resource, ResourceType};
use crate::{Id, OrgId};

/// Grants by id, as entries: an id, a type, the actions on it, and the org that the grants named.
///
/// The org decides nothing: it is kept so that a decision names the grant as it was given. Equal
/// grants make equal tables, whatever their order.
///
/// `benches/peers` compares a check with those of other engines. Beside these layouts, in ns for 1,
/// 8, 64 and 512 grants: 3.1, 4.7, 4.8 and 4.7; ids that ascend and a binary search alone: 4.3, 6.1,
/// 8.9 and 12.7; a `HashMap` with `foldhash`: 5.3, 5.4, 5.3 and 5.7, in three to seven times the
/// memory; hashbrown's `HashTable`: 3.3, 5.4, 5.5 and 5.6.
///
/// Of ten thousand credentials with four grants, each check waits for memory: a cached login with its
/// check takes 0.5 µs with these in the set, and 0.95 µs with them in boxes (`data_path -- warm`).
#[derive(Clone, PartialEq, Eq)]
pub(super) enum IdTable {
    Few(Few),
    Many(Table),
}

/// Up to four entries of one org with different ids, ascending, as most credentials have. Copies of the
/// last one fill the free places; those of the default one grant nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Few {
    ids: [u64; WINDOW],
    grants: [Grant; WINDOW],
    org: u64,
}

/// Several entries, by bucket. If an id has several, or no hash spreads them, they ascend by id.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The id of each entry. They ascend, within each bucket if there are any; then three copies of
    /// the first id follow the last one, so that a window is always full.
    ids: Box<[u64]>,
    /// What each entry grants. A single element applies to every entry.
    grants: Box<[Grant]>,
    /// The org of each entry, 0 for none. A single element applies to every entry.
    orgs: Box<[u64]>,
    /// The index at which each bucket begins. Without buckets, empty.
    directory: Box<[u16]>,
    hash: IdHash,
}

/// A type and the actions on it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Grant(u8);

impl Grant {
    const fn new(actions: Actions, resource_type: ResourceType) -> Self {
        Self((resource_type as u8) << 2 | actions.bits())
    }

    const fn actions(self) -> Actions {
        Actions::from_bits(self.0)
    }

    /// Returns the actions, if it is for the type.
    const fn actions_on(self, resource_type: ResourceType) -> Actions {
        if self.0 >> 2 == resource_type as u8 { self.actions() } else { Actions::NONE }
    }

    fn resource_type(self) -> Option<ResourceType> {
        ResourceType::ALL.get(usize::from(self.0 >> 2)).copied()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: u64,
    grant: Grant,
    org: u64,
}

impl Default for IdTable {
    fn default() -> Self {
        Self::Few(Few::default())
    }
}

impl IdTable {
    /// Compiles the permissions. Those without an id are left out.
    pub(super) fn new(permissions: Vec<Permission>) -> Self {
        let mut grants: Vec<(u64, ResourceType, Action, u64)> = permissions
            .into_iter()
            .filter_map(|Permission { action, resource }| {
                let org = resource.org.map_or(0, OrgId::as_u64);
                Some((resource.id?.as_u64(), resource.resource_type, action, org))
            })
            .collect();
        grants.sort_unstable();
        grants.dedup_by_key(|(id, resource_type, action, _)| (*id, *resource_type, *action));

        let mut entries: Vec<Entry> = Vec::with_capacity(grants.len());
        for (id, resource_type, action, org) in grants {
            let actions = Actions::of(action);
            if let Some(last) = entries.last_mut()
                && (last.id, last.org) == (id, org)
                && last.grant.actions_on(resource_type) != Actions::NONE
            {
                last.grant = Grant::new(last.grant.actions() | actions, resource_type);
            } else {
                entries.push(Entry { id, grant: Grant::new(actions, resource_type), org });
            }
        }
        match Few::new(&entries) {
            Some(few) => Self::Few(few),
            None => Self::Many(Table::new(entries)),
        }
    }

    /// Returns the actions granted on the resource by its id, and the org that the grant named, or
    /// 0. `None` means that the caller must use [`Self::search`].
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub(super) fn find(&self, resource_type: ResourceType, id: Id) -> Option<(Actions, u64)> {
        match self {
            Self::Few(few) => Some(few.find(resource_type, id.as_u64())),
            Self::Many(table) => table.find(resource_type, id.as_u64()),
        }
    }

    /// The same as [`Self::find`] for a table without buckets. If the action is granted, the org is
    /// the one that its grant named.
    pub(super) fn search(
        &self,
        action: Action,
        resource_type: ResourceType,
        id: Id,
    ) -> (Actions, u64) {
        match self {
            Self::Few(few) => few.find(resource_type, id.as_u64()),
            Self::Many(table) => table.search(action, resource_type, id.as_u64()),
        }
    }

    /// Returns the permissions, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Permission> {
        let entries: Vec<Entry> = match self {
            Self::Few(few) => few.iter().collect(),
            Self::Many(table) => table.iter().collect(),
        };
        entries.into_iter().flat_map(|Entry { id, grant, org }| {
            let resource_type = grant.resource_type();
            let actions = Action::ALL.into_iter().filter(move |a| grant.actions().has(*a));
            actions.zip(std::iter::repeat(resource_type)).filter_map(move |(action, of)| {
                let org = (org != 0).then(|| OrgId::from_u64(org));
                let resource = Resource { resource_type: of?, id: Some(Id::from_u64(id)), org };
                Some(Permission::new(action, resource))
            })
        })
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(_) => 0,
            Self::Many(table) => table.heap_bytes(),
        }
    }
}

impl Few {
    /// Takes entries that ascend; `None` if they are others.
    fn new(entries: &[Entry]) -> Option<Self> {
        let fits = entries.len() <= WINDOW
            && entries.windows(2).all(|pair| match pair {
                [one, other] => one.id != other.id && one.org == other.org,
                _ => true,
            });
        let at = |index: usize| entries.get(index).or(entries.last()).copied().unwrap_or_default();
        fits.then(|| Self {
            ids: std::array::from_fn(|index| at(index).id),
            grants: std::array::from_fn(|index| at(index).grant),
            org: at(0).org,
        })
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn find(&self, resource_type: ResourceType, id: u64) -> (Actions, u64) {
        let index = match self.ids {
            // The most frequent case: a single grant by id.
            [first, .., last] if first == last => select_unpredictable(first == id, 0, WINDOW),
            _ => index_of(id, &self.ids),
        };
        let grant = self.grants.get(index).copied().unwrap_or_default();
        (grant.actions_on(resource_type), self.org)
    }

    fn iter(&self) -> impl Iterator<Item = Entry> {
        let entries = self.ids.into_iter().zip(self.grants);
        let mut all: Vec<_> =
            entries.map(|(id, grant)| Entry { id, grant, org: self.org }).collect();
        all.dedup();
        all.into_iter()
    }
}

impl Table {
    /// Arranges entries that ascend.
    fn new(mut entries: Vec<Entry>) -> Self {
        let buckets = Buckets::choose(&entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
        let mut padding = 0;
        if let Some(buckets) = &buckets {
            entries.sort_unstable_by_key(|entry| (buckets.of(entry.id), entry.id));
            padding = WINDOW - 1;
        }
        let padding = entries.iter().take(1).cycle().take(padding);
        let ids = entries.iter().chain(padding).map(|entry| entry.id).collect();
        let mut grants: Vec<Grant> = entries.iter().map(|entry| entry.grant).collect();
        let mut orgs: Vec<u64> = entries.iter().map(|entry| entry.org).collect();
        if entries.iter().all(|entry| Some(&entry.grant) == grants.first()) {
            grants.truncate(1);
        }
        if entries.iter().all(|entry| Some(&entry.org) == orgs.first()) {
            orgs.truncate(1);
        }
        Self {
            ids,
            grants: grants.into(),
            orgs: orgs.into(),
            directory: buckets.as_ref().map(Buckets::directory).unwrap_or_default(),
            hash: buckets.map(|buckets| buckets.hash).unwrap_or_default(),
        }
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn find(&self, resource_type: ResourceType, id: u64) -> Option<(Actions, u64)> {
        let start = usize::from(*self.directory.get(self.hash.bucket(id))?);
        let window = self.ids.get(start..start + WINDOW)?.try_into().ok()?;
        let index = index_of(id, window);
        if index == WINDOW {
            return Some((Actions::NONE, 0));
        }
        let position = start + index;
        Some((self.grant(position).actions_on(resource_type), self.org(position)))
    }

    /// The same as [`Self::find`] without buckets. The id may have several entries.
    fn search(&self, action: Action, resource_type: ResourceType, id: u64) -> (Actions, u64) {
        if !self.directory.is_empty() {
            // The bucket of the id is empty and the last one.
            return (Actions::NONE, 0);
        }
        let mut position = self.ids.partition_point(|held| *held < id);
        let mut found = Actions::NONE;
        while self.ids.get(position) == Some(&id) {
            let actions = self.grant(position).actions_on(resource_type);
            if actions.has(action) {
                return (actions, self.org(position));
            }
            found |= actions;
            position += 1;
        }
        (found, 0)
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn grant(&self, position: usize) -> Grant {
        match &*self.grants {
            [every] => *every,
            each => each.get(position).copied().unwrap_or_default(),
        }
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn org(&self, position: usize) -> u64 {
        match &*self.orgs {
            [every] => *every,
            each => each.get(position).copied().unwrap_or_default(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Entry> {
        let padding = if self.directory.is_empty() { 0 } else { WINDOW - 1 };
        let len = self.ids.len() - padding;
        self.ids.iter().take(len).enumerate().map(|(position, id)| Entry {
            id: *id,
            grant: self.grant(position),
            org: self.org(position),
        })
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ids)
            + size_of_val(&*self.grants)
            + size_of_val(&*self.orgs)
            + size_of_val(&*self.directory)
    }
}

/// Returns the first index of the id, or [`WINDOW`]. It compares all of them: an early exit would be a
/// branch that the processor often mispredicts.
#[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
#[inline(always)]
fn index_of(wanted: u64, ids: &[u64; WINDOW]) -> usize {
    let mut found = WINDOW;
    for (index, id) in ids.iter().enumerate().rev() {
        found = select_unpredictable(*id == wanted, index, found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many scattered ids, each in an org of its own.
    fn of_as_many_orgs(count: u64) -> Vec<Permission> {
        let scattered = |n: u64| n.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ n << 7;
        (1..=count)
            .map(|n| {
                let bucket =
                    Resource::all(ResourceType::Buckets).with_id(Id::from_u64(scattered(n)));
                Permission::write(bucket.in_org(OrgId::from_u64(n)))
            })
            .collect()
    }

    #[test]
    fn ids_that_fit_no_buckets_ascend() {
        // Far too many, and ids that have several entries.
        let mut twice = of_as_many_orgs(40);
        twice.extend(of_as_many_orgs(40).into_iter().map(|Permission { resource, .. }| {
            Permission::read(resource.in_org(OrgId::from_u64(41)))
        }));
        for held in [of_as_many_orgs(70_000), twice] {
            let IdTable::Many(table) = IdTable::new(held.clone()) else { panic!() };
            assert!(table.directory.is_empty() && table.ids.is_sorted());
            for Permission { action, resource } in held {
                let (id, org) = (resource.id.unwrap().as_u64(), resource.org.unwrap().as_u64());
                let (actions, of) = table.search(action, ResourceType::Buckets, id);
                assert!(actions.has(action) && of == org);
            }
        }
    }
}
