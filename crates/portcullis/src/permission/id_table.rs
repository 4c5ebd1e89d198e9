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
#[derive(Clone, PartialEq, Eq)]
pub(super) enum IdTable {
    Inline(Inline),
    Table(Table),
}

/// Up to four entries with different ids, ascending. Copies of the last one fill the free places.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Inline {
    ids: [u64; WINDOW],
    orgs: [u64; WINDOW],
    grants: [Grant; WINDOW],
}

/// More entries, in the first of three layouts that fits:
///
/// 1. By bucket, with a directory of where each bucket begins. The directory must fit into the
///    budget of bytes, and no bucket may have more than [`WINDOW`] entries.
/// 2. By hash. A lookup probes the entries around the index expected for the id, at most
///    [`MAX_PROBE`](super::id_hash::MAX_PROBE) in each direction.
/// 3. By id, found by binary search. Only this layout holds several entries of one id.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The id of each entry. In the layout by bucket they ascend within each bucket, and three copies
    /// of the first id follow the last one, so that a window is always full.
    ids: Box<[u64]>,
    /// What each entry grants. A single element applies to every entry.
    grants: Box<[Grant]>,
    /// The index in `orgs` of each entry's org. If empty, it is the index of the entry itself.
    org_of: Box<[u16]>,
    /// The orgs, 0 for none. A single element applies to every entry.
    orgs: Box<[u64]>,
    /// The index at which each bucket begins. Empty in the layouts without buckets.
    directory: Box<[u16]>,
    /// Without buckets it is followed by the reach, or zero if `ids` ascends.
    hash: IdHash,
}

/// The budget: how many bytes a table may take for each permission.
const BYTES_PER_PERMISSION: usize = 16;

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
        Self::Inline(Inline::default())
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
        let budget = grants.len() * BYTES_PER_PERMISSION;

        let mut entries: Vec<Entry> = Vec::with_capacity(grants.len());
        for (id, resource_type, action, org) in grants {
            let actions = Actions::of(action);
            if let Some(last) = entries.last_mut()
                && (last.id, last.org) == (id, org)
                && !last.grant.actions_on(resource_type).is_empty()
            {
                last.grant = Grant::new(last.grant.actions() | actions, resource_type);
            } else {
                entries.push(Entry { id, grant: Grant::new(actions, resource_type), org });
            }
        }
        let ids_differ = entries.windows(2).all(|pair| match pair {
            [one, other] => one.id != other.id,
            _ => true,
        });
        if ids_differ && entries.len() <= WINDOW {
            return Self::Inline(Inline::new(&entries));
        }
        Self::Table(Table::new(entries, ids_differ, budget))
    }

    /// Returns the actions granted on the resource by its id, and the org that the grant named, or
    /// 0. `None` means that the caller must use [`Self::search`].
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub(super) fn find(&self, resource_type: ResourceType, id: Id) -> Option<(Actions, u64)> {
        match self {
            Self::Inline(inline) => Some(inline.find(resource_type, id.as_u64())),
            Self::Table(table) => table.find(resource_type, id.as_u64()),
        }
    }

    /// The same as [`Self::find`] in the layouts without buckets. If the action is granted, the org
    /// is the one that its grant named.
    pub(super) fn search(
        &self,
        action: Action,
        resource_type: ResourceType,
        id: Id,
    ) -> (Actions, u64) {
        match self {
            Self::Inline(inline) => inline.find(resource_type, id.as_u64()),
            Self::Table(table) => table.search(action, resource_type, id.as_u64()),
        }
    }

    /// Returns the permissions, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Permission> {
        let entries: Vec<Entry> = match self {
            Self::Inline(inline) => inline.iter().collect(),
            Self::Table(table) => table.iter().collect(),
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
            Self::Inline(_) => 0,
            Self::Table(table) => table.heap_bytes(),
        }
    }
}

impl Inline {
    fn new(entries: &[Entry]) -> Self {
        let at = |index: usize| entries.get(index).or(entries.last()).copied().unwrap_or_default();
        Self {
            ids: std::array::from_fn(|index| at(index).id),
            orgs: std::array::from_fn(|index| at(index).org),
            grants: std::array::from_fn(|index| at(index).grant),
        }
    }

    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    fn find(&self, resource_type: ResourceType, id: u64) -> (Actions, u64) {
        let index = match self.ids {
            // The most frequent case: a single grant by id.
            [first, .., last] if first == last => select_unpredictable(first == id, 0, WINDOW),
            _ => index_of(id, &self.ids),
        };
        match (self.grants.get(index), self.orgs.get(index)) {
            (Some(grant), Some(org)) => (grant.actions_on(resource_type), *org),
            _ => (Actions::NONE, 0),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Entry> {
        let entries = self.ids.into_iter().zip(self.grants).zip(self.orgs);
        let mut all: Vec<_> = entries.map(|((id, grant), org)| Entry { id, grant, org }).collect();
        all.dedup();
        all.into_iter()
    }
}

impl Table {
    /// Arranges entries that ascend.
    fn new(mut entries: Vec<Entry>, ids_differ: bool, budget: usize) -> Self {
        let len = entries.len();
        let first = entries.first().map(|entry| entry.grant);
        let one_grant = entries.iter().all(|entry| Some(entry.grant) == first);
        let mut orgs: Vec<u64> = entries.iter().map(|entry| entry.org).collect();
        orgs.sort_unstable();
        orgs.dedup();
        let one_org = orgs.len() == 1;
        // An index takes 2 bytes, an org 8.
        let numbered = !one_org && 2 * len + 8 * orgs.len() < 8 * len;
        let numbered = numbered && orgs.len() <= usize::from(u16::MAX);

        let grants_size = if one_grant { 1 } else { len };
        let orgs_size = match (one_org, numbered) {
            (true, _) => 8,
            (false, true) => 2 * len + 8 * orgs.len(),
            (false, false) => 8 * len,
        };
        let room = budget.saturating_sub(8 * (len + WINDOW - 1) + grants_size + orgs_size) / 2;
        let ids: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        let buckets = if ids_differ { Buckets::choose(&ids, room) } else { None };
        let mut hash = buckets.as_ref().map(|buckets| buckets.hash).unwrap_or_default();
        if let Some(buckets) = &buckets {
            entries.sort_unstable_by_key(|entry| (buckets.of(entry.id), entry.id));
        } else if ids_differ && let Some(nearest_order) = IdHash::nearest_order(&ids) {
            hash = nearest_order;
            entries.sort_unstable_by_key(|entry| hash.rank(entry.id));
        }
        let padding = if buckets.is_some() { WINDOW - 1 } else { 0 };
        let padding = entries.iter().take(1).cycle().take(padding);
        let number = |entry: &Entry| u16::try_from(orgs.partition_point(|org| *org < entry.org));
        Self {
            ids: entries.iter().chain(padding).map(|entry| entry.id).collect(),
            grants: entries.iter().map(|entry| entry.grant).take(grants_size).collect(),
            org_of: if numbered {
                entries.iter().flat_map(number).collect()
            } else {
                Box::default()
            },
            orgs: if one_org || numbered {
                orgs.into()
            } else {
                entries.iter().map(|entry| entry.org).collect()
            },
            directory: buckets.as_ref().map(Buckets::directory).unwrap_or_default(),
            hash,
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
        if self.hash.max_probe() > 0 {
            return self.probe(resource_type, id);
        }
        let Ok(position) = self.ids.binary_search(&id) else { return (Actions::NONE, 0) };
        let before = self.ids.iter().take(position).rev();
        let mut position = position - before.take_while(|held| **held == id).count();
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

    /// The same as [`Self::find`] in the layout by hash.
    fn probe(&self, resource_type: ResourceType, id: u64) -> (Actions, u64) {
        let (expected, max_probe) = (self.hash.expected(id, self.ids.len()), self.hash.max_probe());
        let start = expected.saturating_sub(max_probe);
        let nearby = self.ids.get(start..=(expected + max_probe).min(self.ids.len() - 1));
        let (windows, rest) = nearby.unwrap_or_default().as_chunks::<WINDOW>();
        // One result for each place of a window, so that no comparison depends on another one.
        let mut found = [None; WINDOW];
        for (window, ids) in windows.iter().enumerate() {
            for (found, held) in found.iter_mut().zip(ids) {
                *found = select_unpredictable(*held == id, Some(window), *found);
            }
        }
        let in_windows =
            found.iter().zip(0..).find_map(|(found, index)| Some((*found)? * WINDOW + index));
        let in_rest =
            || rest.iter().position(|held| *held == id).map(|at| windows.len() * WINDOW + at);
        let Some(found) = in_windows.or_else(in_rest) else { return (Actions::NONE, 0) };
        (self.grant(start + found).actions_on(resource_type), self.org(start + found))
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
        let of_entry = match (&*self.orgs, &*self.org_of) {
            ([every], _) => return *every,
            (each, []) => each.get(position),
            (each, numbers) => numbers.get(position).and_then(|of| each.get(usize::from(*of))),
        };
        of_entry.copied().unwrap_or_default()
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
            + size_of_val(&*self.org_of)
            + size_of_val(&*self.orgs)
            + size_of_val(&*self.directory)
    }
}

/// Returns an index of the id, or [`WINDOW`]. It compares all of them: an early exit would be a
/// branch that the processor often mispredicts.
#[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
#[inline(always)]
fn index_of(wanted: u64, ids: &[u64; WINDOW]) -> usize {
    let mut found = WINDOW;
    for (index, id) in ids.iter().enumerate() {
        found = select_unpredictable(*id == wanted, index, found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::id_hash::MAX_PROBE;
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
    fn without_room_for_buckets_probes_are_short() {
        for (count, max_probe) in [(5, 2), (64, 8), (512, 16), (2_000, MAX_PROBE)] {
            let held = of_as_many_orgs(count);
            let IdTable::Table(table) = IdTable::new(held.clone()) else { panic!() };
            assert!(table.directory.is_empty());
            assert!(
                (1..=max_probe).contains(&table.hash.max_probe()),
                "{count}: {}",
                table.hash.max_probe()
            );
            for Permission { resource, .. } in held {
                let (id, org) = (resource.id.unwrap().as_u64(), resource.org.unwrap().as_u64());
                let found = table.search(Action::Write, ResourceType::Buckets, id);
                assert_eq!(found, (Actions::of(Action::Write), org));
                for other in [id ^ 1, id.wrapping_add(1 << 40), !id] {
                    let found = table.search(Action::Write, ResourceType::Buckets, other);
                    assert_eq!(found.0, Actions::NONE);
                }
            }
        }
    }

    #[test]
    fn ids_that_fit_no_hash_layout_ascend() {
        // Far too many, and ids that have several entries.
        let mut twice = of_as_many_orgs(40);
        twice.extend(of_as_many_orgs(40).into_iter().map(|Permission { resource, .. }| {
            Permission::read(resource.in_org(OrgId::from_u64(41)))
        }));
        for held in [of_as_many_orgs(20_000), twice] {
            let IdTable::Table(table) = IdTable::new(held.clone()) else { panic!() };
            assert!(table.directory.is_empty() && table.ids.is_sorted());
            for Permission { action, resource } in held {
                let (id, org) = (resource.id.unwrap().as_u64(), resource.org.unwrap().as_u64());
                let (actions, of) = table.search(action, ResourceType::Buckets, id);
                assert!(actions.has(action) && of == org);
            }
        }
    }
}
